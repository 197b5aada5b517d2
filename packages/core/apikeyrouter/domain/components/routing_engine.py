"""Decide: which key takes this request, with the room already set aside.

One synchronous step on memory, along a compiled route. Nothing here waits; who
may wait is told the instant at which it is worth asking again.
"""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Ledger, Reservation, Scope, Shortfall
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.domain.models.routing_decision import RoutingDecision
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.decision_record import (
    EXCLUDED_KEPT,
    FIGURES_KEPT,
    RUNNERS_UP_KEPT,
    AttemptNote,
    DecisionRecord,
    explain,
)
from apikeyrouter.domain.routing.ranking import Picked, Ranking
from apikeyrouter.domain.routing.route_table import Route, RouteTable
from apikeyrouter.errors import NoEligibleKeysError, UnknownModelError

__all__ = ["Blocked", "Grant", "NoEligibleKeysError", "RoutingEngine"]


class Grant(msgspec.Struct, frozen=True):
    """A key that takes the request now.

    Attributes:
        is_probe: A circuit that is not quite closed waits for its end.
        generation: Of the key's secret; what comes of it tells nothing of another one.
    """

    pool: CandidatePool
    candidate: Candidate
    slot: KeySlot
    hold: Reservation
    note: AttemptNote
    ledger: Ledger
    is_probe: bool = False
    generation: int = 0

    def scope(self) -> Scope:
        """Return the scope that the key draws on now; it may have moved since."""
        scope = self.hold.scope
        if self.candidate.scope is scope and self.slot in self.candidate.slots:
            return scope
        moved = (
            candidate.scope for candidate in self.slot.candidates if candidate.pool is self.pool
        )
        return next(moved, scope)

    def return_unused(self, now: float) -> None:
        """Give everything back: who asked has gone before it was used."""
        self.note.end("cancelled", "", now)
        if self.is_probe:
            self.pool.circuit.release_probe()
        self.ledger.cancel(self.hold, now)


