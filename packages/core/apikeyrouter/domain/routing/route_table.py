"""Who there is, compiled to routes: providers, keys, names of the operator's own.

A `Route` is a model name compiled to levels of pools: the first level with
room serves; within a level the best score does. Routes and pools are made when
they are first asked for, and forgotten when what they were made of changes.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import islice

from apikeyrouter.domain.accounts.registry import ALL_MODELS, AccountRegistry
from apikeyrouter.domain.failures.circuit import Circuit
from apikeyrouter.domain.interfaces.provider_adapter import Admission, ProviderAdapter, WireAdapter
from apikeyrouter.domain.key_slot import KeySlot, matches
from apikeyrouter.domain.ledger.ledger import Ledger, Scope
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.domain.models.routing_decision import RoutingObjective
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.scoring import make_gate, make_score
from apikeyrouter.errors import UnknownModelError

#: Models with pools at once; beyond it the one unused for longest goes.
_POOLS_KEPT = 1024
_ROUTES_KEPT = 4096
_FEW = 32
_POOLS_LOOKED_AT = 64


@dataclass(slots=True, eq=False)
class ProviderEntry:
    """A registered provider.

    Attributes:
        models: Patterns such as `gpt-*` that it serves; `None` admits any.
        known_models: Names that any of its keys was told to exist, for `/v1/models` and hints.
        listed_by_key: What each key was told by its own list: evidence, never the whole truth,
            since aliases and variants (`model:online`) are rarely listed.
    """

    id: str
    adapter: ProviderAdapter
    models: tuple[str, ...] | None = None
    known_models: tuple[str, ...] = ()
    listed_by_key: dict[str, frozenset[str]] = field(default_factory=dict)
    slots: dict[str, KeySlot] = field(default_factory=dict)
    _listed: frozenset[str] = frozenset()

    @property
    def admission(self) -> Admission:
        """How it charges a request that it lets in."""
        return self.adapter.admission if isinstance(self.adapter, WireAdapter) else Admission()

    def group(self, model: str) -> str:
        """Return the group whose limits *model* shares."""
        per_model = isinstance(self.adapter, WireAdapter) and self.adapter.per_model
        return model if per_model else ALL_MODELS

    def serves(self, model: str) -> bool:
        """Tell whether its patterns admit *model*; what it lists excludes nothing."""
        return matches(self.models, model)

    def lists(self, model: str) -> bool:
        """Tell whether it is known to serve *model*: by a key's list, or by a pattern for it."""
        if self.models is not None:
            return any(pattern != "*" and fnmatchcase(model, pattern) for pattern in self.models)
        return bool(_names_for(model) & self._listed)

    def lacks(self, model: str) -> bool:
        """Tell whether it has told what it serves, and not *model*."""
        return bool(self._listed) and not self.lists(model)

    def slots_for(self, model: str) -> list[KeySlot]:
        """Return the keys that may serve *model*: not those that lack what another one lists."""
        slots = [slot for slot in self.slots.values() if slot.serves(model)]
        names = _names_for(model)
        if not names & self._listed:
            return slots
        listed = self.listed_by_key
        return [s for s in slots if s.id not in listed or names & listed[s.id]] or slots

    def note_list(self, key_id: str, models: tuple[str, ...]) -> bool:
        """Take what a key is told to exist, nothing if empty; tell whether anything is new."""
        names = frozenset(models)
        if not names or self.listed_by_key.get(key_id) == names:
            return False
        # Keys of one account are told the same: it is kept once.
        same = (known for known in self.listed_by_key.values() if known == names)
        self.listed_by_key[key_id] = next(same, names)
        lists = {id(known): known for known in self.listed_by_key.values()}
        self._listed = frozenset().union(*lists.values())
        kept = [name for name in self.known_models if name in self._listed]
        self.known_models = tuple(dict.fromkeys([*kept, *models, *sorted(self._listed)]))
        return True


