"""A ranking: one pool's candidates in order of score, for requests of about one size.

What is too tight for a large request may serve a small one, so that each size class has a ranking
of its own. Candidates that lack room sleep until the instant they were told. Of a small pool all
that are awake are compared at their scores of now; of a large one a heap holds them by the scores
they were filed at, and the first are looked at afresh. Every operation on a large pool is O(log n).
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Amounts, Ledger, Reservation, Shortfall
from apikeyrouter.domain.routing.candidate import RESTS, Candidate
from apikeyrouter.domain.routing.pending_request import NOBODY, PendingRequest
from apikeyrouter.domain.routing.scoring import EQUAL_WITHIN, Scoring

#: Pools with up to this many candidates are compared as a whole.
SMALL_POOL = 32
_RESCORES = 3
_GATE_PAUSE_S = 1.0
#: Decisions between two scorings of a candidate that was not chosen.
_REFRESH_EVERY = 4
#: So many candidates speak for all of a large pool.
_ASKED = 256
_PILE = 16

_Pool = TypeVar("_Pool")


class Picked(msgspec.Struct, frozen=True):
    """A candidate with room, the key whose turn it was, and what was set aside."""

    candidate: Candidate
    slot: KeySlot
    reservation: Reservation
    score: float


class Ranking:
    """The candidates of one pool for requests of about one size.

    Args:
        candidates: All of them; the pool's own list, which changes.

    Attributes:
        why: Why each sleeping candidate sleeps.
        may_free_on_completion: Sleepers that wait for a call to end.
    """

    __slots__ = (
        "_aside", "_aside_wakes_at", "_asleep", "_awake", "_candidates", "_changed", "_cursor",
        "_filed", "_number", "_scoring", "may_free_on_completion", "why",
    )  # fmt: skip

    def __init__(self, candidates: Sequence[Candidate], scoring: Scoring, now: float) -> None:
        self._candidates = candidates
        self._scoring = scoring
        self._awake: list[tuple[int, int, float, int, Candidate]] = []
        self._asleep: list[tuple[float, int, Candidate]] = []
        #: The number under which a candidate is filed now; entries with another are stale.
        self._filed: dict[Candidate, int] = {}
        #: Candidates of a large pool whose score may be another since they were filed.
        self._changed: dict[Candidate, None] = {}
        self._cursor = self._number = 0
        #: Candidates that this decision must not take, and when a key of theirs comes back.
        self._aside: list[Candidate] = []
        self._aside_wakes_at = math.inf
        self.why: dict[Candidate, Shortfall] = {}
        self.may_free_on_completion = 0
        for candidate in candidates:
            self.file(candidate, now)

    @property
    def is_small(self) -> bool:
        """Whether its candidates are compared as a whole."""
        return len(self._candidates) <= SMALL_POOL

    def file(self, candidate: Candidate, now: float) -> None:
        """Put *candidate* among those awake, at its score of now."""
        if candidate in self.why:
            self._wake(candidate)
        self._number = number = self._number + 1
        self._filed[candidate] = number
        awake = self._awake
        if self.is_small:
            awake.clear()
            return
        if not awake:
            self._fill(now)
            return
        step = _step_of(self._scoring.score(candidate, now))
        heapq.heappush(awake, (-candidate.priority, step, candidate.turn, number, candidate))
        if len(awake) > 2 * len(self._filed) + _PILE:
            self._awake = [entry for entry in awake if self._filed.get(entry[4]) == entry[3]]
            heapq.heapify(self._awake)

    def note_change(self, candidate: Candidate) -> None:
        """Score *candidate* afresh at the next decision: a call of it has ended."""
        if not self.is_small:
            self._changed[candidate] = None

    def start(self) -> None:
        """Begin a decision: nothing is put aside."""
        if self._aside:
            self._aside.clear()
        self._aside_wakes_at = math.inf

    def awake(self, now: float, pool: _Pool) -> list[tuple[Candidate, float, _Pool]]:
        """Return who is awake at scores of now: all of a small pool, the first of a large one.

        Args:
            pool: What stands beside each of them.
        """
        if self._asleep and self._asleep[0][0] <= now:
            self._wake_due(now)
        score_of = self._scoring.score
        if len(self._candidates) <= SMALL_POOL:
            why, aside = self.why, self._aside
            if not why and not aside:
                return [
                    (candidate, score_of(candidate, now), pool) for candidate in self._candidates
                ]
            return [
                (candidate, score_of(candidate, now), pool)
                for candidate in self._candidates
                if candidate not in why and candidate not in aside
            ]
        self._refile_changed(now)
        self._refresh_one(now)
        first = self._first(now)
        return [(first[4], score_of(first[4], now), pool)] if first is not None else []

    def may_take(self, candidate: Candidate) -> bool:
        """Tell whether *candidate* is awake, and not aside."""
        return candidate not in self.why and self._filed.get(candidate, -1) > 0

    def take(
        self,
        candidate: Candidate,
        score: float,
        amounts: Amounts,
        ledger: Ledger,
        request: PendingRequest,
        now: float,
        passed: frozenset[KeySlot] = NOBODY,
    ) -> Picked | None:
        """Reserve on *candidate*; one without room goes to sleep, or aside for this decision."""
        avoid = request.avoid | passed if passed else request.avoid
        slot = candidate.next_slot(now, avoid)
        if slot is None and avoid and any(slot in avoid for slot in candidate.slots):
            self._put_aside(candidate, now, avoid)
            return None
        charge = candidate.scope.charge
        if charge is not None and charge.belief.admission is not charge.prior:
            amounts = candidate.pool.amounts(request.demand, charge.belief.admission)
        got = self._reserve(ledger, candidate, slot, amounts, request, now)
        if slot is not None and isinstance(got, Reservation):
            return Picked(candidate, slot, got, score)
        assert isinstance(got, Shortfall)  # noqa: S101 - without a key there is no reservation
        if got.account_id and got.account_id != candidate.scope.id:
            self._aside_wakes_at = min(self._aside_wakes_at, got.fits_at)
            if slot is not None and request.is_short_of_key(got, slot, len(passed)):
                passed |= {slot}
                return self.take(candidate, score, amounts, ledger, request, now, passed)
            self._put_aside(candidate, now)
        else:
            self.sleep(candidate, got)
        if slot is not None:
            candidate.return_turn(slot)
        return None

    def finish(self, chosen: Candidate | None, now: float) -> None:
        """End a decision: who was put aside, or chosen, is filed again."""
        for candidate in self._aside:
            self.file(candidate, now)
        # Nothing is filed by score where all are compared.
        if chosen is not None and (chosen in self.why or not self.is_small):
            self.file(chosen, now)

    def blocked_by_others(self, amounts: Amounts, now: float) -> list[tuple[Candidate, float]]:
        """Return sleepers of a small pool that only a larger request of this class has blocked."""
        if not self.is_small:
            return []
        score_of = self._scoring.score
        return [
            (candidate, score_of(candidate, now))
            for candidate, why in self.why.items()
            if not why.holds_for(amounts, now)
        ]

    def blocked_by_guesses(self, now: float) -> list[tuple[Candidate, float]]:
        """Return sleepers that only our own caution keeps out; of a large pool a few."""
        score_of = self._scoring.score
        return [
            (candidate, score_of(candidate, now))
            for candidate, why in self.sleepers(SMALL_POOL)
            if why.is_guess
        ]

    def fits_at(
        self, amounts: Amounts, now: float, avoid: frozenset[KeySlot] = frozenset()
    ) -> float:
        """Return the instant at which *amounts* may fit somewhere; `inf` if no clock tells.

        Who has only keys to *avoid* is not waited for.
        Exact for a small pool; for a large one the next sleeper's instant.
        """
        if not self.is_small:
            return self.wakes_at()
        soonest = self._aside_wakes_at
        for candidate, why in self.why.items():
            if avoid and avoid.issuperset(candidate.slots):
                continue
            instant = why.fits_at
            if not why.holds_for(amounts, now):
                scope = candidate.scope
                lack = scope.account.shortfall(amounts, now)
                fits_at = lack.fits_at if lack is not None else now
                instant = max(fits_at, scope.cooldown.until)
                if instant <= now:
                    instant = why.fits_at
            rests_until = candidate.wakes_at() if why.what == RESTS else 0.0
            soonest = min(soonest, max(instant, rests_until))
        return soonest

    def runners_up(self, chosen: Candidate, most: int) -> tuple[str | float, ...]:
        """Return in turn key id and score of up to *most* that stand next in a large pool."""
        found: list[str | float] = []
        for _, step, _, number, candidate in self._awake[: 2 * most + 1]:
            if candidate is not chosen and self._is_current(candidate, number):
                found += (candidate.first_key_id, step * EQUAL_WITHIN)
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
        if len(self.why) > SMALL_POOL:
            return False
        return any(
            candidate.scope.account.in_flight and why.may_come_back
            for candidate, why in self.why.items()
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
        """Let *candidate* sleep until the instant that *why* tells."""
        if candidate in self.why:
            self._wake(candidate)
        self._number += 1
        self._filed[candidate] = self._number
        candidate.scope.index.asleep += 1
        self.may_free_on_completion += why.for_calls
        self.why[candidate] = why
        asleep = self._asleep
        heapq.heappush(asleep, (why.fits_at, self._number, candidate))
        if len(asleep) > 2 * len(self._filed) + _PILE:
            self._asleep = [entry for entry in asleep if self._is_current(entry[2], entry[1])]
            heapq.heapify(self._asleep)

    def forget(self, candidate: Candidate) -> None:
        """Drop a candidate for good."""
        self._wake(candidate)
        self._filed.pop(candidate, None)

    def close(self) -> None:
        """Let go of all candidates: nobody asks for requests of this kind any more."""
        for candidate in list(self.why):
            self._wake(candidate)

    def _fill(self, now: float) -> None:
        """Build the heap of a pool that has become a large one."""
        score_of, filed, why = self._scoring.score, self._filed, self.why
        self._awake = [
            (-c.priority, _step_of(score_of(c, now)), c.turn, filed[c], c)
            for c in self._candidates
            if c in filed and c not in why
        ]
        heapq.heapify(self._awake)

    def _wake_due(self, now: float) -> None:
        asleep = self._asleep
        while asleep and asleep[0][0] <= now:
            _, number, candidate = heapq.heappop(asleep)
            if self._is_current(candidate, number):
                self.file(candidate, now)

    def _first(self, now: float) -> tuple[int, int, float, int, Candidate] | None:
        """Return the first entry awake; those filed long ago are scored afresh before."""
        awake, rescored, score_of = self._awake, 0, self._scoring.score
        while awake:
            entry = awake[0]
            _, step, _, number, candidate = entry
            if not self._is_current(candidate, number):
                heapq.heappop(awake)
                continue
            # What was filed since the others were is scored well enough.
            is_old = self._number - number > len(self._filed)
            if is_old and rescored < _RESCORES and _step_of(score_of(candidate, now)) > step:
                rescored += 1
                self.file(candidate, now)
                awake = self._awake
                continue
            return entry
        return None

    def _reserve(
        self,
        ledger: Ledger,
        candidate: Candidate,
        slot: KeySlot | None,
        amounts: Amounts,
        request: PendingRequest,
        now: float,
    ) -> Reservation | Shortfall:
        if slot is None:
            return candidate.shortfall(now)
        scope, gate = candidate.scope, self._scoring.gate
        if scope.cooldown.until > now:
            return scope.cooldown.shortfall()
        if gate is not None and (why := gate(candidate, now)) is not None:
            return Shortfall(why, 0.0, 0.0, now + _GATE_PAUSE_S)
        own = request.own_lines if request.caps is None else request.lines(candidate.pool, slot)
        lines = (scope.account, amounts), *own
        return ledger.reserve(lines, now, past_guesses=request.is_last_chance)

    def _put_aside(
        self, candidate: Candidate, now: float, avoid: frozenset[KeySlot] = frozenset()
    ) -> None:
        self._aside.append(candidate)
        self._filed[candidate] = -1
        wakes_at = candidate.wakes_at()
        if wakes_at > now and not avoid.issuperset(candidate.slots):
            self._aside_wakes_at = min(self._aside_wakes_at, wakes_at)

    def _refile_changed(self, now: float) -> None:
        changed, filed, why = self._changed, self._filed, self.why
        for candidate in changed:
            if candidate in filed and candidate not in why and candidate not in self._aside:
                self.file(candidate, now)
        changed.clear()

    def _refresh_one(self, now: float) -> None:
        """Score one candidate afresh, in rotation: those that rest grow better unseen."""
        candidates = self._candidates
        self._cursor += 1
        if self._cursor % _REFRESH_EVERY:
            return
        candidate = candidates[self._cursor // _REFRESH_EVERY % len(candidates)]
        if candidate not in self.why and candidate not in self._aside:
            self.file(candidate, now)

    def _is_current(self, candidate: Candidate, number: int) -> bool:
        return self._filed.get(candidate) == number

    def _wake(self, candidate: Candidate) -> None:
        why = self.why.pop(candidate, None)
        if why is not None:
            candidate.scope.index.asleep -= 1
            self.may_free_on_completion -= why.for_calls


def _step_of(score: float) -> int:
    """Return the step that a score is filed at, so that equal ones take turns."""
    return int(score / EQUAL_WITHIN)
