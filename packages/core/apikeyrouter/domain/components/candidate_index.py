"""The keys of one model in order of score, re-filed only when they change.

A `Pool` serves one model of one provider. Its `Lane`s are its scopes: keys
that share a scope stand in one lane and take turns there, so that ten
thousand keys of one account cost what one costs. Lanes are filed in an
`Order` for each size of request: what is too tight for a large request may
serve a small one. An order is two heaps: awake by score, asleep by the
instant of waking. Every operation is O(log n).
"""

import heapq
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from apikeyrouter.domain.components.circuit import Circuit
from apikeyrouter.domain.components.key_slot import KeySlot
from apikeyrouter.domain.components.quota_ledger import (
    Amounts,
    QuotaLedger,
    Reservation,
    Scope,
    Shortfall,
)
from apikeyrouter.domain.components.windows import DIMENSIONS, INDEX_OF
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.models.demand import DEFAULT_OUTPUT_TOKENS, Demand
from apikeyrouter.domain.models.observation import Dimension

Score = Callable[["Lane", float], float]
#: Says why a lane must not serve (a constraint that it breaks), or `None`.
Gate = Callable[["Lane"], str | None]

_RESCORES = 3
_LEARN = 0.1
_GATE_PAUSE_S = 1.0
#: Decisions between two scorings of a lane that was not chosen.
_REFRESH_EVERY = 4
#: Pools with up to this many lanes are tried one by one before anybody waits.
_FEW = 32
_REQUESTS = INDEX_OF[Dimension.REQUESTS]
_TOKENS = INDEX_OF[Dimension.TOKENS]
_INPUT = INDEX_OF[Dimension.INPUT_TOKENS]
_OUTPUT = INDEX_OF[Dimension.OUTPUT_TOKENS]
_CONCURRENCY = INDEX_OF[Dimension.CONCURRENCY]


@dataclass(slots=True, eq=False)
class Lane:
    """One scope's keys for one model, of one priority.

    Attributes:
        turn: Virtual time of the lane: equal scores take turns by weight.
        success: Decaying share of calls that succeeded in this lane.
        latency_s: Decaying average of seconds to the first byte; rises at once, falls slowly.
    """

    pool: "Pool"
    scope: Scope
    priority: int
    weight: float = 0.0
    turn: float = 0.0
    success: float = 1.0
    latency_s: float = 0.0
    slots: list[KeySlot] = field(default_factory=list)
    _ready: list[tuple[float, int, KeySlot]] = field(default_factory=list)
    _resting: list[tuple[float, int, KeySlot]] = field(default_factory=list)
    _filed: int = 0

    def add(self, slot: KeySlot) -> None:
        """Let *slot* take turns here."""
        self.slots.append(slot)
        self.weight += slot.weight
        self._filed += 1
        heapq.heappush(self._ready, (slot.turn, self._filed, slot))

    def remove(self, slot: KeySlot) -> None:
        """Take *slot* out; O(keys of the lane)."""
        self.slots.remove(slot)
        self.weight -= slot.weight
        self._ready = [entry for entry in self._ready if entry[2] is not slot]
        self._resting = [entry for entry in self._resting if entry[2] is not slot]
        heapq.heapify(self._ready)
        heapq.heapify(self._resting)

    def next_slot(self, now: float, avoid: Collection[KeySlot]) -> KeySlot | None:
        """Return the key whose turn it is, or `None` when all rest or are to be avoided."""
        if len(self.slots) == 1:
            slot = self.slots[0]
            return slot if slot not in avoid and self._may_serve(slot, now) else None
        while self._resting and self._resting[0][0] <= now:
            _, number, slot = heapq.heappop(self._resting)
            heapq.heappush(self._ready, (slot.turn, number, slot))
        passed: list[tuple[float, int, KeySlot]] = []
        chosen = None
        while self._ready and chosen is None:
            _, number, slot = heapq.heappop(self._ready)
            if not self._may_serve(slot, now):
                heapq.heappush(self._resting, (self._rests_until(slot), number, slot))
                continue
            if slot not in avoid:
                chosen = slot
                slot.turn = max(slot.turn, self.turn) + 1.0 / slot.weight
            passed.append((slot.turn, number, slot))
        for entry in passed:
            heapq.heappush(self._ready, entry)
        return chosen

    def wakes_at(self) -> float:
        """Return the instant at which the first resting key may be called; `inf` if none will."""
        if len(self.slots) == 1:
            return self._rests_until(self.slots[0])
        return self._resting[0][0] if self._resting else math.inf

    def rouse(self) -> None:
        """Look at all resting keys afresh: one of them changed."""
        for _, number, slot in self._resting:
            heapq.heappush(self._ready, (slot.turn, number, slot))
        self._resting.clear()

    def note(self, latency_s: float | None) -> None:
        """Fold in one call: seconds to its first byte, or `None` when the provider failed it."""
        if latency_s is None:
            self.success *= 1.0 - _LEARN
            return
        self.success += (1.0 - self.success) * _LEARN
        rise = latency_s - self.latency_s
        self.latency_s = latency_s if rise > 0 else self.latency_s + rise * _LEARN

    def _may_serve(self, slot: KeySlot, now: float) -> bool:
        if not slot.is_awake(now):
            return False
        return not slot.refused_models or slot.refused_models.get(self.pool.model, 0.0) <= now

    def _rests_until(self, slot: KeySlot) -> float:
        if not slot.is_awake(math.inf):
            return math.inf
        return max(slot.wake_at, slot.refused_models.get(self.pool.model, 0.0))


