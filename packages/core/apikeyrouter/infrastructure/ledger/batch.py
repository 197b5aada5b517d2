"""What one call of the script carries out: admissions first asked, first decided."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from apikeyrouter.domain.ledger.ledger import Amounts, Shortfall
from apikeyrouter.domain.ledger.window import DIMENSIONS, INDEX_OF
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.infrastructure.ledger.account_link import AccountLink
from apikeyrouter.infrastructure.ledger.orders import ADMIT, OBSERVE, Order, encode
from apikeyrouter.infrastructure.ledger.tickets import Ticket

_CONCURRENCY = INDEX_OF[Dimension.CONCURRENCY]
_MOMENT_S = 1e-3


class Admission:
    """One reservation that waits for its answer.

    Attributes:
        line: Whose account was short.
        is_past_guesses: It can wait no longer; our own caution alone keeps it from nothing.
        is_lost: Nobody knows whether it was carried out.
    """

    __slots__ = ("_result", "answer", "is_lost", "is_past_guesses", "line", "tickets")

    def __init__(
        self,
        tickets: list[Ticket],
        answer: "asyncio.Future[Shortfall | None]",
        *,
        is_past_guesses: bool = False,
    ) -> None:
        self.tickets = tickets
        self.answer = answer
        self.is_lost = False
        self.is_past_guesses = is_past_guesses
        self.line = 0
        self._result: Sequence[Any] = ()

    def take_result(self, result: Sequence[Any]) -> None:
        """Note what the script has decided."""
        self._result = result
        if result[0]:
            for ticket, marks in zip(self.tickets, result[1], strict=True):
                ticket.admit(marks if isinstance(marks, dict) else {})
            return
        self.line = int(result[1]) - 1
        for ticket in self.tickets:
            ticket.refuse()

    def conclude(self, now: float) -> Shortfall | None:
        """Return what is short, once the local windows are up to date."""
        if not self._result or self._result[0]:
            return None
        _, _, name, left, fits_s = self._result
        ticket = self.tickets[self.line]
        index = int(name.partition(":")[0])
        window = ticket.link.window_named(name)
        asked = ticket.hold.amounts[index]
        return Shortfall(
            what=window.name if window is not None else f"{DIMENSIONS[index].value}, elsewhere",
            asked=asked,
            left=left,
            fits_at=now + max(_MOMENT_S, fits_s) if fits_s >= 0.0 else math.inf,
            provenance=window.provenance.value if window is not None else "",
            told_at=window.observed_at if window is not None else None,
            capacity=window.capacity if window is not None else 0.0,
            period_s=window.period_s if window is not None else 0.0,
            for_calls=index == _CONCURRENCY,
            may_come_back=index != INDEX_OF[Dimension.REQUESTS],
            index=index,
            account_id=ticket.link.account.id,
            is_guess=window.is_guess if window is not None else False,
        )

    def lose(self) -> None:
        """Let go of it: nobody can be asked."""
        self.is_lost = True
        if not self.answer.done():
            self.answer.set_result(None)


class Batch:
    """Orders over accounts, in the order in which they were given."""

    __slots__ = ("_place_of", "admissions", "links", "observed", "orders", "settled")

    def __init__(self) -> None:
        self.links: list[AccountLink] = []
        self._place_of: dict[AccountLink, int] = {}
        self.orders: list[Order] = []
        self.admissions: list[Admission] = []
        self.settled: list[tuple[Ticket, Amounts, bool]] = []
        self.observed: list[AccountLink] = []

    def place_of(self, link: AccountLink) -> int:
        """Return the place of an account among the names of the call, from 1."""
        place = self._place_of.get(link)
        if place is None:
            self.links.append(link)
            place = self._place_of[link] = len(self.links)
        return place

    def admit(self, admission: Admission) -> None:
        """Ask for a reservation."""
        lines = [[self.place_of(t.link), list(t.hold.amounts)] for t in admission.tickets]
        self.orders.append([ADMIT, lines, admission.is_past_guesses])
        self.admissions.append(admission)

    def encode(self, process: str, ttl_s: float, now: float) -> bytes:
        """Return the call's argument: definitions that have changed go first."""
        changes: list[Order] = []
        for place, link in enumerate(self.links, 1):
            changes += link.changes(place, now)
        versions = [link.version for link in self.links]
        return encode([process, ttl_s, versions, changes + self.orders])

    def take_results(self, results: Sequence[Any]) -> None:
        """Give every order its result, and note that the reply counts them."""
        for ticket, actual, is_unsent in self.settled:
            ticket.link.go_ahead(ticket.change(actual), -1.0)
            ticket.link.note_admitted(-1, -1 if is_unsent else 0)
        asked = iter(self.admissions)
        observed = iter(self.observed)
        told = (order for order in self.orders if order[0] in (ADMIT, OBSERVE))
        for order, result in zip(told, results, strict=True):
            if order[0] == ADMIT:
                next(asked).take_result(result)
            else:
                next(observed).correction += float(result)

    def lose(self) -> None:
        """Let go of all of it: nobody knows whether it was carried out."""
        for ticket, actual, is_unsent in self.settled:
            ticket.link.go_ahead(ticket.change(actual), -1.0)
            ticket.link.note_admitted(-1, -1 if is_unsent else 0)
        for link in self.links:
            link.forget_version()
        for admission in self.admissions:
            admission.lose()
