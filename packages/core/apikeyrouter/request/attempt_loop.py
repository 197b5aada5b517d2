"""The loop around decisions: try, switch keys, retry, wait in line, give up in time.

`AttemptLoop` is an async iterator of `Attempt`s for one request. It has separate
budgets for retries after provider failures and for switching from keys that
turn out unusable, and one deadline. All waiting for capacity happens here, in the
`WaitingRoom`; the queue itself never waits.
"""

import asyncio
import math
import random
from collections.abc import Mapping
from typing import Self

from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.attempt_context import AttemptContext
from apikeyrouter.domain.components.routing_engine import Blocked, Grant
from apikeyrouter.domain.failures.failure import MODEL_REFUSED, Failure, FailureClass
from apikeyrouter.domain.feed.events import RequestArrived
from apikeyrouter.domain.feed.request_events import arrived_event
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.backend import LedgerBackend
from apikeyrouter.domain.ledger.ledger import Shortfall
from apikeyrouter.domain.queueing.admission_queue import Refusal
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.decision_record import DecisionRecord, reason_of
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.pending_request import NOBODY, PendingRequest
from apikeyrouter.errors import (
    BudgetExceededError,
    NoEligibleKeysError,
    OwnLimitError,
    PinnedKeyError,
    UnknownModelError,
)
from apikeyrouter.request.waiting_room import WaitingRoom

RETRIES = 3
#: Keys that may turn out unusable before a request gives up.
MAX_KEY_SWITCHES = 100
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
#: So many accounts of a provider are asked for a model that nobody has seen working there.
_ACCOUNTS_ASKED = 2
#: And so many of them for an object of which nobody knows who has it.
_ACCOUNTS_SEARCHED = 8
#: Who is at its own limit of calls at once should ask again so soon: one of them will end.
_CALL_ENDS_S = 0.25
#: How a request ends that no key took, by what its caller is told.
_OUTCOMES: Mapping[type[BaseException], str] = {
    NoEligibleKeysError: "no_capacity",
    OwnLimitError: "own_limit",
    BudgetExceededError: "budget_exceeded",
    UnknownModelError: "unknown_model",
    PinnedKeyError: "pinned_key_gone",
    asyncio.CancelledError: "cancelled",
}