@dataclass(slots=True, frozen=True)
class Blocked:
    """Nobody can take it now.

    Attributes:
        wakes_at: When it is worth asking again; `inf` if no clock tells.
        may_free_on_completion: The end of a running call may make room before that.
        excluded: Scopes and their reasons, at most three.
    """

    wakes_at: float
    may_free_on_completion: bool
    excluded: tuple[tuple[str, Shortfall], ...]

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
        routes: Who there is.
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

    def decide(
        self,
        route: Route,
        demand: Demand,
        record: DecisionRecord,
        now: float,
        *,
        avoid: Collection[KeySlot] = (),
    ) -> Grant | Blocked:
        """Choose and reserve in one step; say when to ask again if nobody has room."""
        for exactly in (False, True):
            for level in route.levels:
                grant = self._decide_level(level, demand, record, now, avoid, exactly)
                if grant is not None:
                    return grant
        return self._blocked(route, demand, now)

    def decide_again(
        self,
        demand: Demand,
        record: DecisionRecord,
        now: float,
        *,
        avoid: Collection[KeySlot] = (),
    ) -> Grant | Blocked:
        """Decide for a request that has waited; its route may have changed meanwhile."""
        try:
            route = self.routes.route_for(demand)
        except UnknownModelError:
            return Blocked(math.inf, may_free_on_completion=False, excluded=())
        return self.decide(route, demand, record, now, avoid=avoid)

    def calls_by(self, at: float, demand: Demand, now: float) -> float:
        """Return how many requests such as *demand* can begin from now until *at*, on all keys.

        Raises:
            UnknownModelError: Nobody serves the model any more.
        """
        return sum(
            pool.calls_by(at, demand, now)
            for level in self.routes.route_for(demand).levels
            for pool in level
            if pool.circuit.open_until < at
        )

    def common_cause(self, demand: Demand) -> str:
        """Return the failure class that keeps every candidate from *demand*, if it is one."""
        now, common = self._clock(), ""
        for level in self.routes.route_for(demand).levels:
            for pool in level:
                causes: Iterable[str] = pool.order(pool.amounts(demand)).causes()
                if pool.circuit.blocked_until(now):
                    causes = (pool.circuit.cause,)
                for cause in causes:
                    if not cause or (common and cause != common):
                        return ""
                    common = cause
        return common

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

    def _decide_level(
        self,
        level: tuple[CandidatePool, ...],
        demand: Demand,
        record: DecisionRecord,
        now: float,
        avoid: Collection[KeySlot],
        exactly: bool,
    ) -> Grant | None:
        if len(level) == 1:
            pool = level[0]
            if pool.circuit.blocked_until(now):
                return None
            return self._pick(pool, demand, record, now, avoid, exactly)
        ranked = []
        for number, pool in enumerate(level):
            if pool.circuit.blocked_until(now):
                continue
            best = pool.order(pool.amounts(demand)).best(now)
            if best is not None or exactly:
                ranked.append((best or (0, 0.0, 0.0), number, pool))
        ranked.sort()
        for _, _, pool in ranked:
            grant = self._pick(pool, demand, record, now, avoid, exactly)
            if grant is not None:
                return grant
        return None

    def _pick(
        self,
        pool: CandidatePool,
        demand: Demand,
        record: DecisionRecord,
        now: float,
        avoid: Collection[KeySlot],
        exactly: bool,
    ) -> Grant | None:
        amounts = pool.amounts(demand)
        order = pool.order(amounts)
        pick = order.pick_exactly if exactly else order.pick
        picked = pick(self._ledger, amounts, now, avoid)
        if picked is None:
            return None
        pool.used_at = now
        is_probe = pool.circuit.note_call(now)
        note = _note_of(pool, order, picked, now, now - record.arrived_at)
        record.tokens = max(amounts)
        record.add(note)
        return Grant(
            pool, picked.candidate, picked.slot, picked.hold, note, self._ledger,
            is_probe, picked.slot.generation,
        )  # fmt: skip

    def _blocked(self, route: Route, demand: Demand, now: float) -> Blocked:
        soonest, may_free_on_completion = math.inf, False
        excluded: list[tuple[str, Shortfall]] = []
        for level in route.levels:
            for pool in level:
                opens_at = pool.circuit.blocked_until(now)
                amounts = pool.amounts(demand)
                order = pool.order(amounts)
                if opens_at:
                    soonest = min(soonest, opens_at)
                    may_free_on_completion = may_free_on_completion or pool.circuit.awaits_answer
                    why = Shortfall("the provider fails; its circuit is open", 0.0, 0.0, opens_at)
                    excluded.append((f"{pool.provider_id}/{pool.model}", why))
                    continue
                soonest = min(soonest, order.fits_at(self._ledger, amounts, now))
                may_free_on_completion = may_free_on_completion or order.may_be_sooner()
                excluded += [
                    (candidate.scope.id, why) for candidate, why in order.sleepers(EXCLUDED_KEPT)
                ]
        return Blocked(soonest, may_free_on_completion, tuple(excluded[:EXCLUDED_KEPT]))


def _note_of(
    pool: CandidatePool, order: Ranking, picked: Picked, now: float, waited_s: float
) -> AttemptNote:
    candidate = picked.candidate
    figures: list[Any] = []
    for window in candidate.scope.windows[:FIGURES_KEPT]:
        figures += (window, window.used, window.capacity)
    return AttemptNote(
        key_id=picked.slot.record.id,
        provider_id=pool.provider_id,
        model=pool.model,
        score=picked.score,
        at=now,
        waited_s=waited_s,
        candidates=len(pool.candidates),
        runners_up=order.runners_up(candidate, RUNNERS_UP_KEPT),
        excluded=tuple(
            [(other.scope.id, why) for other, why in order.sleepers(EXCLUDED_KEPT)]
        ) if order.why else (),
        figures=tuple(figures),
    )  # fmt: skip