class Picked(msgspec.Struct, frozen=True):
    """A lane with room, whose turn it was, and the hold on it."""

    lane: Lane
    slot: KeySlot
    hold: Reservation
    score: float


class Order:
    """The lanes of one pool for requests of about one size."""

    __slots__ = ("_asleep", "_awake", "_cursor", "_filed", "_number", "_pool", "hopeful", "why")

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._awake: list[tuple[int, float, float, int, Lane]] = []
        self._asleep: list[tuple[float, int, Lane]] = []
        self._filed: dict[Lane, int] = {}
        self._cursor = 0
        self._number = 0
        #: Why each sleeping lane sleeps.
        self.why: dict[Lane, Shortfall] = {}
        #: Sleepers that wait for a call to end.
        self.hopeful = 0
        for lane in pool.lanes:
            self.file(lane, 0.0)

    def file(self, lane: Lane, now: float) -> None:
        """Put *lane* among the awake by its score now."""
        self._wake(lane)
        self._number += 1
        self._filed[lane] = self._number
        score = self._pool.score(lane, now)
        heapq.heappush(self._awake, (-lane.priority, score, lane.turn, self._number, lane))
        if len(self._awake) > 2 * len(self._filed) + 16:
            self._awake = [entry for entry in self._awake if self._is_current(entry[4], entry[3])]
            heapq.heapify(self._awake)

    def best(self, now: float) -> tuple[int, float, float] | None:
        """Return rank, score and turn of the first lane awake; `None` if all sleep."""
        asleep = self._asleep
        while asleep and asleep[0][0] <= now:
            _, number, lane = heapq.heappop(asleep)
            if self._is_current(lane, number):
                self.file(lane, now)
        awake, filed = self._awake, self._filed
        while awake:
            entry = awake[0]
            if filed.get(entry[4]) == entry[3]:
                return entry[:3]
            heapq.heappop(awake)
        return None

    def pick(
        self, ledger: QuotaLedger, amounts: Amounts, now: float, avoid: Collection[KeySlot]
    ) -> Picked | None:
        """Reserve on the first lane that fits; lanes that do not go to sleep."""
        self._refresh_one(now)
        aside: list[Lane] = []
        rescored = 0
        picked = None
        while self.best(now) is not None:
            score, lane = self._awake[0][1], self._awake[0][4]
            if (
                rescored < _RESCORES
                and len(self._awake) > 1
                and self._pool.score(lane, now) > score
            ):
                rescored += 1
                self.file(lane, now)
                continue
            slot = lane.next_slot(now, avoid)
            if slot is None and avoid and any(slot in avoid for slot in lane.slots):
                heapq.heappop(self._awake)
                aside.append(lane)
                continue
            got = self._reserve(ledger, lane, slot, amounts, now)
            if isinstance(got, Shortfall):
                self._sleep(lane, got)
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
        if len(self._pool.lanes) > _FEW:
            return None
        for lane in list(self.why):
            slot = lane.next_slot(now, avoid)
            got = self._reserve(ledger, lane, slot, amounts, now)
            if slot is not None and isinstance(got, Reservation):
                picked = Picked(lane, slot, got, self._pool.score(lane, now))
                self._filed_again(lane, now)
                return picked
        return None

    def fits_at(self, ledger: QuotaLedger, amounts: Amounts, now: float) -> float:
        """Return the instant at which *amounts* may fit somewhere; `inf` if no clock tells.

        Exact for a small pool; for a large one the next sleeper's instant.
        """
        if len(self._pool.lanes) > _FEW:
            return self.wakes_at()
        soonest = math.inf
        for lane, why in self.why.items():
            lack = ledger.shortfall(lane.scope, amounts, now)
            instant = lack.fits_at if lack is not None else why.fits_at
            soonest = min(soonest, max(instant, lane.wakes_at() if why.what == _RESTS else 0.0))
        return soonest

    def runners_up(self, chosen: Lane, most: int) -> Iterator[tuple[Lane, float]]:
        """Yield up to *most* lanes that stand near the top, without sorting them all."""
        found = 0
        for entry in self._awake[: 2 * most + 1]:
            lane = entry[4]
            if lane is not chosen and self._is_current(lane, entry[3]):
                yield lane, entry[1]
                found += 1
                if found == most:
                    return

    def sleepers(self, most: int) -> Iterator[tuple[Lane, Shortfall]]:
        """Yield up to *most* sleeping lanes with their reasons, about the soonest first."""
        found = 0
        for _, number, lane in self._asleep[: 4 * most]:
            if self._is_current(lane, number) and lane in self.why:
                yield lane, self.why[lane]
                found += 1
                if found == most:
                    return

    def wakes_at(self) -> float:
        """Return the instant at which the next sleeper wakes; `inf` when none will by itself."""
        asleep = self._asleep
        while asleep and not self._is_current(asleep[0][2], asleep[0][1]):
            heapq.heappop(asleep)
        return asleep[0][0] if asleep else math.inf

    def is_asleep(self, lane: Lane) -> bool:
        """Tell whether *lane* sleeps here."""
        return lane in self.why

    def forget(self, lane: Lane) -> None:
        """Drop a lane for good."""
        self._wake(lane)
        self._filed.pop(lane, None)

    def _reserve(
        self, ledger: QuotaLedger, lane: Lane, slot: KeySlot | None, amounts: Amounts, now: float
    ) -> Reservation | Shortfall:
        if slot is None:
            return Shortfall(_RESTS, 0.0, 0.0, lane.wakes_at())
        gate = self._pool.gate
        if gate is not None and (why := gate(lane)) is not None:
            return Shortfall(why, 0.0, 0.0, now + _GATE_PAUSE_S)
        return ledger.reserve(lane.scope, amounts, now)

    def _filed_again(self, lane: Lane, now: float) -> None:
        lane.turn += 1.0 / lane.weight
        self.file(lane, now)

    def _refresh_one(self, now: float) -> None:
        """Score one lane afresh, in rotation: those that rest grow better unseen."""
        lanes = self._pool.lanes
        self._cursor += 1
        if len(lanes) < 2 or self._cursor % _REFRESH_EVERY:
            return
        lane = lanes[self._cursor // _REFRESH_EVERY % len(lanes)]
        if lane not in self.why:
            self.file(lane, now)

    def _is_current(self, lane: Lane, number: int) -> bool:
        return self._filed.get(lane) == number

    def _sleep(self, lane: Lane, why: Shortfall) -> None:
        self._wake(lane)
        self._number += 1
        self._filed[lane] = self._number
        lane.scope.sleepers += 1
        self.hopeful += why.for_calls
        self.why[lane] = why
        heapq.heappush(self._asleep, (why.fits_at, self._number, lane))

    def _wake(self, lane: Lane) -> None:
        why = self.why.pop(lane, None)
        if why is not None:
            lane.scope.sleepers -= 1
            self.hopeful -= why.for_calls


_RESTS = "key rests"


class Pool:
    """All lanes that serve one model of one provider, under one objective.

    Attributes:
        model: The provider's own name of it.
        correction: Reported over estimated input tokens, decaying average.
        usual_output: Output tokens a request usually makes here.
    """

    __slots__ = (
        "_orders", "admission", "circuit", "correction", "gate", "lane_by_key", "lanes", "model",
        "provider_id", "score", "usual_output",
    )  # fmt: skip

    def __init__(
        self,
        provider_id: str,
        model: str,
        *,
        score: Score,
        admission: Admission,
        circuit: Circuit,
        gate: Gate | None = None,
    ) -> None:
        self.provider_id = provider_id
        self.model = model
        self.score = score
        self.gate = gate
        self.admission = admission
        self.circuit = circuit
        self.lanes: list[Lane] = []
        self.lane_by_key: dict[tuple[str, int], Lane] = {}
        self.correction = 1.0
        self.usual_output = float(DEFAULT_OUTPUT_TOKENS)
        self._orders: dict[int, Order] = {}

    def add(self, slot: KeySlot, scope: Scope) -> Lane:
        """Let *slot* serve here under *scope*."""
        lane = self.lane_by_key.get((scope.id, slot.priority))
        if lane is None:
            lane = Lane(self, scope, slot.priority)
            self.lane_by_key[scope.id, slot.priority] = lane
            self.lanes.append(lane)
            scope.lanes.setdefault(self, []).append(lane)
        lane.add(slot)
        slot.lanes.append(lane)
        for order in self._orders.values():
            order.file(lane, 0.0)
        return lane

    def remove(self, slot: KeySlot, lane: Lane) -> None:
        """Let *slot* serve here no more; an empty lane goes with it."""
        lane.remove(slot)
        slot.lanes.remove(lane)
        if lane.slots:
            return
        self.lanes.remove(lane)
        del self.lane_by_key[lane.scope.id, lane.priority]
        lane.scope.lanes[self].remove(lane)
        for order in self._orders.values():
            order.forget(lane)

    def dissolve(self) -> None:
        """Take every lane apart: nobody asked for this model in a long time."""
        for lane in list(self.lanes):
            for slot in list(lane.slots):
                self.remove(slot, lane)
            lane.scope.lanes.pop(self, None)
        self._orders.clear()

    def amounts(self, demand: Demand) -> list[float]:
        """Say what *demand* will be charged when it is let in."""
        amounts = [0.0] * len(DIMENSIONS)
        estimate = demand.input_tokens * self.correction
        cap = demand.output_cap
        counted_cap = float(cap) if cap is not None and self.admission.counts_cap else None
        if self.admission.input_only:
            tokens = estimate
        elif self.admission.larger_of:
            tokens = max(estimate, counted_cap or 0.0)
        else:
            tokens = estimate + (self.usual_output if counted_cap is None else counted_cap)
        amounts[_REQUESTS] = amounts[_CONCURRENCY] = 1.0
        amounts[_TOKENS] = float(math.ceil(tokens))
        amounts[_INPUT] = float(math.ceil(estimate))
        amounts[_OUTPUT] = self.usual_output if cap is None else min(float(cap), self.usual_output)
        return amounts

    def actual(self, hold: Reservation, input_tokens: int, output_tokens: int) -> list[float]:
        """Say what the provider keeps charged once the true usage is known."""
        amounts = list(hold.amounts)
        if self.admission.settles:
            total = input_tokens if self.admission.input_only else input_tokens + output_tokens
            amounts[_TOKENS] = float(total)
            amounts[_INPUT] = float(input_tokens)
            amounts[_OUTPUT] = float(output_tokens)
        return amounts

    def learn_sizes(self, demand: Demand, input_tokens: int, output_tokens: int) -> None:
        """Fold one reported usage into the correction of our estimates."""
        if demand.input_tokens > 0 and input_tokens > 0:
            ratio = min(8.0, max(0.125, input_tokens / demand.input_tokens))
            self.correction += _LEARN * (ratio - self.correction)
        self.usual_output += _LEARN * (output_tokens - self.usual_output)

    def order(self, amounts: Amounts) -> Order:
        """Return the order for requests of this size; made at the first such request."""
        size = int(amounts[_TOKENS]).bit_length()
        order = self._orders.get(size)
        if order is None:
            order = self._orders[size] = Order(self)
        return order

    def orders(self) -> Sequence[Order]:
        """Return the orders in use."""
        return tuple(self._orders.values())

    def refresh(self, scope: Scope, now: float) -> None:
        """File the lanes of *scope* afresh: room came, a wait ended, a key changed."""
        for lane in scope.lanes.get(self, ()):
            lane.rouse()
            for order in self._orders.values():
                if order.is_asleep(lane):
                    order.file(lane, now)
