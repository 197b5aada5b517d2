"""A candidate: the keys of one scope that serve one model, taking turns.

Ten thousand keys of one account are one candidate and cost what one costs: taking a turn and
coming back from a rest are O(log n) in the candidate's keys.
"""

import heapq
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from apikeyrouter.domain.failures.refusals import Refusals
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Shortfall
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.demand import Demand

_LEARN = 0.1
#: What is short where all keys of a candidate rest.
RESTS = "key rests"
#: What was seen longer ago counts less and less: this is when a third of it is left.
_HEALTH_MEMORY_S = 30.0
_LATENCY_MEMORY_S = 60.0
#: Calls that the average latency is of: what differs by chance should not look different.
_LATENCY_SAMPLES = 64
#: From so many calls on, their average says how long a first byte may take: so many times it.
_ENOUGH_SAMPLES, _PATIENCE_FACTOR = 16, 30.0
_SHORTEST_PATIENCE_S = 60.0
#: From so many streams on, their longest silence says how long one may be: so many times it.
_ENOUGH_STREAMS, _SILENCE_FACTOR = 16, 10.0
_SHORTEST_SILENCE_S = 30.0
#: What is left of the longest silence with each stream that had a shorter one.
_SILENCE_KEPT = 0.98


class CandidateOwner(Protocol):
    """What a candidate needs of the pool that it belongs to."""

    provider_id: str
    model: str
    correction: float

    def amounts(self, demand: Demand, admission: Admission | None = None) -> list[float]:
        """Say what *demand* will be charged, by a rule that was found out if there is one."""


@dataclass(slots=True, eq=False)
class Health:
    """How a model fares at one scope, whatever it was asked for.

    Attributes:
        success: Decaying share of calls that succeeded.
        latency_s: Decaying average of seconds to the first byte.
        samples: Calls that it is the average of.
        noted_at: When the last call was folded in; what is old tells little.
        answered_at: When the last call was let in; below 0 if none ever was.
        failures: In a row; calls that were under way together fail once.
        failing_since: When the first of them was noted.
        failed_at: When the last of them was noted.
        streams: That ended, up to as many as tell something.
        longest_gap_s: The longest silence of a stream; fades with each that had a shorter one.
    """

    success: float = 1.0
    latency_s: float = 0.0
    samples: int = 0
    noted_at: float = 0.0
    answered_at: float = -math.inf
    failures: int = 0
    failing_since: float = 0.0
    failed_at: float = 0.0
    streams: int = 0
    longest_gap_s: float = 0.0

    def note_failure(self, began_at: float, now: float) -> None:
        """Fold in one call that the provider failed."""
        self.noted_at = now
        self.success *= 1.0 - _LEARN
        if self.failures and began_at < self.failed_at:
            return
        if not self.failures:
            self.failing_since = now
        self.failures += 1
        self.failed_at = now

    def note_success(self, latency_s: float, now: float) -> None:
        """Fold in one call that was let in: seconds to its first byte."""
        self.failures = 0
        self.success += (1.0 - self.success) * _LEARN
        if now - self.answered_at > _LATENCY_MEMORY_S:
            self.samples = 0
        self.samples = min(self.samples + 1, _LATENCY_SAMPLES)
        self.latency_s += (latency_s - self.latency_s) / self.samples
        self.noted_at = self.answered_at = now

    def first_token_timeout_s(self, longest_s: float) -> float:
        """Return how long a first byte may take before the call has failed.

        Many times the average, so that long requests have their time; *longest_s* while
        too few calls were seen to tell.
        """
        if self.samples < _ENOUGH_SAMPLES:
            return longest_s
        return min(longest_s, max(_SHORTEST_PATIENCE_S, _PATIENCE_FACTOR * self.latency_s))

    def note_stream(self, longest_gap_s: float) -> None:
        """Fold in a stream that ended or stalled: its longest silence.

        One that was cut off for its silence counts too, so that the next may be silent longer.
        """
        self.streams = min(self.streams + 1, _ENOUGH_STREAMS)
        self.longest_gap_s = max(longest_gap_s, self.longest_gap_s * _SILENCE_KEPT)

    def stall_timeout_s(self, longest_s: float) -> float:
        """Return how long a stream may be silent before it has broken off.

        Many times the longest silence; *longest_s* while too few streams were seen to tell.
        """
        if self.streams < _ENOUGH_STREAMS:
            return longest_s
        return min(longest_s, max(_SHORTEST_SILENCE_S, _SILENCE_FACTOR * self.longest_gap_s))

    def expected_s(self, now: float) -> float:
        """Return the seconds to a first byte that there may be at best.

        The fewer calls were seen and the longer ago, the less is certain: a call finds out.
        """
        if not self.samples:
            return 0.0
        expected_s = self.latency_s * (1.0 - 0.75 / math.sqrt(self.samples))
        old_s = now - self.answered_at - _LATENCY_MEMORY_S
        return expected_s if old_s <= 0.0 else expected_s * math.exp(-old_s / _LATENCY_MEMORY_S)

    def failing(self, now: float) -> float:
        """Return the share of calls that failed, as far as that tells anything of now."""
        failed = 1.0 - self.success
        if failed <= 0.0:
            return 0.0
        return failed * math.exp(-max(0.0, now - self.noted_at) / _HEALTH_MEMORY_S)