@dataclass(slots=True, eq=False)
class Route:
    """A model name as asked, compiled: levels in order of preference, pools of equal rank."""

    model: str
    objective: RoutingObjective
    levels: tuple[tuple[CandidatePool, ...], ...]
    #: What requests of it draw on: its scopes, or its providers where there are many.
    grounds: frozenset[object] = frozenset()


class RouteTable:
    """Compiles routes, and keeps pools in step with keys, scopes and providers."""

    def __init__(
        self,
        ledger: Ledger,
        book: AccountRegistry,
        *,
        clock: Callable[[], float],
        default_objective: RoutingObjective,
    ) -> None:
        self._ledger = ledger
        self._book = book
        self._clock = clock
        self.default_objective = default_objective
        self.providers: dict[str, ProviderEntry] = {}
        self.aliases: dict[str, tuple[tuple[str, str], ...]] = {}
        self._routes: dict[tuple[str, str | None, int], Route] = {}
        self._pools: OrderedDict[tuple[str, str, int], CandidatePool] = OrderedDict()
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._objectives: dict[str, tuple[int, RoutingObjective]] = {}
        #: Told when room may be where there was none: keys moved, names or objectives changed.
        self.on_change: Callable[[], None] = lambda: None
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
        self.on_change()

    def set_default_objective(self, objective: RoutingObjective) -> None:
        """Set what choices should be good at unless a request says otherwise."""
        self.default_objective = objective
        self._forget_all()

    def note_list(self, entry: ProviderEntry, slot: KeySlot, models: tuple[str, ...]) -> None:
        """Take the list of models that a provider gave to a key; an empty one tells nothing."""
        if not entry.note_list(slot.id, models):
            return
        for name in [name for name in self._pools if name[0] == entry.id]:
            pool = self._pools[name]
            if set(entry.slots_for(pool.model)) != pool.slots():
                self._pools.pop(name).dissolve()
        self._routes.clear()
        self.on_change()

    def refresh_slot(self, slot: KeySlot) -> None:
        """Look at a key's places afresh: its state or its wait changed."""
        now = self._clock()
        for candidate in slot.candidates:
            candidate.refile(slot)
            candidate.pool.refresh_candidate(candidate, now)

    def rest_scope(self, scope: Scope) -> None:
        """Put a scope's places aside: it has been told to wait."""
        now = self._clock()
        why = self._ledger.shortfall(scope, (), now)
        if why is not None:
            for pool in scope.candidates:
                pool.rest(scope, why)

    def refresh_scope(self, scope: Scope) -> None:
        """Look at a scope's places afresh: room came, or a wait ended."""
        now = self._clock()
        for pool in scope.candidates:
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

    # -- routes -------------------------------------------------------------

    def route_for(self, demand: Demand) -> Route:
        """Return the compiled route of what *demand* asks for.

        Raises:
            UnknownModelError: Nobody serves it; names the nearest.
        """
        number, objective = self.numbered(demand.objective)
        name = (demand.model, demand.provider_id, number)
        route = self._routes.get(name)
        if route is None:
            levels = self._compile(demand, number, objective)
            if len(self._routes) >= _ROUTES_KEPT:
                self._routes.clear()
            route = self._routes[name] = Route(demand.model, objective, levels, _grounds_of(levels))
        return route

    def _compile(
        self, demand: Demand, number: int, objective: RoutingObjective
    ) -> tuple[tuple[CandidatePool, ...], ...]:
        levels = []
        for targets in self._targets(demand.model, demand.provider_id):
            pools = tuple(
                pool
                for entry, model in targets
                if (pool := self._pool(entry, model, number, objective)).candidates
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
        """Say who may serve *model*: levels of provider and its own name of the model."""
        if provider_id is not None:
            entry = self.providers.get(provider_id)
            return [[(entry, model)]] if entry is not None and entry.serves(model) else []
        if model in self.aliases:
            return [
                [(self.providers[provider], name)]
                for provider, name in self.aliases[model]
                if provider in self.providers
            ]
        entries = [entry for entry in self.providers.values() if _may_serve(entry, model)]
        listing = [(entry, model) for entry in entries if entry.lists(model)]
        named = self._named(model)
        if named is not None and not (listing and named[0].lacks(named[1])):
            return [[named]]
        # Whose own list lacks what another one lists is not asked for it.
        unlisted = [(entry, model) for entry in entries if not entry.lists(model)]
        if listing:
            unlisted = [(entry, model) for entry, _ in unlisted if not entry.lacks(model)]
        return [level for level in (listing, unlisted) if level]

    def _named(self, model: str) -> tuple[ProviderEntry, str] | None:
        """Read *model* as `provider/model`; a listed name may itself begin like its provider."""
        head, _, rest = model.partition("/")
        entry = self.providers.get(head)
        if entry is None or not rest:
            return None
        if entry.lists(model) and not entry.lists(rest) and _may_serve(entry, model):
            return entry, model
        return (entry, rest) if _may_serve(entry, rest) else None

    def _pool(
        self, entry: ProviderEntry, model: str, number: int, objective: RoutingObjective
    ) -> CandidatePool:
        name = (entry.id, model, number)
        pool = self._pools.get(name)
        if pool is not None:
            self._pools.move_to_end(name)
            return pool
        pool = CandidatePool(
            entry.id,
            model,
            score=make_score(objective),
            gate=make_gate(objective),
            admission=entry.admission,
            circuit=self._circuits.setdefault((entry.id, model), Circuit()),
        )
        for slot in entry.slots_for(model):
            pool.add(slot, self._book.scope_for(slot, entry.group(model)))
        if pool.candidates:
            self._pools[name] = pool
            self._make_space()
        return pool

    def _make_space(self) -> None:
        """Let pools go that were not used for long when there are too many."""
        while len(self._pools) > _POOLS_KEPT:
            oldest = list(islice(self._pools, _POOLS_LOOKED_AT))
            name = min(oldest, key=lambda name: self._pools[name].used_at)
            pool = self._pools.pop(name)
            scopes = {candidate.scope for candidate in pool.candidates}
            pool.dissolve()
            self._circuits.pop(name[:2], None)
            for scope in scopes:
                self._book.drop_idle(scope, self._clock())
            self._routes.clear()
            self.on_change()

    def _forget_all(self) -> None:
        for pool in self._pools.values():
            pool.dissolve()
        self._pools.clear()
        self._routes.clear()
        self.on_change()

    def numbered(self, objective: RoutingObjective | None) -> tuple[int, RoutingObjective]:
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
        for candidate in list(slot.candidates):
            pool = candidate.pool
            pool.remove(slot, candidate)
            pool.add(slot, self._book.scope_for(slot, entry.group(pool.model)))
        self._routes.clear()
        self.on_change()


def _may_serve(entry: ProviderEntry, model: str) -> bool:
    return entry.serves(model) and any(slot.serves(model) for slot in entry.slots.values())


def _names_for(model: str) -> set[str]:
    """Return the names under which *model* may be listed: variants (`m:online`) rarely are."""
    return {model, model.rpartition(":")[0], model.partition(":")[0]} - {""}


def _names_of(entry: ProviderEntry) -> list[str]:
    if entry.known_models:
        return [model for model in entry.known_models if entry.serves(model)]
    patterns: list[str] = list(entry.models or ())
    for slot in entry.slots.values():
        patterns += slot.models or ()
    return sorted({name for name in patterns if not set(name) & set("*?[")})


def _grounds_of(levels: tuple[tuple[CandidatePool, ...], ...]) -> frozenset[object]:
    pools = [pool for level in levels for pool in level]
    if sum(len(pool.candidates) for pool in pools) > _FEW:
        return frozenset(pool.provider_id for pool in pools)
    return frozenset(candidate.scope for pool in pools for candidate in pool.candidates)
