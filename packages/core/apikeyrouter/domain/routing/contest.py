"""A contest: the candidates of one level compete for one request.

Of those with the highest priority the best score wins; about equal ones take turns by virtual
time, whatever provider they are of; but who served a session last goes before them. A
candidate without room drops out, and the rest compete on.
"""

import math
from collections.abc import Callable

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


#: A candidate that is awake, and its score of now. A tuple: there are many to every decision.
Contender = tuple[Candidate, float, Entrant]


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
        ranking = pool.ranking(scoring, amounts, self._now)
        if pool.served_turn > self._served_turn:
            self._served_turn = pool.served_turn
        ranking.start()
        entrant = Entrant(pool, ranking, amounts)
        self._entrants.append(entrant)
        self._contenders += ranking.awake(self._now, entrant)
        if self._request.kept is not None and not ranking.is_small:
            self._enter_kept(self._request.kept, scoring, entrant)

    def _enter_kept(self, kept: Candidate, scoring: Scoring, entrant: Entrant) -> None:
        """Let who served the session last compete, too, where only the first of many do."""
        is_there = any(found[0] is kept for found in self._contenders)
        if kept.pool is entrant.pool and not is_there and entrant.ranking.may_take(kept):
            self._contenders.append((kept, scoring.score(kept, self._now), entrant))

    def run(self) -> Picked | None:
        """Find who takes the request, and reserve."""
        picked = self._compete() or self._compete_on()
        for entrant in self._entrants:
            is_winner = picked is not None and entrant is self.winner
            entrant.ranking.finish(picked.candidate if picked and is_winner else None, self._now)
        return picked

    def _compete_on(self) -> Picked | None:
        """Let those compete who were kept out so far: nobody who was awake has room."""
        picked = None
        while picked is None and self._admit_more():
            picked = self._compete()
        if picked is None:
            for entrant in self._entrants:
                blocked = entrant.ranking.blocked_by_others(entrant.amounts, self._now)
                self._contenders += [(*pair, entrant) for pair in blocked]
            picked = self._compete()
        if picked is None and self._request.is_last_chance:
            for entrant in self._entrants:
                blocked = entrant.ranking.blocked_by_guesses(self._now)
                self._contenders += [(*pair, entrant) for pair in blocked]
            picked = self._compete()
        return picked

    def runners_up(self, chosen: Candidate, most: int) -> tuple[str | float, ...]:
        """Return in turn key id and score of up to *most* candidates of the winner's pool."""
        winner = self.winner
        if winner is None or not winner.ranking.is_small:
            return () if winner is None else winner.ranking.runners_up(chosen, most)
        found: list[str | float] = []
        for candidate, score, entrant in self._contenders:
            if entrant is winner and candidate is not chosen:
                found += (candidate.first_key_id, score)
                if len(found) == 2 * most:
                    break
        return tuple(found)

    def _compete(self) -> Picked | None:
        contenders, now = self._contenders, self._now
        while contenders:
            best = contenders[0] if len(contenders) == 1 else self._best()
            candidate, score, entrant = best
            ranking = entrant.ranking
            picked = ranking.take(
                candidate, score, entrant.amounts, self._ledger, self._request, now
            )
            if picked is not None:
                self._take_turn(candidate, entrant)
                return picked
            contenders.remove(best)
            if not ranking.is_small and all(other[2] is not entrant for other in contenders):
                contenders += ranking.awake(now, entrant)
        return None

    def _best(self) -> Contender:
        """Return who has the highest priority and about the best score, and waits for longest."""
        contenders, served = self._contenders, self._served_turn
        best = contenders[0]
        priority, least, turn = best[0].priority, best[1], math.inf
        for candidate, score, _ in contenders:
            rank = candidate.priority
            if rank > priority or (score < least and rank == priority):
                priority, least = rank, score
        limit = least + EQUAL_WITHIN
        for contender in contenders:
            candidate, score, _ = contender
            if score > limit or candidate.priority != priority:
                continue
            # A candidate that was not available has missed its turns.
            its_turn = candidate.turn if candidate.turn > served else served
            if its_turn < turn:
                best, turn = contender, its_turn
        kept = self._request.kept
        if kept is None or kept.priority != priority:
            return best
        return next((found for found in contenders if found[0] is kept and found[1] <= limit), best)

    def _take_turn(self, candidate: Candidate, winner: Entrant) -> None:
        self._served_turn = served = max(candidate.turn, self._served_turn)
        candidate.turn = served + 1.0 / candidate.weight
        for entrant in self._entrants:
            entrant.pool.served_turn = served
        self.winner = winner
        if winner.pool.pending and winner.pool.has_worked:
            self._admit(winner.pool, 1)

    def _admit_more(self) -> bool:
        """Let further keys compete for a name that may exist nowhere: those before had no room."""
        for entrant in self._entrants:
            pool = entrant.pool
            if pool.pending and self._admit(pool, max(_FIRST_MORE, len(pool.candidates))):
                self._contenders += entrant.ranking.awake(self._now, entrant)
        return bool(self._contenders)
