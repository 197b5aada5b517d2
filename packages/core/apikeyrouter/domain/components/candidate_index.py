"""Lanes in order of score, re-filed only when they change.

Lanes are filed in an `Order` for each size of request: what is too tight for a
large request may serve a small one. An order is two heaps: awake by score,
asleep by the instant of waking. Every operation is O(log n).
"""

import heapq
import math
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from apikeyrouter.domain.components.key_slot import KeySlot
from apikeyrouter.domain.components.lane import Lane
from apikeyrouter.domain.components.quota_ledger import (
    Amounts,
    QuotaLedger,
    Reservation,
    Shortfall,
)

Score = Callable[[Lane, float], float]
#: Says why a lane must not serve (a constraint that it breaks), or `None`.
Gate = Callable[[Lane, float], str | None]

_RESCORES = 3
_GATE_PAUSE_S = 1.0
#: Decisions between two scorings of a lane that was not chosen.
_REFRESH_EVERY = 4
#: Pools with up to this many lanes are tried one by one before anybody waits.
_FEW = 32
#: So many lanes speak for all.
_ASKED = 256
_RESTS = "key rests"


class Picked(msgspec.Struct, frozen=True):
    """A lane with room, whose turn it was, and the hold on it."""

    lane: Lane
    slot: KeySlot
    hold: Reservation
    score: float