class AttemptLoop:
    """Yields attempts for one request until one succeeds or nothing more can help.

    Each attempt must be ended (settled, failed or cancelled) before the next
    is asked for, except the last. After the loop `failure` says why it stopped.

    Raises:
        NoEligibleKeysError: Nobody has room before the deadline.
    """

    __slots__ = (
        "_backend",
        "_blocked",
        "_context",
        "_just_failed",
        "_just_refused",
        "_key_switches_left",
        "_lacking",
        "_last",
        "_refused_by",
        "_retries",
        "_room",
        "_taken",
        "_wait_s",
        "request",
    )

    def __init__(
        self,
        context: AttemptContext,
        room: WaitingRoom,
        request: PendingRequest,
        *,
        wait_s: float,
        backend: LedgerBackend | None = None,
    ) -> None:
        self._context = context
        self._room = room
        self.request = request
        self._wait_s = wait_s
        self._backend = backend
        self._retries = RETRIES
        self._key_switches_left = MAX_KEY_SWITCHES
        self._last: Attempt | None = None
        #: Keys that will not serve this request; keys that failed it just now.
        self._refused_by: frozenset[KeySlot] = NOBODY
        self._just_failed: frozenset[KeySlot] = NOBODY
        #: The key that refused it just now: the others are asked first.
        self._just_refused: frozenset[KeySlot] = NOBODY
        #: Accounts by pool that do not have the model.
        self._lacking: dict[CandidatePool, set[QuotaScope]] = {}
        self._blocked: Blocked | None = None
        #: Keys whose account other processes have left no room of.
        self._taken: frozenset[KeySlot] = NOBODY
        if context.feed.wants(RequestArrived):
            context.feed.emit(arrived_event(request.demand, request.record.arrived_at))

    def __del__(self) -> None:
        # Whoever makes calls of its own may stop midway.
        if hasattr(self, "_blocked"):
            self.close()

    def close(self) -> None:
        """Make no more attempts: the request ends, with its last attempt if that is open yet."""
        if self.request.record.outcome:
            return
        last = self._last
        if last is not None and last.is_open:
            last.is_last = True
        else:
            self._context.end_request(self.record, _outcome_of(last))

    @property
    def demand(self) -> Demand:
        """What is asked for."""
        return self.request.demand

    @property
    def record(self) -> DecisionRecord:
        """What is kept of the request's way."""
        return self.request.record

    @property
    def failure(self) -> Failure | None:
        """The failure of the last attempt; `None` when it ended otherwise."""
        return self._last.failure if self._last is not None else None

    def final_failure(self) -> Failure:
        """Return why the request failed, once no attempt is left."""
        return self.failure or Failure(FailureClass.TIMEOUT, "the request ran out of time")

    def loop_deadline(self) -> float:
        """Return the event loop's time at which the request is given up."""
        left_s = (self.demand.deadline or math.inf) - self._context.clock()
        return asyncio.get_running_loop().time() + left_s

    @property
    def last(self) -> Attempt:
        """The last attempt; there must have been one."""
        assert self._last is not None  # noqa: S101 - the loop ran
        return self._last

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._last is not None and not self._goes_on(self._last):
            self.close()
            raise StopAsyncIteration
        try:
            # Most requests find a key at once, and nothing is awaited.
            grant = self._grant_now(NOBODY) if self._last is None else self._grant_again()
            if grant is None or self._backend is not None:
                grant = await self._next_grant(grant)
        except BaseException as error:
            self._context.end_request(self.record, _outcome_of(self._last, error))
            raise
        self._last = Attempt(self._context, grant, self.request)
        return self._last

    def _grant_again(self) -> Grant | None:
        """Ask the key that just refused it only if no other has room."""
        avoid = self._refused_by | self._just_failed
        just_refused, self._just_refused = self._just_refused, NOBODY
        if just_refused and (grant := self._grant_now(avoid | just_refused)) is not None:
            return grant
        return self._grant_now(avoid)

    def _is_void(self, grant: Grant) -> bool:
        """Look again after the waits: tell whether the key was taken out of use meanwhile."""
        if grant.slot.is_in_use:
            return False
        grant.return_unused(self._context.clock())
        return True

    async def _next_grant(self, grant: Grant | None) -> Grant:
        if grant is None:
            grant = await self._grant_later()
        while True:
            lack = None if self._backend is None else await self._lack_of(self._backend, grant)
            if lack is None and not self._is_void(grant):
                return grant
            grant = self._grant_beside(grant, lack) or await self._grant_later()

    async def _lack_of(self, backend: LedgerBackend, grant: Grant) -> Shortfall | None:
        """Ask the shared ledger; what it refuses is given back here."""
        try:
            lack = await backend.confirm(grant.reservation)
        except BaseException:
            grant.return_unused(self._context.clock())
            raise
        if lack is not None:
            grant.return_unused(self._context.clock())
        return lack

    def _grant_beside(self, refused: Grant, lack: Shortfall | None) -> Grant | None:
        """Return a key of another account; else see when this one's has room again."""
        if lack is None:
            return self._grant_now(self._refused_by)
        self._taken |= frozenset(refused.candidate.slots)
        grant = self._grant_now(self._refused_by | self._taken)
        if grant is not None:
            return grant
        taken, self._taken = self._taken, NOBODY
        again, now = self._grant_now(self._refused_by), self._context.clock()
        if again is None or lack.fits_at <= now:
            return again
        # Here it looks as if there were room, but whoever knows better has said that there is none.
        again.return_unused(now)
        self._refused_by |= taken
        return self._grant_now(self._refused_by)

    def _goes_on(self, last: Attempt) -> bool:
        """Tell whether another attempt may help, and count it against its budget."""
        if last.is_open:
            raise RuntimeError("end an attempt before you ask for the next one")
        consequence = last.consequence
        if consequence is None or not consequence.try_next:
            return False
        if self.demand.deadline is not None and self._context.clock() >= self.demand.deadline:
            return False
        if consequence.spends_retry:
            self._retries -= 1
            self._just_failed |= {last.slot}
            return self._retries >= 0
        if consequence.other_model:
            self.request.skipped |= {last.grant.pool}
        elif consequence.whole_account:
            self._refused_by |= frozenset(last.grant.candidate.slots)
        elif not consequence.same_key_retry:
            self._refused_by |= {last.slot}
        else:
            self._just_refused = frozenset((last.slot,))
        self._note_lacking(last)
        self._key_switches_left -= 1
        return self._key_switches_left >= 0

    def _note_lacking(self, last: Attempt) -> None:
        """Ask a provider no further for a model that several of its accounts do not have."""
        failure, pool = last.failure, last.grant.pool
        is_search = failure is not None and failure.kind is FailureClass.NOT_FOUND
        if failure is None or not (is_search or failure.kind in MODEL_REFUSED):
            return
        lacking = self._lacking.setdefault(pool, set())
        lacking.add(last.grant.scope())
        # What nobody explains may be the request's own fault: it is not taken to all of them.
        is_own = failure.kind is FailureClass.UNEXPLAINED
        if is_search:
            self.request.skipped |= {pool} if len(lacking) >= _ACCOUNTS_SEARCHED else frozenset()
        elif len(lacking) >= _ACCOUNTS_ASKED and (is_own or not pool.has_worked):
            self.request.skipped |= {pool}

    def _grant_now(self, avoid: frozenset[KeySlot]) -> Grant | None:
        """Return a key with room; else `None`, and why is kept. Nobody overtakes who waits."""
        engine, request = self._context.engine, self.request
        self._blocked = None
        route = engine.routes.route_for(request.demand)
        if self._room.queue.waiting and self._room.queue.has_line(route):
            return None
        request.avoid = avoid
        outcome = engine.decide(route, request, self._context.clock())
        if isinstance(outcome, Grant):
            return outcome
        self._blocked = outcome
        return None

    async def _grant_later(self) -> Grant:
        if self.request.caps is not None and (grant := await self._borrowed()) is not None:
            return grant
        if self._blocked is not None and self._just_failed:
            await self._pause()
            grant = self._grant_now(self._refused_by)
            if grant is not None:
                return grant
        return await self._wait(self._blocked)

    async def _borrowed(self) -> Grant | None:
        """Wait until more of a hard cap is set aside, where that alone is in the way."""
        caps, now = self.request.caps, self._context.clock
        deadline = self.demand.deadline or math.inf
        while caps is not None and (blocked := self._blocked) is not None:
            lack = blocked.own or self.request.lack
            asks = caps.asks_of(lack, now()) if lack is not None else []
            left_s = deadline - now()
            if not asks or left_s <= 0.0 or not await caps.fetch(asks, left_s):
                return None
            if (grant := self._grant_now(self._refused_by)) is not None:
                return grant
        return None

    async def _pause(self) -> None:
        """Give a failing provider a moment before the same key is tried again."""
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (RETRIES - 1 - self._retries))
        await asyncio.sleep(pause_s * (1.0 + 0.2 * random.random()))  # noqa: S311 - no secret
        self._just_failed = NOBODY

    def _last_chance(self) -> Grant | None:
        """Let it through where only our own caution is in the way: it cannot wait."""
        self.request.is_last_chance = True
        try:
            return self._grant_now(self._refused_by)
        finally:
            self.request.is_last_chance = False

    async def _wait(self, blocked: Blocked | None) -> Grant:
        now = self._context.clock()
        deadline = now + self._wait_s
        if self.demand.deadline is not None:
            deadline = min(deadline, self.demand.deadline)
        wakes_at = blocked.wakes_at if blocked is not None else math.inf
        if (
            blocked is not None
            and blocked.own is not None
            and self._last is None
            and (not blocked.own_may_come_back or deadline <= now)
        ):
            raise self._refuse_own(blocked.own, now)
        is_vain = blocked is not None and (
            blocked.is_too_late_for(deadline)
            or self._context.engine.is_refused_everywhere(self.demand)
        )
        if deadline <= now and (grant := self._last_chance()) is not None:
            return grant
        if deadline <= now or is_vain:
            raise self._refuse(Refusal("", wakes_at, blocked), now)
        self.request.avoid = self._refused_by
        try:
            outcome = await self._room.wait(self.request, deadline=deadline, wakes_at=wakes_at)
        finally:
            waited_s = self._context.clock() - now
            self._wait_s -= waited_s
            self.record.waited_s += waited_s
        if isinstance(outcome, Grant):
            return outcome
        raise self._refuse(outcome, self._context.clock())

    def _refuse(self, refusal: Refusal, now: float) -> Exception:
        """Say why nobody takes it: the failure that ended it, else what is short."""
        if refusal.blocked is not None:
            self.record.excluded = refusal.blocked.excluded
        if self.failure is not None and (
            refusal.retry_at == math.inf or not self.failure.kind.is_passing
        ):
            return StopAsyncIteration()
        blocked = refusal.blocked
        if blocked is not None and blocked.own is not None and self.request.caps is not None:
            return self._refuse_own(blocked.own, now)
        message = refusal.text(self.demand, now)
        self.record.refusal = message
        return NoEligibleKeysError(
            message,
            retry_after=_told_wait(refusal.retry_at - now),
            request_id=self.demand.request_id,
            cause=self._context.engine.common_cause(self.demand),
        )

    def _refuse_own(self, lack: Shortfall, now: float) -> OwnLimitError:
        """Say which limit of the caller's own is used up: no key could help."""
        wait_s = _CALL_ENDS_S if lack.for_calls else lack.fits_at - now
        message = f"{lack.account_id} has used up its own limit: {reason_of(lack, now)}"
        kind = OwnLimitError
        if self.request.caps is not None:
            kind, message = self.request.caps.refusal_of(lack, now) or (kind, message)
        self.record.refusal = message
        return kind(message, retry_after=_told_wait(wait_s), request_id=self.demand.request_id)


def _told_wait(seconds: float) -> float | None:
    """Return the seconds to tell a caller; `None` where no clock knows."""
    return max(0.0, seconds) if seconds < math.inf else None


def _outcome_of(last: Attempt | None, error: BaseException | None = None) -> str:
    """Name how a request ends: by what its caller is told, else by its last attempt."""
    if error is not None and not isinstance(error, StopAsyncIteration):
        return _OUTCOMES.get(type(error), "error")
    return last.grant.note.outcome if last is not None else "cancelled"
