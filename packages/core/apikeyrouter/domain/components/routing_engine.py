"""The decision: which key takes a request, with its quota reserved in the same step.

One synchronous step on memory, along a compiled route. Nothing here waits: a
request that has to wait is told the instant at which to ask again.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from apikeyrouter.domain.costs.affinity import SHORTEST_CACHED_TOKENS, AffinityTable
from apikeyrouter.domain.failures.failure import MODEL_REFUSED
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Hold, Ledger, Reservation, Shortfall
from apikeyrouter.domain.models.routing_decision import RoutingDecision
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.contest import Contest, Entrant
from apikeyrouter.domain.routing.decision_record import (
    EXCLUDED_KEPT,
    FIGURES_KEPT,
    RUNNERS_UP_KEPT,
    AttemptNote,
    DecisionRecord,
    explain,
)
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.pending_request import PendingRequest
from apikeyrouter.domain.routing.ranking import Picked
from apikeyrouter.domain.routing.route import Level, Route
from apikeyrouter.domain.routing.route_table import RouteTable
from apikeyrouter.domain.routing.scoring import Scoring
from apikeyrouter.errors import NoEligibleKeysError, PinnedKeyError, UnknownModelError

__all__ = ["Blocked", "Grant", "NoEligibleKeysError", "RoutingEngine"]


class Grant(msgspec.Struct, frozen=True):
    """A key that takes the request now.

    Attributes:
        reservation: What is set aside: of the provider's account first, then of the request's own.
        is_probe: A circuit that is half-open or recovers waits for its end.
        generation: Of the key's secret; the outcome says nothing of another secret.
    """

    pool: CandidatePool
    candidate: Candidate
    slot: KeySlot
    reservation: Reservation
    note: AttemptNote
    ledger: Ledger
    is_probe: bool = False
    generation: int = 0

    @property
    def hold(self) -> Hold:
        """The part of the reservation that is the provider's."""
        return self.reservation.first

    def scope(self) -> QuotaScope:
        """Return the scope that the key draws on now; it may have moved since."""
        candidate = self.candidate
        if self.slot in candidate.slots:
            return candidate.scope
        moved = (other.scope for other in self.slot.candidates if other.pool is self.pool)
        return next(moved, candidate.scope)

    def return_unused(self, now: float) -> None:
        """Return the reservation: its request was cancelled before it was used."""
        self.note.end("cancelled", "", now)
        if self.is_probe:
            self.pool.circuit.release_probe()
        self.ledger.cancel(self.reservation, now)
        self.pool.note_end(self.candidate)


@dataclass(slots=True, frozen=True)
class Blocked:
    """No key can take the request now.

    Attributes:
        wakes_at: When it is worth asking again; `inf` if no clock tells.
        may_free_on_completion: The end of a running call may make room before that.
        excluded: Scopes and their reasons, at most three.
        own: What the request itself is short of, such as its client's limit.
        own_may_come_back: Calls that are under way may give it back: it is worth waiting.
    """

    wakes_at: float
    may_free_on_completion: bool
    excluded: tuple[tuple[str, Shortfall], ...]
    own: Shortfall | None = None
    own_may_come_back: bool = False

    @property
    def cannot_free_up(self) -> bool:
        """Whether waiting cannot help."""
        return not self.may_free_on_completion and self.wakes_at == math.inf

    def is_too_late_for(self, deadline: float) -> bool:
        """Tell whether nothing can come before *deadline*."""
        return self.cannot_free_up or (not self.may_free_on_completion and self.wakes_at > deadline)


