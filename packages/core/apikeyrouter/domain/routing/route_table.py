"""The route table: providers, keys and aliases, compiled to routes.

A `Route` is a model name compiled to levels of pools: the first level with room serves; within a
level the best score does. Routes and pools are made when they are first asked for, forgotten when
what they were made of changes, and bounded: callers may ask for any name.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Set
from difflib import get_close_matches
from itertools import chain, islice

from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.routing_decision import RoutingObjective
from apikeyrouter.domain.object_register import Owner
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.candidate_pool import CandidatePool, first_keys
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.pinned_pools import PinnedPools, accounts_at
from apikeyrouter.domain.routing.provider_entry import ProviderEntry, Target, by_serving
from apikeyrouter.domain.routing.route import Level, Route, grounds_of
from apikeyrouter.domain.routing.scoring import Scoring, ScoringTable
from apikeyrouter.errors import PinnedKeyError, UnknownModelError

#: Pools at once; beyond it the one unused for longest goes, those that never worked first.
_POOLS_KEPT, _UNPROVEN_KEPT = 1024, 128
_ROUTES_KEPT = 4096
_POOLS_LOOKED_AT = 64
#: Names that a wrong one is compared with, and its own characters that are: comparing costs much.
_NAMES_COMPARED, _CHARACTERS_COMPARED = 256, 64
#: With up to this many keys all are candidates at once, whether the model exists or not.
_FEW_KEYS = 8

PoolName = tuple[str, str, str]
RouteName = tuple[str, str | None, str]


class RouteTable:
    """Compiles routes, and keeps pools in step with keys, scopes and providers."""

    def __init__(
        self,
        book: AccountRegistry,
        *,
        clock: Callable[[], float],
        default_objective: RoutingObjective,
    ) -> None:
        self._book = book
        self._clock = clock
        self.scorings = ScoringTable(default_objective)
        self.scorings.on_drop = self._drop_rankings
        self.providers: dict[str, ProviderEntry] = {}
        self.aliases: dict[str, tuple[tuple[str, str], ...]] = {}
        #: Those beside what `set_aliases` defines next; of one name the latter counts.
        self.added_aliases: dict[str, tuple[tuple[str, str], ...]] = {}
        self._routes: dict[RouteName, Route] = {}
        self._pools: OrderedDict[PoolName, CandidatePool] = OrderedDict()
        #: Those of them whose model nobody lists and nobody has seen working.
        self._unproven: OrderedDict[PoolName, CandidatePool] = OrderedDict()
        #: Those of requests that are bound to a key.
        self._pinned = PinnedPools(book, clock)
        self._names: list[str] | None = None
        #: Called when there may be new capacity: keys moved, names or objectives changed.
        self.on_change: Callable[[], None] = lambda: None
        #: Brings a pool that is new here to what was kept of it.
        self.take_up: Callable[[CandidatePool], None] | None = None
        book.on_move = self._on_move

    # -- providers and keys -------------------------------------------------

    def add_provider(self, entry: ProviderEntry) -> None:
        """Let a provider serve; replaces one of the same id, whose keys stay."""
        before = self.providers.get(entry.id)
        if before is not None:
            entry.slots = before.slots
            self._dissolve_all_of(entry.id)
        self.providers[entry.id] = entry
        self._forget_routes()

    def remove_provider(self, provider_id: str) -> None:
        """Let a provider serve no more; its keys are removed before."""
        self._dissolve_all_of(provider_id)
        del self.providers[provider_id]
        self._forget_routes()

    def add_slot(self, slot: KeySlot) -> None:
        """Let a key serve from now on."""
        entry = self.providers[slot.provider_id]
        entry.slots[slot.id] = slot
        for pool in (*self._pools.values(), *self._unproven.values()):
            model = pool.model
            # An operator's own name may stand for what the provider's patterns do not admit.
            if pool.provider_id == entry.id and slot.serves(model):
                if (pool.provider_id, model, pool.endpoint) in self._unproven and pool.pending:
                    pool.pending.append(slot)
                else:
                    self._admit(pool, slot, entry)
        self._forget_routes()

    def refresh_slot(self, slot: KeySlot) -> None:
        """Re-evaluate a key's candidates: its state or its wait changed."""
        now = self._clock()
        for candidate in slot.candidates:
            candidate.refile(slot)
            candidate.pool.refresh((candidate,), now)
        self.on_change()

    def refile_slot(self, slot: KeySlot) -> None:
        """File a key anew: its models or its share have changed. All else that is known stays."""
        self._unfile({slot})
        self.add_slot(slot)

    def remove_slots(self, slots: Set[KeySlot]) -> None:
        """Let keys serve no more; what is known of their models and accounts stays."""
        self._unfile(slots)
        for slot in slots:
            entry = self.providers[slot.provider_id]
            del entry.slots[slot.id]
            entry.forget_list(slot.id)
        self._forget_routes()

    def _unfile(self, slots: Set[KeySlot]) -> None:
        for slot in slots:
            for candidate in list(slot.candidates):
                candidate.pool.remove(slot, candidate)
        for pool in self._all_pools():
            pool.pending = [slot for slot in pool.pending if slot not in slots]
        self._pinned.clear()

    def set_aliases(self, aliases: Mapping[str, tuple[tuple[str, str], ...]]) -> None:
        """Define names of the operator's own: targets (provider, model) in order of preference."""
        self.aliases = {**self.added_aliases, **aliases}
        self._forget_routes()

    def forget_servings(self) -> None:
        """Compile routes anew: a provider turned out to serve an endpoint otherwise."""
        self._forget_routes()

    def set_default_objective(self, objective: RoutingObjective) -> None:
        """Set what choices should be good at unless a request says otherwise."""
        before = self.scorings.default
        self.scorings.set_default(objective)
        self._drop_rankings(before)
        self.on_change()

    def note_list(self, entry: ProviderEntry, slot: KeySlot, models: tuple[str, ...]) -> None:
        """Take the list of models that a provider gave to a key; an empty one tells nothing."""
        if slot.id in entry.slots and entry.note_list(slot.id, models):
            self._look_at_lists(entry)

    def forget_list(self, slot: KeySlot) -> None:
        """Let a key serve whatever its patterns admit until its provider lists models to it."""
        entry = self.providers.get(slot.provider_id)
        if entry is not None and entry.forget_list(slot.id):
            self._look_at_lists(entry)

    def _look_at_lists(self, entry: ProviderEntry) -> None:
        """Make the pools afresh that other keys serve than before."""
        for pools in (self._pools, self._unproven):
            for name in [name for name in pools if name[0] == entry.id]:
                pool = pools[name]
                known = {slot for c in pool.candidates for slot in c.slots} | set(pool.pending)
                if set(entry.slots_for(pool.model)) != known or pools is self._unproven:
                    self._dissolve(pools.pop(name), forget=pools is self._unproven)
        self._forget_routes()

    def rest_scope(self, scope: QuotaScope) -> None:
        """Let a scope's candidates sleep: it has been told to wait."""
        if scope.cooldown.until > self._clock():
            why = scope.cooldown.shortfall()
            for pool, candidates in scope.index.candidates.items():
                pool.rest(candidates, why)

    def refresh_scope(self, scope: QuotaScope) -> None:
        """Re-evaluate a scope's candidates: capacity returned, or a wait ended."""
        now = self._clock()
        for pool, candidates in scope.index.candidates.items():
            pool.refresh(candidates, now)
        self.on_change()

    def known_models(self) -> list[tuple[str, str]]:
        """List (model, provider) pairs known by name; aliases have an empty provider."""
        names = [(alias, "") for alias in self.aliases]
        for entry in self.providers.values():
            if entry.slots:
                names += [(model, entry.id) for model in entry.names()]
        return names

    def owner_of(self, model: str) -> str | None:
        """Return the provider that is asked for *model* first; `None` if nobody has it."""
        try:
            pool = self.route_for(Demand(model=model, request_id="")).levels[0].pools[0]
        except UnknownModelError:
            return None
        is_lacked = self.providers[pool.provider_id].lacks(pool.model) and not pool.has_worked
        return None if is_lacked else pool.provider_id

    def accounts_of(self, endpoint: str, *, key_id: str | None = None) -> list[Owner]:
        """List a usable key for each account at *endpoint*; *key_id* stands for its own."""
        return accounts_at(endpoint, self.providers.values(), self._book, key_id)

    def pools(self) -> list[CandidatePool]:
        """Return the pools that are in use now."""
        return self._all_pools()

    # -- routes -------------------------------------------------------------

    def route_for(self, demand: Demand) -> Route:
        """Return the compiled route of what *demand* asks for.

        Raises:
            UnknownModelError: Nobody serves it; names the nearest.
            PinnedKeyError: It is bound to a key that cannot be used.
        """
        if demand.key_id is not None:
            levels = self._compile_pinned(demand)
            return Route(demand.model, levels, grounds_of(levels))
        name = (demand.model, demand.provider_id, demand.endpoint)
        route = self._routes.get(name)
        if route is None:
            levels = self._compile(demand)
            if len(self._routes) >= _ROUTES_KEPT:
                self._routes.clear()
            route = self._routes[name] = Route(demand.model, levels, grounds_of(levels))
        return route

    def serves(self, model: str, endpoint: str) -> bool:
        """Tell whether anybody serves *model* at *endpoint*, as it is or translated."""
        try:
            self.route_for(Demand(model=model, request_id="", endpoint=endpoint))
        except UnknownModelError:
            return False
        return True

    def prove(self, pool: CandidatePool) -> None:
        """Note that a call was answered: the model exists, and any key may serve it."""
        pool.has_worked = True
        name = (pool.provider_id, pool.model, pool.endpoint)
        if self._unproven.pop(name, None) is not None:
            self._pools[name] = pool
            self._make_space()
        if pool.pending:
            self.admit_pending(pool, first_keys(pool.pending))
            self._forget_routes()

    def admit_pending(self, pool: CandidatePool, most: int) -> bool:
        """Make candidates of up to *most* pending keys; tell whether there were any."""
        entry = self.providers[pool.provider_id]
        chosen = pool.pending[:most]
        del pool.pending[:most]
        for slot in chosen:
            self._admit(pool, slot, entry)
        return bool(chosen)

    def _compile_pinned(self, demand: Demand) -> tuple[Level, ...]:
        """Put the key first that *demand* is bound to; others only follow if it may leave it."""
        targets = chain.from_iterable(self._targets(demand.model, demand.provider_id))
        try:
            first = Level((self._pinned.pool_for(demand, self.providers, targets),))
        except PinnedKeyError:
            if not demand.may_leave_key:
                raise
            return self._compile(demand)
        return (first, *self._compile(demand)) if demand.may_leave_key else (first,)

    def _compile(self, demand: Demand) -> tuple[Level, ...]:
        endpoint, levels = demand.endpoint, []
        targets = self._targets(demand.model, demand.provider_id)
        for level in (part for found in targets for part in by_serving(found, endpoint)):
            pools = tuple(
                pool
                for entry, model in level
                if (pool := self._pool(entry, model, endpoint)).candidates
            )
            if pools:
                levels.append(Level(pools))
        if not levels:
            if any(targets) or not demand.model:
                raise UnknownModelError(demand.model, endpoint=endpoint)
            raise UnknownModelError(demand.model, self.nearest(demand.model))
        return tuple(levels)

    def nearest(self, model: str) -> tuple[str, ...]:
        """Return up to three known names that look like *model*."""
        if self._names is None:
            self._names = sorted({name for name, _ in self.known_models()})[:_NAMES_COMPARED]
        return tuple(get_close_matches(model[:_CHARACTERS_COMPARED], self._names, 3))

    def _targets(self, model: str, provider_id: str | None) -> list[list[Target]]:
        """Say who may serve *model*: levels of provider and its own name of the model."""
        if not model:
            served = [entry for entry in self.providers.values() if entry.slots]
            return [[(entry, "") for entry in served if provider_id in (None, entry.id)]]
        if provider_id is not None:
            entry = self.providers.get(provider_id)
            return [[(entry, model)]] if entry is not None and entry.serves(model) else []
        if model in self.aliases:
            return [
                [(self.providers[provider], name)]
                for provider, name in self.aliases[model]
                if provider in self.providers
            ]
        entries = [entry for entry in self.providers.values() if entry.may_serve(model)]
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
        if entry.lists(model) and not entry.lists(rest) and entry.may_serve(model):
            return entry, model
        return (entry, rest) if entry.may_serve(rest) else None

    def _pool(self, entry: ProviderEntry, model: str, endpoint: str) -> CandidatePool:
        name = (entry.id, model, endpoint)
        pools = self._pools if name in self._pools else self._unproven
        pool = pools.get(name)
        if pool is not None:
            pools.move_to_end(name)
            return pool
        pool = CandidatePool(entry.id, model, endpoint, admission=entry.admission)
        if self.take_up is not None:
            self.take_up(pool)
        pool.pending = entry.slots_for(model)
        pools = self._pools
        if len(pool.pending) > _FEW_KEYS and not entry.lists(model):
            pools = self._unproven
            # Names that exist nowhere are not all asked of the same keys.
            start = hash(model) % len(pool.pending)
            pool.pending = pool.pending[start:] + pool.pending[:start]
        self.admit_pending(pool, 1 if pools is self._unproven else first_keys(pool.pending))
        if pool.candidates:
            pools[name] = pool
            self._make_space()
        return pool

    def _admit(self, pool: CandidatePool, slot: KeySlot, entry: ProviderEntry) -> None:
        group = entry.group(pool.model, pool.endpoint)
        pool.add(slot, self._book.scope_for(slot, group), self._clock())

    def _all_pools(self) -> list[CandidatePool]:
        return [*self._pools.values(), *self._unproven.values(), *self._pinned]

    def _make_space(self) -> None:
        """Drop the pools that were unused for longest when there are too many."""
        for pools, most in ((self._pools, _POOLS_KEPT), (self._unproven, _UNPROVEN_KEPT)):
            while len(pools) > most:
                oldest = list(islice(pools, _POOLS_LOOKED_AT))
                name = min(oldest, key=lambda name: pools[name].used_at)
                self._dissolve(pools.pop(name))
                self._forget_routes()

    def _dissolve(self, pool: CandidatePool, *, forget: bool = True) -> None:
        scopes = {candidate.scope for candidate in pool.candidates}
        pool.dissolve()
        for scope in scopes if forget else ():
            self._book.drop_idle(scope, self._clock())

    def _dissolve_all_of(self, provider_id: str) -> None:
        """Make a provider's pools afresh; what is known of its accounts stays."""
        for pools in (self._pools, self._unproven):
            for name in [name for name in pools if name[0] == provider_id]:
                self._dissolve(pools.pop(name), forget=False)
        self._pinned.clear()

    def _forget_routes(self) -> None:
        self._routes.clear()
        self._names = None
        self.on_change()

    def _drop_rankings(self, scoring: Scoring) -> None:
        for pool in self._all_pools():
            pool.drop_rankings(scoring)

    def _on_move(self, slot: KeySlot) -> None:
        """File a key under its new account's scopes."""
        entry = self.providers.get(slot.provider_id)
        if entry is None:
            return
        for candidate in list(slot.candidates):
            pool = candidate.pool
            pool.remove(slot, candidate)
            self._admit(pool, slot, entry)
        self._forget_routes()
