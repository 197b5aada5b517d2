"""The shared ledger on Redis or Valkey: one script carries out what one turn of the loop ordered.

What is asked within one turn travels together. Settlements, reports and definitions go with
whatever is asked next, or alone after a moment; no request waits for them. While the server cannot
be asked each process has its part of every limit (`DividedLimits`).
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import islice
from typing import Any

import msgspec

from apikeyrouter.domain.costs.cap_account import CapAccount
from apikeyrouter.domain.ledger.backend import LedgerBackend
from apikeyrouter.domain.ledger.ledger import Hold, LedgerAccount, Reservation, Shortfall
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.ledger.account_link import DOUBTED, AccountLink
from apikeyrouter.infrastructure.ledger.batch import Admission, Batch
from apikeyrouter.infrastructure.ledger.connection import ScriptConnection, UnreachableError
from apikeyrouter.infrastructure.ledger.divided_limits import DividedLimits, refused
from apikeyrouter.infrastructure.ledger.orders import CONFIRM, OBSERVE, SETTLE, Reply, decode
from apikeyrouter.infrastructure.ledger.shared_window import is_kept_elsewhere
from apikeyrouter.infrastructure.ledger.tickets import Ticket

TIMEOUT_S, HOLD_TTL_S = 0.25, 10.0
#: Of what the script keeps: processes that differ in it share nothing.
FORMAT = 1
#: What nobody waits for is told after this at the latest.
_LATER_S = 0.02
#: Requests that have been let in are told of so often.
_TICK_S = 0.1
#: For so long after a refusal it is looked, at every tick, whether others have given back.
_LOOKED_AT_S = 5.0
_LOST = "the shared ledger cannot be reached: each process has its even part of the limits"
#: A batch has room for so many accounts and orders.
_MOST_ACCOUNTS, _MOST_ORDERS = 64, 512
#: An account that was not asked for so long is followed no more until it is.
_IDLE_S = 3600.0


class RedisLedger(LedgerBackend):
    """Sets reservations aside for all processes.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix://` for a socket.
        clock: The router's.
        let_go: Lifts a guess of this process's that another one has lifted.
        prefix: What all names begin with. They bear it as one hash tag: a request may draw on any
            client's account and any provider's at once, and on a cluster only names of one tag
            can be changed together. So the whole ledger lives on one node.
        timeout_s: A server that is slower is done without.
        hold_ttl_s: What a process holds is given back so long after it was last heard of.
        log: Told when the server is lost and when it is back.

    Raises:
        ConfigurationError: The address cannot be.
        StateStoreError: The driver is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float],
        let_go: Callable[[LedgerAccount, Window], None] | None = None,
        prefix: str = "apikeyrouter",
        timeout_s: float = TIMEOUT_S,
        hold_ttl_s: float = HOLD_TTL_S,
        log: Callable[..., None] | None = None,
    ) -> None:
        script = files(__package__).joinpath("ledger.lua").read_text("utf-8")
        self._connection = ScriptConnection(url, script, timeout_s=timeout_s)
        self._clock = clock
        self._let_go = let_go or _do_nothing
        self._log = log or _do_nothing
        self._prefix = f"{{{prefix}}}:ledger:{FORMAT}:"
        self._ttl_s = hold_ttl_s
        self.process = secrets.token_hex(8)
        self._links: dict[LedgerAccount, AccountLink] = {}
        self._batch = Batch()
        self._divided = DividedLimits()
        self._flushing: asyncio.Handle | None = None
        self._flush_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._unconfirmed: dict[Ticket, None] = {}
        #: Accounts that others left no room of, until when they are looked at.
        self._short: dict[AccountLink, float] = {}
        self._is_down, self._trouble = False, ""
        self.processes = 1

    def __repr__(self) -> str:
        return f"RedisLedger({self._connection.shown!r})"

    # -- the contract --------------------------------------------------------

    async def start(self) -> None:
        """Reach the server.

        Raises:
            ConfigurationError: It cannot be reached.
        """
        self._enter()
        try:
            await self._connection.connect()
            await self._send(Batch())
        except UnreachableError as error:
            raise ConfigurationError(f"ledger: {error}") from None

    async def stop(self) -> None:
        """Tell what has not been told, and disconnect."""
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        if self._flushing is not None:
            self._flush()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._connection.close()

    def trouble(self) -> str:
        """Return why the server cannot be asked now; empty while it can."""
        return self._trouble if self._is_down else ""

    async def confirm(self, reservation: Reservation) -> Shortfall | None:
        """Set *reservation* aside for all processes; see `LedgerBackend`."""
        self._enter()
        # Caps are kept in the store, for all processes that share it.
        holds = [hold for hold in reservation.holds if not is_kept_elsewhere(hold.account)]
        tickets = [Ticket(self._link(hold.account), hold, self._ended) for hold in holds]
        for ticket in tickets:
            ticket.begin()
        if self._is_down:
            return self._confirm_divided(reservation, tickets)
        admission = Admission(
            tickets, asyncio.get_running_loop().create_future(),
            is_past_guesses=_is_past_guesses(holds, self._clock()),
        )  # fmt: skip
        self._batch.admit(admission)
        self._flush_soon(0.0)
        lack = await admission.answer
        if admission.is_lost:
            return self._confirm_divided(reservation, tickets)
        return lack

    def _confirm_divided(self, reservation: Reservation, tickets: list[Ticket]) -> Shortfall | None:
        """Let in what this process's part of every limit has room for."""
        now = self._clock()
        for hold in reservation.holds:
            if isinstance(hold.account, CapAccount) and hold.account.is_hard:
                short = refused(hold.account, now)
                self._link(hold.account).note_short(short, now)
                return short
        lack = self._divided.admit(tickets, self.processes, now)
        if lack is None:
            for ticket in tickets:
                ticket.admit_alone()
        else:
            tickets[0].link.note_short(lack, now)
        return lack

    def _note_short(self, link: AccountLink, lack: Shortfall, now: float) -> None:
        """Have the local decisions know what is short, and look whether others give it back."""
        if not link.tells(lack, now):
            link.note_short(lack, now)
        self._short[link] = min(lack.fits_at, now + _LOOKED_AT_S)

    # -- what is told beside -------------------------------------------------

    def _ended(self, ticket: Ticket, actual: list[float], *, is_unsent: bool) -> None:
        """Have the end of a hold told, with whatever is told next."""
        self._unconfirmed.pop(ticket, None)
        link, asked = ticket.link, list(ticket.hold.amounts)
        if ticket.is_alone:
            self._divided.end(ticket, actual, self._clock())
            if self._is_down:
                link.go_on_alone(ticket.change(actual))
                return
        place = self._batch.place_of(link)
        self._batch.orders.append(
            [SETTLE, place, ticket.marks, asked, actual, ticket.is_confirmed, is_unsent]
        )
        if not ticket.is_alone:
            self._batch.settled.append((ticket, actual, is_unsent))
        self._flush_soon(_LATER_S)

    def _observe(self, link: AccountLink, name: str, low: float, high: float, hold: Any) -> bool:
        """Have a report held against what all processes have used."""
        if self._is_down or not link.born:
            return False
        ticket: Ticket | None = None if hold is None else hold.ticket
        after, age_s = -1.0, 0.0
        if ticket is not None and name in ticket.marks:
            after = ticket.marks[name][1]
        if hold is not None:
            age_s = max(0.0, self._clock() - hold.taken_at)
        place = self._batch.place_of(link)
        self._batch.orders.append([OBSERVE, place, name, low, high, after, age_s])
        self._batch.observed.append(link)
        self._flush_soon(_LATER_S)
        return True

    def _tell_confirmed(self) -> None:
        """Tell of the requests that were let in since the last time and have not ended."""
        for ticket in [t for t in self._unconfirmed if t.hold.is_confirmed]:
            del self._unconfirmed[ticket]
            ticket.is_confirmed = True
            place = self._batch.place_of(ticket.link)
            asked = list(ticket.hold.amounts)
            self._batch.orders.append([CONFIRM, place, ticket.marks, asked])

    def _look_at_short(self, now: float) -> None:
        """Have the figures of accounts come back of which somebody waits for room."""
        self._short = {link: until for link, until in self._short.items() if until > now}
        for link in self._short:
            self._batch.place_of(link)

    # -- batches -------------------------------------------------------------

    def _enter(self) -> None:
        """Follow the loop in use; a loop that is gone took its timers and tasks with it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._flushing, self._running = loop, None, set()
            self._beating = loop.create_task(self._beat())

    def _flush_soon(self, delay_s: float) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        if len(self._batch.links) >= _MOST_ACCOUNTS or len(self._batch.orders) >= _MOST_ORDERS:
            self._flush()
            return
        at = loop.time() + delay_s
        if self._flushing is not None:
            if self._flush_at <= at:
                return
            self._flushing.cancel()
        self._flush_at = at
        self._flushing = (
            loop.call_later(delay_s, self._flush) if delay_s else loop.call_soon(self._flush)
        )

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        batch, self._batch = self._batch, Batch()
        if self._loop is None or not batch.links:
            return
        task = self._loop.create_task(self._deliver(batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _deliver(self, batch: Batch) -> None:
        try:
            if self._is_down:
                raise UnreachableError(self._trouble)
            await self._send(batch)
        except UnreachableError as error:
            self._note_down(error)
            batch.lose()
        except BaseException:
            batch.lose()
            raise

    async def _send(self, batch: Batch) -> None:
        payload = batch.encode(self.process, self._ttl_s, self._clock())
        names = [f"{self._prefix}processes"]
        names += [f"{self._prefix}account:{link.account.id}" for link in batch.links]
        answer = await self._connection.call(names, payload)
        try:
            reply = decode(answer)
        except msgspec.MsgspecError as error:
            raise UnreachableError(f"its answer cannot be read: {error}") from error
        self._take_in(batch, reply)

    def _take_in(self, batch: Batch, reply: Reply) -> None:
        now = self._clock()
        self.processes = max(1, int(reply.processes))
        batch.take_results(reply.results)
        for link, told in zip(batch.links, reply.accounts, strict=True):
            _share_doubts(link, self.processes)
            if link.take_in(told, now):
                for ticket in [t for t in self._tickets_of(link) if t.is_admitted]:
                    ticket.marks = {}
                self._restore(link)
        if reply.is_fresh:
            for link in self._links.values():
                if link.own_calls:
                    self._restore(link)
        for admission in batch.admissions:
            lack = admission.conclude(now)
            for ticket in admission.tickets:
                if lack is None and ticket.is_admitted:
                    self._unconfirmed[ticket] = None
            if lack is not None:
                self._note_short(admission.tickets[admission.line].link, lack, now)
            if not admission.answer.done():
                admission.answer.set_result(lack)

    def _restore(self, link: AccountLink) -> None:
        """Bring up to date what a ledger has lost, or could not be told."""
        self._batch.orders += link.restoration(self._batch.place_of(link))
        self._flush_soon(_LATER_S)

    def _tickets_of(self, link: AccountLink) -> list[Ticket]:
        found = [hold.ticket for hold in link.account.open]
        return [ticket for ticket in found if isinstance(ticket, Ticket) and ticket.link is link]

    def _link(self, account: LedgerAccount) -> AccountLink:
        link = self._links.get(account)
        if link is None:
            link = AccountLink(account, observe=self._observe, let_go=self._let_go)
            self._links[account] = account.shared = link
        link.asked_at = self._clock()
        return link

    # -- the server's life ---------------------------------------------------

    def _note_down(self, error: UnreachableError) -> None:
        if not self._is_down:
            self._is_down, self._trouble = True, str(error)
            self._log("error", _LOST, error=self._trouble, processes=self.processes)

    async def _beat(self) -> None:
        """Stay known as alive; look whether a server that was lost is back."""
        beat_s = min(self._ttl_s / 3.0, 1.0)
        since_s = 0.0
        while True:
            await asyncio.sleep(_TICK_S)
            since_s += _TICK_S
            self._tell_confirmed()
            self._look_at_short(self._clock())
            if self._batch.links:
                self._flush_soon(0.0)
            elif self._is_down or since_s >= beat_s:
                since_s = 0.0
                await self._look()

    def _batch_of_all(self) -> Batch:
        """Return a batch that brings the figures of accounts, so many at a time in turn."""
        batch, idle_since = Batch(), self._clock() - _IDLE_S
        for account in list(islice(self._links, _MOST_ACCOUNTS)):
            link = self._links.pop(account)
            if account.open or link.asked_at > idle_since:
                self._links[account] = link
                batch.place_of(link)
            else:
                account.shared = None
        return batch

    async def _look(self) -> None:
        try:
            await self._connection.connect()
            await self._send(Batch() if self._is_down else self._batch_of_all())
        except UnreachableError as error:
            self._note_down(error)
            return
        if self._is_down:
            self._is_down = False
            self._divided.clear()
            for link in self._links.values():
                if link.born:
                    self._restore(link)
            self._log("info", "the shared ledger is reached again")


def _is_past_guesses(holds: Sequence[Hold], now: float) -> bool:
    """Tell whether the local ledger has let it past what only our own caution told."""
    return any(
        (window.is_guess and window.room(now) < 0.0)
        or (isinstance(window, DOUBTED) and window.tried_at == hold.taken_at)
        for hold in holds
        for window in hold.account.windows
    )


def _share_doubts(link: AccountLink, processes: int) -> None:
    """Have each of so many processes try more than is guessed so much less often."""
    for window in link.account.windows:
        if isinstance(window, DOUBTED) and window.doubt is not None:
            window.doubt.rounds.processes = processes


def _do_nothing(*_: object, **__: object) -> None:
    """Take no notice."""