@dataclass(slots=True, eq=False)
class Candidate:
    """One scope's keys for one model, of one priority.

    Attributes:
        turn: Virtual time of the candidate: equal scores take turns by weight.
        first_key_id: The id of its first key, which names it in explanations.
        mean_weight: Of its keys.
        served_turn: Virtual time of the key that was chosen last: a key that was away has
            missed its turns before it.
    """

    pool: CandidateOwner
    scope: QuotaScope
    priority: int
    weight: float = 0.0
    mean_weight: float = 1.0
    turn: float = 0.0
    health: Health = field(default_factory=Health)
    first_key_id: str = ""
    served_turn: float = 0.0
    #: In order of arrival.
    slots: dict[KeySlot, None] = field(default_factory=dict)
    #: The only key, where there is one only.
    _single: KeySlot | None = None
    _ready: list[tuple[float, int, KeySlot]] = field(default_factory=list)
    _resting: list[tuple[float, int, KeySlot]] = field(default_factory=list)
    #: The number under which a key is filed now; entries with another number are stale.
    _filed: dict[KeySlot, int] = field(default_factory=dict)
    _number: int = 0
    #: What its account refuses of this model; `None` while nothing.
    refusals: Refusals | None = None
    #: An operator's ranks of it by name; looked up once.
    _rank_by_name: dict[str, float | None] = field(default_factory=dict)

    def add(self, slot: KeySlot) -> None:
        """Let *slot* take turns here."""
        self.slots[slot] = None
        self._file_ready(slot)
        self._note_keys(self.weight + slot.weight)

    def remove(self, slot: KeySlot) -> None:
        """Take *slot* out."""
        del self.slots[slot], self._filed[slot]
        self._note_keys(self.weight - slot.weight)

    def next_slot(self, now: float, avoid: Collection[KeySlot]) -> KeySlot | None:
        """Return the key whose turn it is, or `None` when all rest or are to be avoided."""
        refusals = self.refusals
        if refusals is not None and refusals.holds(now):
            return None
        slot = self._single
        if slot is not None:
            return slot if slot not in avoid and self._may_serve(slot, now) else None
        self._wake_rested(now)
        passed: list[KeySlot] = []
        chosen = None
        while chosen is None and (entry := self._pop_ready()) is not None:
            turn, slot = entry
            if not self._may_serve(slot, now):
                self._file_resting(slot)
            elif turn < slot.turn:
                # It took turns elsewhere since it was filed here.
                self._file_ready(slot)
            else:
                passed.append(slot)
                chosen = slot if slot not in avoid else None
        if chosen is not None:
            self.served_turn = max(chosen.turn, self.served_turn)
            chosen.turn = self.served_turn + 1.0 / chosen.weight
        for slot in passed:
            self._file_ready(slot)
        return chosen

    def return_turn(self, slot: KeySlot) -> None:
        """Let the key that was returned last have its turn again: it did not serve."""
        if self._single is None:
            slot.turn = self.served_turn
            self._file_ready(slot)

    def wakes_at(self) -> float:
        """Return the instant at which the first resting key may be called; `inf` if none will."""
        if self.refusals is not None and self.refusals.cooldown.until:
            return self.refusals.cooldown.until
        if self._single is not None:
            return self._rests_until(self._single)
        resting = self._resting
        while resting and not self._is_current(resting[0]):
            heapq.heappop(resting)
        return resting[0][0] if resting else math.inf

    def may_serve_by(self, at: float) -> bool:
        """Tell whether one of its keys may be called before *at*."""
        if self.refusals is not None and self.refusals.cooldown.until >= at:
            return False
        if self._single is not None:
            return self._rests_until(self._single) < at
        return any(self._is_current(entry) for entry in self._ready) or self.wakes_at() < at

    def shortfall(self, now: float) -> Shortfall:
        """Return until when all of its keys rest, and why the first one does."""
        first = next(iter(self.slots), None)
        cause = self._cause_of(first, now) if first is not None else ""
        return Shortfall(RESTS, 0.0, 0.0, self.wakes_at(), cause=cause)

    def _cause_of(self, slot: KeySlot, now: float) -> str:
        """Return why *slot* rests: a failure class or an operator's reason."""
        if self.refusals is not None:
            refused = self.refusals.cooldown_of(slot)
            if refused.until > now:
                return refused.cause
        return slot.cause_of_rest()

    def refile(self, slot: KeySlot) -> None:
        """Re-evaluate *slot*: its state or its wait changed."""
        self._file_ready(slot)

    def _note_keys(self, weight: float) -> None:
        first = next(iter(self.slots), None)
        self._single = first if len(self.slots) == 1 else None
        self.first_key_id = first.id if first is not None else ""
        self.weight = weight
        self.mean_weight = weight / len(self.slots) if self.slots else 1.0
        self._rank_by_name.clear()

    def declared_rank(self, name: str) -> float | None:
        """Return an operator's rank of it, 0 (best) to 1, as its first key that has one says."""
        if name not in self._rank_by_name:
            told = (slot.record.metadata.get(name) for slot in self.slots)
            rank = next((rank for rank in told if rank is not None), None)
            self._rank_by_name[name] = None if rank is None else min(1.0, max(0.0, float(rank)))
        return self._rank_by_name[name]

    def _wake_rested(self, now: float) -> None:
        resting = self._resting
        while resting and resting[0][0] <= now:
            entry = heapq.heappop(resting)
            if self._is_current(entry):
                self._file_ready(entry[2])

    def _file_ready(self, slot: KeySlot) -> None:
        self._file(self._ready, slot.turn, slot)

    def _file_resting(self, slot: KeySlot) -> None:
        self._file(self._resting, self._rests_until(slot), slot)

    def _file(self, heap: list[tuple[float, int, KeySlot]], at: float, slot: KeySlot) -> None:
        self._number += 1
        self._filed[slot] = self._number
        heapq.heappush(heap, (at, self._number, slot))
        if len(heap) > 2 * len(self.slots) + 16:
            heap[:] = [entry for entry in heap if self._is_current(entry)]
            heapq.heapify(heap)

    def _pop_ready(self) -> tuple[float, KeySlot] | None:
        ready = self._ready
        while ready:
            entry = heapq.heappop(ready)
            if self._is_current(entry):
                return entry[0], entry[2]
        return None

    def _is_current(self, entry: tuple[float, int, KeySlot]) -> bool:
        return self._filed.get(entry[2]) == entry[1]

    def _may_serve(self, slot: KeySlot, now: float) -> bool:
        if not slot.is_awake(now):
            return False
        return self.refusals is None or self.refusals.cooldown_of(slot).until <= now

    def _rests_until(self, slot: KeySlot) -> float:
        if not slot.is_awake(math.inf):
            return math.inf
        if self.refusals is None:
            return slot.cooldown.until
        return max(slot.cooldown.until, self.refusals.cooldown_of(slot).until)