class RoutingEngine:
    """Chooses among the candidates of a route, and reserves.

    Attributes:
        routes: The providers, keys and models.
    """

    def __init__(
        self,
        routes: RouteTable,
        ledger: Ledger,
        *,
        clock: Callable[[], float],
        find_record: Callable[[str], DecisionRecord | None],
    ) -> None:
        self.routes = routes
        self._ledger = ledger
        self._clock = clock
        self._find_record = find_record
        self._served: AffinityTable[Candidate] = AffinityTable()
        #: Told of a call that has taught something of its key, its account or its model.
        self.on_learned: Callable[[Grant], None] = lambda _: None

    def decide(self, route: Route, request: PendingRequest, now: float) -> Grant | Blocked:
        """Choose and reserve in one step; say when to ask again if nobody has room."""
        own = request.shortfall(now) if request.own_lines else None
        if own is not None:
            return Blocked(own.fits_at, own.for_calls, ((own.account_id, own),), own)
        if request.caps is not None and (own := self._short_of_caps(route, request, now)):
            may_free = request.caps.may_come_back(own, now)
            named = ((own.account_id, own),)
            return Blocked(own.fits_at, own.for_calls or may_free, named, own, may_free)
        scoring = self.routes.scorings.scoring_of(request.demand.objective)
        session = _session_of(request.demand) if request.demand.affinity else 0
        if session:
            request.kept = self._served.kept(session, now)
        for level in route.levels:
            grant = self._decide_level(level, request, scoring, now)
            if grant is not None:
                if session:
                    self._served.note(session, grant.candidate, now)
                return grant
        return self._blocked(route, request, scoring, now)

    def decide_again(self, request: PendingRequest, now: float) -> Grant | Blocked:
        """Decide for a request that has waited; its route may have changed meanwhile."""
        try:
            route = self.routes.route_for(request.demand)
        except (UnknownModelError, PinnedKeyError):
            return Blocked(math.inf, may_free_on_completion=False, excluded=())
        return self.decide(route, request, now)

    def calls_by(self, at: float, demand: Demand, now: float) -> float:
        """Return how many requests such as *demand* can begin from now until *at*, on all keys.

        Raises:
            UnknownModelError, PinnedKeyError: Nobody serves the model any more.
        """
        return sum(
            pool.calls_by(at, demand, now)
            for pool in self.routes.route_for(demand).pools()
            if pool.circuit.cooldown.until < at
        )

    def common_cause(self, demand: Demand) -> str:
        """Return the failure class that keeps every candidate from *demand*, if it is one."""
        now, common = self._clock(), ""
        scoring = self.routes.scorings.scoring_of(demand.objective)
        for pool in self.routes.route_for(demand).pools():
            causes: Iterable[str] = pool.ranking(scoring, pool.amounts(demand), now).causes()
            if (lack := pool.circuit.shortfall(now)) is not None:
                causes = (lack.cause,)
            for cause in causes:
                if not cause or (common and cause != common):
                    return ""
                common = cause
        return common

    def is_refused_everywhere(self, demand: Demand) -> bool:
        """Tell whether all that could serve it refuse a model that nobody has seen working."""
        now = self._clock()
        scoring = self.routes.scorings.scoring_of(demand.objective)
        return all(
            not pool.has_worked
            and MODEL_REFUSED.issuperset(pool.ranking(scoring, pool.amounts(demand), now).causes())
            for pool in self.routes.route_for(demand).pools()
        )

    def explain_decision(self, decision: RoutingDecision | str) -> str:
        """Tell in sentences why a request went where it went.

        Args:
            decision: A decision, or a request's id.
        """
        if isinstance(decision, RoutingDecision):
            if decision.explanation:
                return decision.explanation
            decision = decision.request_id
        record = self._find_record(decision)
        return explain(record) if record is not None else f"Nothing is kept of request {decision}."

    def _short_of_caps(self, route: Route, request: PendingRequest, now: float) -> Shortfall | None:
        """Return the cap without room whoever serves it."""
        request.lack = None
        pools = [pool for pool in route.pools() if pool not in request.skipped]
        assert request.caps is not None  # noqa: S101 - the caller has looked
        return request.caps.shortfall(request.demand, request.cap_accounts, pools, now)

    def _decide_level(
        self, level: Level, request: PendingRequest, scoring: Scoring, now: float
    ) -> Grant | None:
        contest = Contest(request, self._ledger, now, admit=self.routes.admit_pending)
        for pool in level.pools:
            if pool not in request.skipped and not pool.circuit.blocked_until(now):
                contest.enter(pool, scoring)
        picked = contest.run()
        if picked is None or contest.winner is None:
            return None
        return self._grant(contest, contest.winner, picked, request.record, now)

    def _grant(
        self, contest: Contest, winner: Entrant, picked: Picked, record: DecisionRecord, now: float
    ) -> Grant:
        pool = winner.pool
        pool.used_at = now
        is_probe = pool.circuit.note_call(now)
        note = _note_of(winner, picked, now, now - record.arrived_at)
        note.runners_up = contest.runners_up(picked.candidate, RUNNERS_UP_KEPT)
        record.tokens = max(winner.amounts)
        record.add(note)
        return Grant(
            pool, picked.candidate, picked.slot, picked.reservation, note, self._ledger,
            is_probe, picked.slot.generation,
        )  # fmt: skip

    def _blocked(
        self, route: Route, request: PendingRequest, scoring: Scoring, now: float
    ) -> Blocked:
        soonest, may_free = math.inf, False
        excluded: list[tuple[str, Shortfall]] = []
        for pool in route.pools():
            if pool in request.skipped:
                continue
            why = pool.circuit.shortfall(now)
            if why is not None:
                soonest = min(soonest, why.fits_at)
                may_free = may_free or pool.circuit.awaits_answer
                excluded.append((f"{pool.provider_id}/{pool.model}", why))
                continue
            amounts = pool.amounts(request.demand)
            ranking = pool.ranking(scoring, amounts, now)
            soonest = min(soonest, ranking.fits_at(amounts, now, request.avoid))
            may_free = may_free or ranking.may_be_sooner()
            sleepers = ranking.sleepers(EXCLUDED_KEPT)
            excluded += [(candidate.scope.id, why) for candidate, why in sleepers]
        if request.lack is not None:
            excluded.insert(0, (request.lack.account_id, request.lack))
        return Blocked(soonest, may_free, tuple(excluded[:EXCLUDED_KEPT]))


def _session_of(demand: Demand) -> int:
    """Return a name for the session of *demand*; 0 where a provider's cache keeps nothing of it."""
    if demand.input_tokens < SHORTEST_CACHED_TOKENS:
        return 0
    return hash((demand.client, demand.model, demand.affinity)) or 1


def _note_of(winner: Entrant, picked: Picked, now: float, waited_s: float) -> AttemptNote:
    pool, ranking, chosen = winner.pool, winner.ranking, picked.candidate
    figures: list[Any] = []
    charge = chosen.scope.charge
    for window in chosen.scope.account.windows[:FIGURES_KEPT]:
        figures += (window, window.used, window.capacity)
    return AttemptNote(
        key_id=picked.slot.record.id,
        provider_id=pool.provider_id,
        model=pool.model,
        score=picked.score,
        at=now,
        waited_s=waited_s,
        candidates=len(pool.candidates),
        excluded=tuple(
            [(other.scope.id, why) for other, why in ranking.sleepers(EXCLUDED_KEPT)]
        ) if ranking.why else (),
        figures=tuple(figures),
        charge=charge.belief if charge is not None else None,
    )  # fmt: skip
