"""Decide: which key takes this request, with the room already set aside.

One synchronous step on memory. A `Route` is a model name compiled to levels of
pools: the first level with room serves; within a level the best score does.
Nothing here waits; who may wait is told the instant at which it is worth asking
again.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import msgspec

from apikeyrouter.domain.components.candidate_index import Order, Picked
from apikeyrouter.domain.components.circuit import Circuit
from apikeyrouter.domain.components.decision_record import (
    EXCLUDED_KEPT,
    FIGURES_KEPT,
    RUNNERS_UP_KEPT,
    AttemptNote,
    DecisionRecord,
    explain,
)
from apikeyrouter.domain.components.key_slot import KeySlot, matches
from apikeyrouter.domain.components.lane import Lane
from apikeyrouter.domain.components.pool import Pool
from apikeyrouter.domain.components.quota_ledger import QuotaLedger, Reservation, Scope, Shortfall
from apikeyrouter.domain.components.routing_strategies import make_gate, make_score
from apikeyrouter.domain.components.scope_book import ALL_MODELS, ScopeBook
from apikeyrouter.domain.interfaces.provider_adapter import Admission, ProviderAdapter, WireAdapter
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.domain.models.routing_decision import RoutingDecision, RoutingObjective
from apikeyrouter.errors import NoEligibleKeysError, UnknownModelError

__all__ = ["Blocked", "Grant", "NoEligibleKeysError", "ProviderEntry", "Route", "RoutingEngine"]

#: Models with pools at once; beyond it the one unused for longest goes.
_POOLS_KEPT = 1024
_ROUTES_KEPT = 4096


@dataclass(slots=True, eq=False)
class ProviderEntry:
    """A registered provider.

    Attributes:
        models: Patterns such as `gpt-*` that it serves; `None` admits any.
        known_models: Names it is known to serve, for `/v1/models` and for hints.
    """

    id: str
    adapter: ProviderAdapter
    models: tuple[str, ...] | None = None
    known_models: tuple[str, ...] = ()
    listed: frozenset[str] = frozenset()
    slots: dict[str, KeySlot] = field(default_factory=dict)

    @property
    def admission(self) -> Admission:
        """How it charges a request that it lets in."""
        return self.adapter.admission if isinstance(self.adapter, WireAdapter) else Admission()

    def group(self, model: str) -> str:
        """Return the group whose limits *model* shares."""
        per_model = isinstance(self.adapter, WireAdapter) and self.adapter.per_model
        return model if per_model else ALL_MODELS

    def serves(self, model: str) -> bool:
        """Tell whether its patterns admit *model*, or without any its own list."""
        if self.models is None and self.listed:
            return model in self.listed
        return matches(self.models, model)


@dataclass(slots=True, eq=False)
class Route:
    """A model name as asked, compiled: levels in order of preference, pools of equal rank."""

    model: str
    objective: RoutingObjective
    levels: tuple[tuple[Pool, ...], ...]


class Grant(msgspec.Struct, frozen=True):
    """A key that takes the request now."""

    pool: Pool
    lane: Lane
    slot: KeySlot
    hold: Reservation
    note: AttemptNote
    ledger: QuotaLedger

    def return_unused(self, now: float) -> None:
        """Give everything back: who asked has gone before it was used."""
        self.note.end("cancelled", "", now)
        self.pool.circuit.release_probe()
        self.ledger.cancel(self.hold, now)


@dataclass(slots=True, frozen=True)
class Blocked:
    """Nobody can take it now.

    Attributes:
        wakes_at: When it is worth asking again; `inf` if no clock tells.
        hopeful: The end of a running call may make room before that.
        excluded: Scopes and their reasons, at most three.
    """

    wakes_at: float
    hopeful: bool
    excluded: tuple[tuple[str, Shortfall], ...]

    @property
    def is_hopeless(self) -> bool:
        """Whether waiting cannot help."""
        return not self.hopeful and self.wakes_at == math.inf

    def is_too_late_for(self, deadline: float) -> bool:
        """Tell whether nothing can come before *deadline*."""
        return self.is_hopeless or (not self.hopeful and self.wakes_at > deadline)


class RoutingEngine:
    """Compiles routes and decides on them."""

    def __init__(
        self,
        ledger: QuotaLedger,
        book: ScopeBook,
        *,
        clock: Callable[[], float],
        find_record: Callable[[str], DecisionRecord | None],
        default_objective: RoutingObjective,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._clock = clock
        self._find_record = find_record
        self.default_objective = default_objective
        self.providers: dict[str, ProviderEntry] = {}
        self.aliases: dict[str, tuple[tuple[str, str], ...]] = {}
        self._routes: dict[tuple[str, str | None, int], Route] = {}
        self._pools: OrderedDict[tuple[str, str, int], Pool] = OrderedDict()
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._objectives: dict[str, tuple[int, RoutingObjective]] = {}
        book.on_move = self._on_move

    # -- who there is -------------------------------------------------------

    def add_provider(self, entry: ProviderEntry) -> None:
        """Let a provider serve; replaces one of the same id, whose keys stay."""
        before = self.providers.get(entry.id)
        if before is not None:
            entry.slots = before.slots
        self.providers[entry.id] = entry
        self._forget_all()

    def add_slot(self, slot: KeySlot) -> None:
        """Let a key serve from now on."""
        entry = self.providers[slot.provider_id]
        entry.slots[slot.id] = slot
        for (provider_id, model, _), pool in self._pools.items():
            if provider_id == slot.provider_id and slot.serves(model) and entry.serves(model):
                pool.add(slot, self._book.scope_for(slot, entry.group(model)))
        self._routes.clear()

    def set_aliases(self, aliases: Mapping[str, tuple[tuple[str, str], ...]]) -> None:
        """Define names of the operator's own: targets (provider, model) in order of preference."""
        self.aliases = dict(aliases)
        self._routes.clear()

    def set_default_objective(self, objective: RoutingObjective) -> None:
        """Set what choices should be good at unless a request says otherwise."""
        self.default_objective = objective
        self._forget_all()

    def set_known_models(self, entry: ProviderEntry, models: tuple[str, ...]) -> None:
        """Take a provider's own list of what it serves; an empty one tells nothing."""
        entry.known_models = models
        entry.listed = frozenset(models)
        self._routes.clear()

    def refresh_slot(self, slot: KeySlot) -> None:
        """Look at a key's places afresh: its state or its wait changed."""
        now = self._clock()
        for lane in slot.lanes:
            lane.rouse(slot)
            lane.pool.refresh_lane(lane, now)

    def rest_scope(self, scope: Scope) -> None:
        """Put a scope's places aside: it has been told to wait."""
        now = self._clock()
        why = self._ledger.shortfall(scope, (), now)
        if why is not None:
            for pool in scope.lanes:
                pool.rest(scope, why)

    def refresh_scope(self, scope: Scope) -> None:
        """Look at a scope's places afresh: room came, or a wait ended."""
        now = self._clock()
        for pool in scope.lanes:
            pool.refresh(scope, now)

    def known_models(self) -> list[tuple[str, str]]:
        """List (model, provider) pairs known by name; aliases have an empty provider."""
        names = [(alias, "") for alias in self.aliases]
        for entry in self.providers.values():
            if entry.slots:
                names += [(model, entry.id) for model in _names_of(entry)]
        return names

    def circuits(self) -> Mapping[tuple[str, str], Circuit]:
        """Return the circuits by provider and model."""
        return self._circuits

    # -- deciding -----------------------------------------------------------

    def route_for(self, demand: Demand) -> Route:
        """Return the compiled route of what *demand* asks for.

        Raises:
            UnknownModelError: Nobody serves it; names the nearest.
        """
        number, objective = self._numbered(demand.objective)
        name = (demand.model, demand.provider_id, number)
        route = self._routes.get(name)
        if route is None:
            levels = self._compile(demand, number, objective)
            if len(self._routes) >= _ROUTES_KEPT:
                self._routes.clear()
            route = self._routes[name] = Route(demand.model, objective, levels)
        return route

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
            route = self.route_for(demand)
        except UnknownModelError:
            return Blocked(math.inf, hopeful=False, excluded=())
        return self.decide(route, demand, record, now, avoid=avoid)

    def calls_by(self, at: float, demand: Demand, now: float) -> float:
        """Return how many requests such as *demand* can begin from now until *at*, on all keys.

        Raises:
            UnknownModelError: Nobody serves the model any more.
        """
        return sum(
            pool.calls_by(at, demand, now)
            for level in self.route_for(demand).levels
            for pool in level
            if pool.circuit.blocked_until(now) < at
        )

    def common_cause(self, demand: Demand) -> str:
        """Return the failure class that keeps every candidate from *demand*, if it is one."""
        now, common = self._clock(), ""
        for level in self.route_for(demand).levels:
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
        level: tuple[Pool, ...],
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
        pool: Pool,
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
        pool.circuit.note_call(now)
        note = _note_of(pool, order, picked, now, now - record.arrived_at)
        record.tokens = max(amounts)
        record.add(note)
        return Grant(pool, picked.lane, picked.slot, picked.hold, note, self._ledger)

    def _blocked(self, route: Route, demand: Demand, now: float) -> Blocked:
        soonest, hopeful = math.inf, False
        excluded: list[tuple[str, Shortfall]] = []
        for level in route.levels:
            for pool in level:
                opens_at = pool.circuit.blocked_until(now)
                amounts = pool.amounts(demand)
                order = pool.order(amounts)
                if opens_at:
                    soonest = min(soonest, opens_at)
                    hopeful = hopeful or pool.circuit.awaits_answer
                    why = Shortfall("the provider fails; its circuit is open", 0.0, 0.0, opens_at)
                    excluded.append((f"{pool.provider_id}/{pool.model}", why))
                    continue
                soonest = min(soonest, order.fits_at(self._ledger, amounts, now))
                hopeful = hopeful or order.may_be_sooner()
                excluded += [(lane.scope.id, why) for lane, why in order.sleepers(EXCLUDED_KEPT)]
        return Blocked(soonest, hopeful, tuple(excluded[:EXCLUDED_KEPT]))

    # -- compiling ----------------------------------------------------------

    def _compile(
        self, demand: Demand, number: int, objective: RoutingObjective
    ) -> tuple[tuple[Pool, ...], ...]:
        levels = []
        for targets in self._targets(demand.model, demand.provider_id):
            pools = tuple(
                pool
                for entry, model in targets
                if (pool := self._pool(entry, model, number, objective)).lanes
            )
            if pools:
                levels.append(pools)
        if not levels:
            names = sorted({name for name, _ in self.known_models()})
            raise UnknownModelError(demand.model, tuple(get_close_matches(demand.model, names, 3)))
        return tuple(levels)

    def _targets(
        self, model: str, provider_id: str | None
    ) -> list[list[tuple[ProviderEntry, str]]]:
        if provider_id is None and model in self.aliases:
            return [
                [(self.providers[provider], name)]
                for provider, name in self.aliases[model]
                if provider in self.providers
            ]
        if provider_id is None:
            plain = [(e, model) for e in self.providers.values() if e.slots and e.serves(model)]
            if plain and ("/" not in model or any(e.models is not None for e, _ in plain)):
                return [plain]
            head, _, rest = model.partition("/")
            if rest and head in self.providers:
                provider_id, model = head, rest
            else:
                return [plain]
        entry = self.providers.get(provider_id)
        return [[(entry, model)]] if entry is not None and entry.serves(model) else []

    def _pool(
        self, entry: ProviderEntry, model: str, number: int, objective: RoutingObjective
    ) -> Pool:
        name = (entry.id, model, number)
        pool = self._pools.get(name)
        if pool is not None:
            self._pools.move_to_end(name)
            return pool
        pool = Pool(
            entry.id,
            model,
            score=make_score(objective),
            gate=make_gate(objective),
            admission=entry.admission,
            circuit=self._circuits.setdefault((entry.id, model), Circuit()),
        )
        for slot in entry.slots.values():
            if slot.serves(model):
                pool.add(slot, self._book.scope_for(slot, entry.group(model)))
        if pool.lanes:
            self._pools[name] = pool
            self._make_space()
        return pool

    def _make_space(self) -> None:
        """Let the longest unused pool go when there are too many; nobody waits on it by then."""
        while len(self._pools) > _POOLS_KEPT:
            (provider_id, model, _), pool = self._pools.popitem(last=False)
            pool.dissolve()
            self._circuits.pop((provider_id, model), None)
            self._routes.clear()

    def _forget_all(self) -> None:
        for pool in self._pools.values():
            pool.dissolve()
        self._pools.clear()
        self._routes.clear()

    def _numbered(self, objective: RoutingObjective | None) -> tuple[int, RoutingObjective]:
        """Give equal objectives the same small number, so that they share pools."""
        if objective is None:
            return 0, self.default_objective
        key = objective.model_dump_json()
        if key not in self._objectives:
            self._objectives[key] = (len(self._objectives) + 1, objective)
        return self._objectives[key]

    def _on_move(self, slot: KeySlot) -> None:
        """File a key under its new account's scopes."""
        entry = self.providers.get(slot.provider_id)
        if entry is None:
            return
        for lane in list(slot.lanes):
            pool = lane.pool
            pool.remove(slot, lane)
            pool.add(slot, self._book.scope_for(slot, entry.group(pool.model)))


def _names_of(entry: ProviderEntry) -> list[str]:
    if entry.known_models:
        return [model for model in entry.known_models if entry.serves(model)]
    patterns: list[str] = list(entry.models or ())
    for slot in entry.slots.values():
        patterns += slot.models or ()
    return sorted({name for name in patterns if not set(name) & set("*?[")})


def _note_of(pool: Pool, order: Order, picked: Picked, now: float, waited_s: float) -> AttemptNote:
    lane = picked.lane
    figures: list[Any] = []
    for window in lane.scope.windows[:FIGURES_KEPT]:
        figures += (window, window.used, window.capacity)
    return AttemptNote(
        key_id=picked.slot.record.id,
        provider_id=pool.provider_id,
        model=pool.model,
        score=picked.score,
        at=now,
        waited_s=waited_s,
        candidates=len(pool.lanes),
        runners_up=order.runners_up(lane, RUNNERS_UP_KEPT),
        excluded=tuple(
            [(other.scope.id, why) for other, why in order.sleepers(EXCLUDED_KEPT)]
        ) if order.why else (),
        figures=tuple(figures),
    )  # fmt: skip
