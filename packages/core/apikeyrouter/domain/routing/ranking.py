"""Candidates in order of score, re-filed only when they change.

Candidates are filed in a `Ranking` for each size of request: what is too tight for a
large request may serve a small one. An order is two heaps: awake by score,
asleep by the instant of waking. Every operation is O(log n).
"""

import heapq
import math
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import (
    Amounts,
    Ledger,
    Reservation,
    Shortfall,
)
from apikeyrouter.domain.routing.candidate import Candidate

Score = Callable[[Candidate, float], float]
#: Says why a candidate must not serve (a constraint that it breaks), or `None`.
Gate = Callable[[Candidate, float], str | None]

_RESCORES = 3
_GATE_PAUSE_S = 1.0
#: Decisions between two scorings of a candidate that was not chosen.
_REFRESH_EVERY = 4
#: Pools with up to this many candidates are tried one by one before anybody waits.
_FEW = 32
#: So many candidates speak for all.
_ASKED = 256
_RESTS = "key rests"


class Picked(msgspec.Struct, frozen=True):
    """A candidate with room, whose turn it was, and the hold on it."""

    candidate: Candidate
    slot: KeySlot
    hold: Reservation
    score: float


class Ranking:
    """The candidates of one pool for requests of about one size.

    Args:
        candidates: All of them; the pool's own list, which changes.
    """

    __slots__ = (
        "_aside_wakes_at",
        "_asleep",
        "_awake",
        "_candidates",
        "_cursor",
        "_filed",
        "_gate",
        "_number",
        "_score",
        "may_free_on_completion",
        "why",
    )  # fmt: skip

    def __init__(self, candidates: Sequence[Candidate], score: Score, gate: Gate | None) -> None:
        self._candidates = candidates
        self._score = score
        self._gate = gate
        self._awake: list[tuple[int, float, float, int, Candidate]] = []
        self._asleep: list[tuple[float, int, Candidate]] = []
        #: The number under which a candidate is filed now; entries with another number are stale.
        self._filed: dict[Candidate, int] = {}
        self._cursor = 0
        #: When a key comes back of the candidates that had only keys to be avoided.
        self._aside_wakes_at = math.inf
        self._number = 0
        #: Why each sleeping candidate sleeps.
        self.why: dict[Candidate, Shortfall] = {}
        #: Sleepers that wait for a call to end.
        self.may_free_on_completion = 0
        for candidate in candidates:
            self.file(candidate, 0.0)

    def file(self, candidate: Candidate, now: float) -> None:
        """Put *candidate* among the awake by its score now."""
        if candidate in self.why:
            self._wake(candidate)
        self._number = number = self._number + 1
        self._filed[candidate] = number
        awake = self._awake
        score = self._score(candidate, now)
        heapq.heappush(awake, (-candidate.priority, score, candidate.turn, number, candidate))
        if len(awake) > 2 * len(self._filed) + 16:
            self._awake = [entry for entry in awake if self._filed.get(entry[4]) == entry[3]]
            heapq.heapify(self._awake)

    def best(self, now: float) -> tuple[int, float, float] | None:
        """Return rank, score and turn of the first candidate awake; `None` if all sleep."""
        top = self._top(now)
        return top[:3] if top is not None else None

    def pick(
        self, ledger: Ledger, amounts: Amounts, now: float, avoid: Collection[KeySlot]
    ) -> Picked | None:
        """Reserve on the first candidate that fits; candidates that do not go to sleep."""
        self._refresh_one(now)
        score_of = self._score
        aside: list[Candidate] = []
        self._aside_wakes_at = math.inf
        rescored = 0
        picked = None
        while (top := self._top(now)) is not None:
            _, score, _, number, candidate = top
            # What was filed since the others were is scored well enough.
            is_old = self._number - number > len(self._filed)
            if is_old and rescored < _RESCORES and score_of(candidate, now) > score:
                rescored += 1
                self.file(candidate, now)
                continue
            slot = candidate.next_slot(now, avoid)
            if slot is None and avoid and any(slot in avoid for slot in candidate.slots):
                heapq.heappop(self._awake)
                aside.append(candidate)
                wakes_at = candidate.wakes_at()
                if wakes_at > now:
                    self._aside_wakes_at = min(self._aside_wakes_at, wakes_at)
                continue
            got = self._reserve(ledger, candidate, slot, amounts, now)
            if isinstance(got, Shortfall):
                self.sleep(candidate, got)
                continue
            assert slot is not None  # noqa: S101 - a hold is only made for a key
            picked = Picked(candidate, slot, got, score)
            self._filed_again(candidate, now)
            break
        for candidate in aside:
            self.file(candidate, now)
        return picked

    def pick_exactly(
        self, ledger: Ledger, amounts: Amounts, now: float, avoid: Collection[KeySlot]
    ) -> Picked | None:
        """Try the sleepers of a small pool: a larger request of this class put them to bed."""
        if len(self._candidates) > _FEW:
            return None
        for candidate, why in list(self.why.items()):
            if why.holds_for(amounts, now):
                continue
            slot = candidate.next_slot(now, avoid)
            got = self._reserve(ledger, candidate, slot, amounts, now)
            if slot is not None and isinstance(got, Reservation):
                picked = Picked(candidate, slot, got, self._score(candidate, now))
                self._filed_again(candidate, now)
                return picked
        return None

    def fits_at(self, ledger: Ledger, amounts: Amounts, now: float) -> float:
        """Return the instant at which *amounts* may fit somewhere; `inf` if no clock tells.

        Exact for a small pool; for a large one the next sleeper's instant.
        """
        if len(self._candidates) > _FEW:
            return self.wakes_at()
        soonest = self._aside_wakes_at
        for candidate, why in self.why.items():
            instant = why.fits_at
            if not why.holds_for(amounts, now):
                lack = ledger.shortfall(candidate.scope, amounts, now)
                instant = lack.fits_at if lack is not None else instant
            soonest = min(
                soonest, max(instant, candidate.wakes_at() if why.what == _RESTS else 0.0)
            )
        return soonest

    def runners_up(self, chosen: Candidate, most: int) -> tuple[str | float, ...]:
        """Return in turn key id and score of up to *most* candidates near the top."""
        found: list[str | float] = []
        filed = self._filed
        for _, score, _, number, candidate in self._awake[: 2 * most + 1]:
            if candidate is not chosen and filed.get(candidate) == number:
                found += (candidate.first_key_id, score)
                if len(found) == 2 * most:
                    break
        return tuple(found)

    def sleepers(self, most: int) -> Iterator[tuple[Candidate, Shortfall]]:
        """Yield up to *most* sleeping candidates with their reasons, about the soonest first."""
        found = 0
        for _, number, candidate in self._asleep[: 4 * most]:
            if self._is_current(candidate, number) and candidate in self.why:
                yield candidate, self.why[candidate]
                found += 1
                if found == most:
                    return

    def may_be_sooner(self) -> bool:
        """Tell whether the end of a running call may make room before any clock does."""
        if self.may_free_on_completion:
            return True
        if len(self.why) > _FEW:
            return False
        return any(
            candidate.scope.in_flight and why.may_come_back for candidate, why in self.why.items()
        )

    def causes(self) -> Iterator[str]:
        """Yield why each candidate sleeps, "" for those awake; of many only a part."""
        for candidate in self._candidates[:_ASKED]:
            why = self.why.get(candidate)
            yield why.cause if why is not None else ""

    def wakes_at(self) -> float:
        """Return the instant at which the next sleeper wakes; `inf` when none will by itself."""
        asleep = self._asleep
        while asleep and not self._is_current(asleep[0][2], asleep[0][1]):
            heapq.heappop(asleep)
        return asleep[0][0] if asleep else math.inf

    def is_asleep(self, candidate: Candidate) -> bool:
        """Tell whether *candidate* sleeps here."""
        return candidate in self.why

    def sleep(self, candidate: Candidate, why: Shortfall) -> None:
        """Put *candidate* aside until the instant that *why* tells."""
        if candidate in self.why:
            self._wake(candidate)
        self._number += 1
        self._filed[candidate] = self._number
        candidate.scope.sleepers += 1
        self.may_free_on_completion += why.for_calls
        self.why[candidate] = why
        asleep = self._asleep
        heapq.heappush(asleep, (why.fits_at, self._number, candidate))
        if len(asleep) > 2 * len(self._filed) + 16:
            self._asleep = [entry for entry in asleep if self._is_current(entry[2], entry[1])]
            heapq.heapify(self._asleep)

    def forget(self, candidate: Candidate) -> None:
        """Drop a candidate for good."""
        self._wake(candidate)
        self._filed.pop(candidate, None)

    def _top(self, now: float) -> tuple[int, float, float, int, Candidate] | None:
        """Return the first entry among the awake, after those whose instant has come."""
        asleep, filed = self._asleep, self._filed
        while asleep and asleep[0][0] <= now:
            _, number, candidate = heapq.heappop(asleep)
            if filed.get(candidate) == number:
                self.file(candidate, now)
        awake = self._awake
        while awake:
            entry = awake[0]
            if filed.get(entry[4]) == entry[3]:
                return entry
            heapq.heappop(awake)
        return None

    def _reserve(
        self,
        ledger: Ledger,
        candidate: Candidate,
        slot: KeySlot | None,
        amounts: Amounts,
        now: float,
    ) -> Reservation | Shortfall:
        if slot is None:
            return Shortfall(_RESTS, 0.0, 0.0, candidate.wakes_at(), cause=candidate.rests_for(now))
        gate = self._gate
        if gate is not None and (why := gate(candidate, now)) is not None:
            return Shortfall(why, 0.0, 0.0, now + _GATE_PAUSE_S)
        return ledger.reserve(candidate.scope, amounts, now)

    def _filed_again(self, candidate: Candidate, now: float) -> None:
        candidate.turn += 1.0 / candidate.weight
        self.file(candidate, now)

    def _refresh_one(self, now: float) -> None:
        """Score one candidate afresh, in rotation: those that rest grow better unseen."""
        candidates = self._candidates
        self._cursor += 1
        if self._cursor % _REFRESH_EVERY or len(candidates) < 2:
            return
        candidate = candidates[self._cursor // _REFRESH_EVERY % len(candidates)]
        if candidate not in self.why:
            self.file(candidate, now)

    def _is_current(self, candidate: Candidate, number: int) -> bool:
        return self._filed.get(candidate) == number

    def _wake(self, candidate: Candidate) -> None:
        why = self.why.pop(candidate, None)
        if why is not None:
            candidate.scope.sleepers -= 1
            self.may_free_on_completion -= why.for_calls