class Order:
    """The lanes of one pool for requests of about one size.

    Args:
        lanes: All of them; the pool's own list, which changes.
    """

    __slots__ = (
        "_aside_wakes_at", "_asleep", "_awake", "_cursor", "_filed", "_gate", "_lanes", "_number",
        "_score", "hopeful", "why",
    )  # fmt: skip

    def __init__(self, lanes: Sequence[Lane], score: Score, gate: Gate | None) -> None:
        self._lanes = lanes
        self._score = score
        self._gate = gate
        self._awake: list[tuple[int, float, float, int, Lane]] = []
        self._asleep: list[tuple[float, int, Lane]] = []
        #: The number under which a lane is filed now; entries with another number are stale.
        self._filed: dict[Lane, int] = {}
        self._cursor = 0
        #: When a key comes back of the lanes that had only keys to be avoided.
        self._aside_wakes_at = math.inf
        self._number = 0
        #: Why each sleeping lane sleeps.
        self.why: dict[Lane, Shortfall] = {}
        #: Sleepers that wait for a call to end.
        self.hopeful = 0
        for lane in lanes:
            self.file(lane, 0.0)

    def file(self, lane: Lane, now: float) -> None:
        """Put *lane* among the awake by its score now."""
        if lane in self.why:
            self._wake(lane)
        self._number = number = self._number + 1
        self._filed[lane] = number
        awake = self._awake
        score = self._score(lane, now)
        heapq.heappush(awake, (-lane.priority, score, lane.turn, number, lane))
        if len(awake) > 2 * len(self._filed) + 16:
            self._awake = [entry for entry in awake if self._filed.get(entry[4]) == entry[3]]
            heapq.heapify(self._awake)

    def best(self, now: float) -> tuple[int, float, float] | None:
        """Return rank, score and turn of the first lane awake; `None` if all sleep."""
        top = self._top(now)
        return top[:3] if top is not None else None

    def pick(
        self, ledger: QuotaLedger, amounts: Amounts, now: float, avoid: Collection[KeySlot]
    ) -> Picked | None:
        """Reserve on the first lane that fits; lanes that do not go to sleep."""
        self._refresh_one(now)
        score_of = self._score
        aside: list[Lane] = []
        self._aside_wakes_at = math.inf
        rescored = 0
        picked = None
        while (top := self._top(now)) is not None:
            _, score, _, number, lane = top
            # What was filed since the others were is scored well enough.
            is_old = self._number - number > len(self._filed)
            if is_old and rescored < _RESCORES and score_of(lane, now) > score:
                rescored += 1
                self.file(lane, now)
                continue
            slot = lane.next_slot(now, avoid)
            if slot is None and avoid and any(slot in avoid for slot in lane.slots):
                heapq.heappop(self._awake)
                aside.append(lane)
                wakes_at = lane.wakes_at()
                if wakes_at > now:
                    self._aside_wakes_at = min(self._aside_wakes_at, wakes_at)
                continue
            got = self._reserve(ledger, lane, slot, amounts, now)
            if isinstance(got, Shortfall):
                self.sleep(lane, got)
                continue
            assert slot is not None  # noqa: S101 - a hold is only made for a key
            picked = Picked(lane, slot, got, score)
            self._filed_again(lane, now)
            break
        for lane in aside:
            self.file(lane, now)
        return picked

    def pick_exactly(
        self, ledger: QuotaLedger, amounts: Amounts, now: float, avoid: Collection[KeySlot]
    ) -> Picked | None:
        """Try the sleepers of a small pool: a larger request of this class put them to bed."""
        if len(self._lanes) > _FEW:
            return None
        for lane, why in list(self.why.items()):
            if why.holds_for(amounts, now):
                continue
            slot = lane.next_slot(now, avoid)
            got = self._reserve(ledger, lane, slot, amounts, now)
            if slot is not None and isinstance(got, Reservation):
                picked = Picked(lane, slot, got, self._score(lane, now))
                self._filed_again(lane, now)
                return picked
        return None

    def fits_at(self, ledger: QuotaLedger, amounts: Amounts, now: float) -> float:
        """Return the instant at which *amounts* may fit somewhere; `inf` if no clock tells.

        Exact for a small pool; for a large one the next sleeper's instant.
        """
        if len(self._lanes) > _FEW:
            return self.wakes_at()
        soonest = self._aside_wakes_at
        for lane, why in self.why.items():
            instant = why.fits_at
            if not why.holds_for(amounts, now):
                lack = ledger.shortfall(lane.scope, amounts, now)
                instant = lack.fits_at if lack is not None else instant
            soonest = min(soonest, max(instant, lane.wakes_at() if why.what == _RESTS else 0.0))
        return soonest

    def runners_up(self, chosen: Lane, most: int) -> tuple[str | float, ...]:
        """Return in turn face and score of up to *most* lanes near the top, not sorting all."""
        found: list[str | float] = []
        filed = self._filed
        for _, score, _, number, lane in self._awake[: 2 * most + 1]:
            if lane is not chosen and filed.get(lane) == number:
                found += (lane.face, score)
                if len(found) == 2 * most:
                    break
        return tuple(found)

    def sleepers(self, most: int) -> Iterator[tuple[Lane, Shortfall]]:
        """Yield up to *most* sleeping lanes with their reasons, about the soonest first."""
        found = 0
        for _, number, lane in self._asleep[: 4 * most]:
            if self._is_current(lane, number) and lane in self.why:
                yield lane, self.why[lane]
                found += 1
                if found == most:
                    return

    def may_be_sooner(self) -> bool:
        """Tell whether the end of a running call may make room before any clock does."""
        if self.hopeful:
            return True
        if len(self.why) > _FEW:
            return False
        return any(lane.scope.in_flight and why.may_come_back for lane, why in self.why.items())

    def causes(self) -> Iterator[str]:
        """Yield the cause of each lane that sleeps, an empty one of those awake; of many a part."""
        for lane in self._lanes[:_ASKED]:
            why = self.why.get(lane)
            yield why.cause if why is not None else ""

    def wakes_at(self) -> float:
        """Return the instant at which the next sleeper wakes; `inf` when none will by itself."""
        asleep = self._asleep
        while asleep and not self._is_current(asleep[0][2], asleep[0][1]):
            heapq.heappop(asleep)
        return asleep[0][0] if asleep else math.inf

    def is_asleep(self, lane: Lane) -> bool:
        """Tell whether *lane* sleeps here."""
        return lane in self.why

    def sleep(self, lane: Lane, why: Shortfall) -> None:
        """Put *lane* aside until the instant that *why* tells."""
        if lane in self.why:
            self._wake(lane)
        self._number += 1
        self._filed[lane] = self._number
        lane.scope.sleepers += 1
        self.hopeful += why.for_calls
        self.why[lane] = why
        asleep = self._asleep
        heapq.heappush(asleep, (why.fits_at, self._number, lane))
        if len(asleep) > 2 * len(self._filed) + 16:
            self._asleep = [entry for entry in asleep if self._is_current(entry[2], entry[1])]
            heapq.heapify(self._asleep)

    def forget(self, lane: Lane) -> None:
        """Drop a lane for good."""
        self._wake(lane)
        self._filed.pop(lane, None)

    def _top(self, now: float) -> tuple[int, float, float, int, Lane] | None:
        """Return the first entry among the awake, after those whose instant has come."""
        asleep, filed = self._asleep, self._filed
        while asleep and asleep[0][0] <= now:
            _, number, lane = heapq.heappop(asleep)
            if filed.get(lane) == number:
                self.file(lane, now)
        awake = self._awake
        while awake:
            entry = awake[0]
            if filed.get(entry[4]) == entry[3]:
                return entry
            heapq.heappop(awake)
        return None

    def _reserve(
        self, ledger: QuotaLedger, lane: Lane, slot: KeySlot | None, amounts: Amounts, now: float
    ) -> Reservation | Shortfall:
        if slot is None:
            return Shortfall(_RESTS, 0.0, 0.0, lane.wakes_at(), cause=lane.rests_for(now))
        gate = self._gate
        if gate is not None and (why := gate(lane, now)) is not None:
            return Shortfall(why, 0.0, 0.0, now + _GATE_PAUSE_S)
        return ledger.reserve(lane.scope, amounts, now)

    def _filed_again(self, lane: Lane, now: float) -> None:
        lane.turn += 1.0 / lane.weight
        self.file(lane, now)

    def _refresh_one(self, now: float) -> None:
        """Score one lane afresh, in rotation: those that rest grow better unseen."""
        lanes = self._lanes
        self._cursor += 1
        if self._cursor % _REFRESH_EVERY or len(lanes) < 2:
            return
        lane = lanes[self._cursor // _REFRESH_EVERY % len(lanes)]
        if lane not in self.why:
            self.file(lane, now)

    def _is_current(self, lane: Lane, number: int) -> bool:
        return self._filed.get(lane) == number

    def _wake(self, lane: Lane) -> None:
        why = self.why.pop(lane, None)
        if why is not None:
            lane.scope.sleepers -= 1
            self.hopeful -= why.for_calls
