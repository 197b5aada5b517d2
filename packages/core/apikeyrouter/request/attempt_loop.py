"""The loop around decisions: try, walk on, retry, wait in line, give up in time.

`AttemptLoop` is an async iterator of `Attempt`s for one request. It has separate
budgets for retries after provider failures and for walking over keys that turn
out unusable, and one deadline. All waiting for capacity happens here, in the
`WaitingRoom`; the queue itself is silent.
"""

import asyncio
import math
import random
from typing import Self

from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.attempt_context import AttemptContext
from apikeyrouter.domain.components.routing_engine import Blocked, Grant
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter.domain.queueing.admission_queue import Refusal
from apikeyrouter.domain.routing.decision_record import DecisionRecord, reason_of
from apikeyrouter.errors import NoEligibleKeysError
from apikeyrouter.request.waiting_room import WaitingRoom

RETRIES = 3
#: Keys that may turn out unusable before a request gives up walking.
MAX_KEY_SWITCHES = 100
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_NOBODY: frozenset[KeySlot] = frozenset()


class AttemptLoop:
    """Yields attempts for one request until one succeeds or nothing more can help.

    Each attempt must be ended (settled, failed or cancelled) before the next
    is asked for, except the last. After the loop `failure` says why it stopped.

    Raises:
        NoEligibleKeysError: Nobody has room before the deadline.
    """

    __slots__ = (
        "_blocked",
        "_desk",
        "_just_failed",
        "_key_switches_left",
        "_last",
        "_refused_by",
        "_retries",
        "_room",
        "_wait_s",
        "demand",
        "record",
    )  # fmt: skip

    def __init__(
        self,
        desk: AttemptContext,
        room: WaitingRoom,
        demand: Demand,
        record: DecisionRecord,
        *,
        wait_s: float,
    ) -> None:
        self._desk = desk
        self._room = room
        self.demand = demand
        self.record = record
        self._wait_s = wait_s
        self._retries = RETRIES
        self._key_switches_left = MAX_KEY_SWITCHES
        self._last: Attempt | None = None
        #: Keys that will not serve this request; keys that failed it just now.
        self._refused_by: frozenset[KeySlot] = _NOBODY
        self._just_failed: frozenset[KeySlot] = _NOBODY
        self._blocked: Blocked | None = None

    @property
    def failure(self) -> Failure | None:
        """The failure of the last attempt; `None` when it ended otherwise."""
        return self._last.failure if self._last is not None else None

    @property
    def last(self) -> Attempt:
        """The last attempt; there must have been one."""
        assert self._last is not None  # noqa: S101 - the loop ran
        return self._last

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Attempt:
        if self._last is not None and not self._goes_on(self._last):
            if self._last.tries_next:
                self._desk.keep(self.record)
            raise StopAsyncIteration
        grant = self._grant_now(self._refused_by | self._just_failed if self._last else _NOBODY)
        if grant is None:
            grant = await self._grant_later()
        self._last = Attempt(self._desk, grant, self.demand, self.record)
        return self._last

    def _goes_on(self, last: Attempt) -> bool:
        """Tell whether another attempt may help, and count it against its budget."""
        if last.is_open:
            raise RuntimeError("end an attempt before you ask for the next one")
        consequence = last.consequence
        if consequence is None or not consequence.try_next:
            return False
        if self.demand.deadline is not None and self._desk.clock() >= self.demand.deadline:
            return False
        if consequence.spends_retry:
            self._retries -= 1
            self._just_failed |= {last.slot}
            return self._retries >= 0
        if last.failure is not None and last.failure.kind is FailureClass.TOO_BIG_FOR_LIMIT:
            # The limit is the account's: none of its keys can take it.
            self._refused_by |= frozenset(last.grant.candidate.slots)
        elif not consequence.same_key_retry:
            self._refused_by |= {last.slot}
        self._key_switches_left -= 1
        return self._key_switches_left >= 0

    def _grant_now(self, avoid: frozenset[KeySlot]) -> Grant | None:
        """Return a key with room; else `None`, and why is kept. Nobody overtakes who waits."""
        desk, demand = self._desk, self.demand
        self._blocked = None
        route = desk.engine.routes.route_for(demand)
        if self._room.queue.waiting and self._room.queue.has_line(route):
            return None
        outcome = desk.engine.decide(route, demand, self.record, desk.clock(), avoid=avoid)
        if isinstance(outcome, Grant):
            return outcome
        self._blocked = outcome
        return None

    async def _grant_later(self) -> Grant:
        if self._blocked is not None and self._just_failed:
            await self._pause()
            grant = self._grant_now(self._refused_by)
            if grant is not None:
                return grant
        return await self._wait(self._blocked)

    async def _pause(self) -> None:
        """Give a failing provider a moment before the same key is tried again."""
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** (RETRIES - 1 - self._retries))
        await asyncio.sleep(pause_s * (1.0 + 0.2 * random.random()))  # noqa: S311 - no secret
        self._just_failed = _NOBODY

    async def _wait(self, blocked: Blocked | None) -> Grant:
        now = self._desk.clock()
        deadline = now + self._wait_s
        if self.demand.deadline is not None:
            deadline = min(deadline, self.demand.deadline)
        wakes_at = blocked.wakes_at if blocked is not None else math.inf
        if deadline <= now or (blocked is not None and blocked.is_too_late_for(deadline)):
            raise self._refuse(Refusal("", wakes_at, blocked), now)
        outcome = await self._room.wait(
            self.demand, self.record,
            deadline=deadline, wakes_at=wakes_at, avoid=self._refused_by,
        )  # fmt: skip
        self._wait_s -= self._desk.clock() - now
        if isinstance(outcome, Grant):
            return outcome
        raise self._refuse(outcome, self._desk.clock())

    def _refuse(self, refusal: Refusal, now: float) -> Exception:
        """Say why nobody takes it: the failure that ended it, else what is short."""
        self._desk.keep(self.record)
        if refusal.blocked is not None:
            self.record.excluded = refusal.blocked.excluded
        if self.failure is not None and (
            refusal.retry_at == math.inf or not self.failure.kind.is_passing
        ):
            return StopAsyncIteration()
        message = self._tell(refusal, now)
        self.record.refusal = message
        retry_after = refusal.retry_at - now if refusal.retry_at < math.inf else None
        return NoEligibleKeysError(
            message,
            retry_after=max(0.0, retry_after) if retry_after is not None else None,
            request_id=self.demand.request_id,
            cause=self._desk.engine.common_cause(self.demand),
        )

    def _tell(self, refusal: Refusal, now: float) -> str:
        text = f"no key for model '{self.demand.model}' can take it now"
        if refusal.why:
            text += f" ({refusal.why})"
        if refusal.retry_at < math.inf:
            text += f"; soonest in {max(0.0, refusal.retry_at - now):.1f} s"
        if refusal.blocked is not None and refusal.blocked.excluded:
            scope, why = refusal.blocked.excluded[0]
            text += f"; {scope}: {reason_of(why, now)}"
        return text
