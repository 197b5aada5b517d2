"""A contest: the candidates of one level compete for one request.

Of those with the highest priority the best score wins; about equal ones take turns by virtual
time, whatever provider they are of. A candidate without room drops out, and the rest compete on.
"""

from collections.abc import Callable, Sequence

import msgspec

from apikeyrouter.domain.ledger.ledger import Amounts, Ledger
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.pending_request import PendingRequest
from apikeyrouter.domain.routing.ranking import Picked, Ranking
from apikeyrouter.domain.routing.scoring import EQUAL_WITHIN, Scoring

#: Keys that a name which may exist nowhere gains when those before them have no room.
_FIRST_MORE = 4


class Entrant(msgspec.Struct, eq=False):
    """One pool in the contest, and what its provider charges the request."""

    pool: CandidatePool
    ranking: Ranking
    amounts: Amounts


class Contender(msgspec.Struct, eq=False):
    """A candidate that is awake, at its score of now."""

    candidate: Candidate
    score: float
    entrant: Entrant


class Contest:
    """One decision over pools of equal rank.

    Args:
        admit: Makes candidates of so many more keys of a pool; tells whether there were any.

    Attributes:
        winner: Whose candidate was picked.
    """

    __slots__ = (
        "_admit", "_contenders", "_entrants", "_ledger", "_now", "_request", "_served_turn",
        "winner",
    )  # fmt: skip

    def __init__(
        self,
        request: PendingRequest,
        ledger: Ledger,
        now: float,
        *,
        admit: Callable[[CandidatePool, int], bool],
    ) -> None:
        self._request = request
        self._ledger = ledger
        self._now = now
        self._admit = admit
        #: Virtual time of who was chosen last among them.
        self._served_turn = 0.0
        self._entrants: list[Entrant] = []
        self._contenders: list[Contender] = []
        self.winner: Entrant | None = None

    def enter(self, pool: CandidatePool, scoring: Scoring) -> None:
        """Let a pool take part."""
        if pool.pending and pool.is_busy():
            self._admit(pool, 1)
        amounts = pool.amounts(self._request.demand)
        entrant = Entrant(pool, pool.ranking(scoring, amounts, self._now), amounts)
        self._entrants.append(entrant)
        self._served_turn = max(self._served_turn, pool.served_turn)
        entrant.ranking.start()
        self._add(entrant, entrant.ranking.awake(self._now))

    def run(self) -> Picked | None:
        """Find who takes the request, and reserve."""
        picked = self._compete()
        while picked is None and self._admit_more():
            picked = self._compete()
        if picked is None:
            for entrant in self._entrants:
                blocked = entrant.ranking.blocked_by_others(entrant.amounts, self._now)
                self._add(entrant, blocked)
            picked = self._compete()
        if picked is None and self._request.is_last_chance:
            for entrant in self._entrants:
                self._add(entrant, entrant.ranking.blocked_by_guesses(self._now))
            picked = self._compete()
        for entrant in self._entrants:
            is_winner = picked is not None and entrant is self.winner
            entrant.ranking.finish(picked.candidate if picked and is_winner else None, self._now)
        return picked

    def _add(self, entrant: Entrant, awake: Sequence[tuple[Candidate, float]]) -> None:
        self._contenders += [Contender(candidate, score, entrant) for candidate, score in awake]

    def _compete(self) -> Picked | None:
        while self._contenders:
            best = self._best()
            ranking = best.entrant.ranking
            picked = ranking.take(
                best.candidate, best.score, best.entrant.amounts, self._ledger, self._request,
                self._now,
            )  # fmt: skip
            if picked is not None:
                self._take_turn(best)
                return picked
            self._contenders.remove(best)
            if not ranking.is_small:
                self._add(best.entrant, ranking.awake(self._now))
        return None

    def _best(self) -> Contender:
        contenders = self._contenders
        if len(contenders) == 1:
            return contenders[0]
        priority = max([contender.candidate.priority for contender in contenders])
        first = [c for c in contenders if c.candidate.priority == priority]
        limit = min([c.score for c in first]) + EQUAL_WITHIN
        served = self._served_turn
        # A candidate that was not available has missed its turns.
        turns = [
            (max(c.candidate.turn, served), place)
            for place, c in enumerate(first)
            if c.score <= limit
        ]
        return first[min(turns)[1]]

    def _take_turn(self, best: Contender) -> None:
        candidate = best.candidate
        self._served_turn = served = max(candidate.turn, self._served_turn)
        candidate.turn = served + 1.0 / candidate.weight
        for entrant in self._entrants:
            entrant.pool.served_turn = served
        self.winner = best.entrant
        if best.entrant.pool.pending and best.entrant.pool.has_worked:
            self._admit(best.entrant.pool, 1)

    def _admit_more(self) -> bool:
        """Let further keys compete for a name that may exist nowhere: those before had no room."""
        for entrant in self._entrants:
            pool = entrant.pool
            if pool.pending and self._admit(pool, max(_FIRST_MORE, len(pool.candidates))):
                self._add(entrant, entrant.ranking.awake(self._now))
        return bool(self._contenders)
