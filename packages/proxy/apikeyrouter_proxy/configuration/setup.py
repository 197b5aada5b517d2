"""A router made what a configuration says, and later what the next one says.

To start is to apply a configuration where there was none. First all that can be refused is found
out and made, then keys are stored, then everything takes effect in one step, in which nothing can
fail and no request is decided. Whatever the configuration does not change is not touched.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apikeyrouter import (
    ApiKeyRouter,
    ApiKeyRouterError,
    ConfigurationError,
    RoutingObjective,
)
from apikeyrouter.infrastructure.config.model import KeyConfig, ProviderConfig, RouterConfig
from apikeyrouter.service import (
    CATALOGUE,
    EncryptionError,
    HttpAdapter,
    KeyDeclaration,
    KeySlot,
    Retirement,
    StateStoreError,
    StoredKey,
    apply_money,
)
from apikeyrouter_proxy.composition import (
    adapter_of,
    facts_of,
    objective_of,
    patterns_of,
    target_of,
)

#: Keys that are stored together.
_AT_ONCE = 256
_ORIGIN = {"origin": "configuration"}
_UNSAID = ProviderConfig()


@dataclass(slots=True, eq=False)
class SetupPlan:
    """What is to be done for a configuration; all that it needs is made.

    Attributes:
        providers: Adapters of those that are new or said to be otherwise.
        gone: Providers that serve no more.
        keys: As they are declared, whether anything of them changes or not.
        withdrawn: Keys that are declared no more.
        parked: Keys that were added by hand to a provider that goes.
        aliases, objective: `None` if they stay.
    """

    config: RouterConfig
    providers: dict[str, HttpAdapter]
    gone: list[str]
    keys: list[KeyDeclaration]
    withdrawn: list[KeySlot]
    parked: list[KeySlot]
    aliases: dict[str, tuple[tuple[str, str], ...]] | None
    objective: RoutingObjective | None
    stored: list[StoredKey] = field(default_factory=list)


class RouterSetup:
    """Applies configurations to a router, one after the other.

    Attributes:
        config: The one that is in effect.
        added: Providers that were added by hand; of one name the configuration's counts.
    """

    def __init__(self, router: ApiKeyRouter) -> None:
        self._router = router
        self._declarations = router.declarations
        self._manager = router.key_manager
        self.config: RouterConfig | None = None
        self.added: Mapping[str, ProviderConfig] = {}
        self._applying = asyncio.Lock()
        self._providers: dict[str, ProviderConfig] = {}
        self._retirement = Retirement()

    async def close(self) -> None:
        """Close what serves no more and was still needed."""
        await self._retirement.close()

    def plan(self, config: RouterConfig) -> SetupPlan:
        """Find out what is to be done; nothing is changed.

        Raises:
            ConfigurationError: It cannot be done; the message says which part.
        """
        wanted, live = self._providers_of(config), self._router.routes.providers
        before = self.config
        declared = {str(key.id) for key in config.keys}
        own = [slot for slot in self._manager.slot_by_id.values() if is_configured(slot)]
        withdrawn = [slot for slot in own if slot.id not in declared]
        gone = [name for name in self._providers if name not in wanted]
        leaving = set(withdrawn)
        parked = [
            slot for name in gone for slot in live[name].slots.values()
            if slot not in leaving
        ]  # fmt: skip
        return SetupPlan(
            config,
            {
                name: self._made(name, provider, declared)
                for name, provider in wanted.items()
                if before is None
                or name not in live
                or provider != self._providers.get(name, _UNSAID)
            },
            gone,
            self._keys_of(config),
            withdrawn,
            parked,
            _aliases_of(config) if before is None or config.models != before.models else None,
            objective_of(config) if before is None or config.routing != before.routing else None,
        )

    async def apply(self, config: RouterConfig) -> SetupPlan:
        """Bring the router to what *config* says, or leave it as it is.

        Raises:
            ConfigurationError: It cannot be done; the message says which part.
            StateStoreError: The store does not take what is declared.
        """
        async with self._applying:
            plan = self.plan(config)
            await self.store(plan)
            await self.put_to_use(plan)
            return plan

    async def use_added(self, added: Mapping[str, ProviderConfig]) -> None:
        """Let these providers be used beside those of the configuration in effect.

        Raises:
            ConfigurationError: One of them cannot be made; nothing has changed.
        """
        before, self.added = self.added, added
        if self.config is not None:
            try:
                await self.apply(self.config)
            except BaseException:
                self.added = before
                raise

    async def store(self, plan: SetupPlan) -> None:
        """Store what a plan says of keys; all of it or, as far as the store lets us, nothing.

        Raises:
            ConfigurationError: A key cannot be had so.
            StateStoreError: The store does not take them.
        """
        try:
            for first in range(0, len(plan.keys), _AT_ONCE):
                # Together, so that a store can keep them in one go.
                some = plan.keys[first : first + _AT_ONCE]
                stored = await asyncio.gather(*map(self._store, some), return_exceptions=True)
                plan.stored += [key for key in stored if isinstance(key, StoredKey)]
                for failed in stored:
                    if isinstance(failed, BaseException):
                        raise failed
        except BaseException:
            await self._take_back(plan)
            raise

    async def put_to_use(self, plan: SetupPlan) -> None:
        """Let a plan take effect; nothing is waited for."""
        router, wanted = self._router, self._providers_of(plan.config)
        live = router.routes.providers
        for name, adapter in plan.providers.items():
            replaced = live.get(name)
            provider = wanted[name]
            await router.register_provider(
                name,
                adapter,
                overwrite=self.config is not None,
                models=patterns_of(provider.models),
            )
            if replaced is not None:
                self._retirement.retire(replaced)
        for key in plan.stored:
            self._declarations.put_to_use(key)
        if plan.withdrawn:
            self._declarations.withdraw(plan.withdrawn)
        if plan.parked:
            self._declarations.park(plan.parked)
        for name in plan.gone:
            self._retirement.retire(live[name])
            router.routes.remove_provider(name)
        if plan.aliases is not None:
            router.set_aliases(plan.aliases)
        if plan.objective is not None:
            router.configure_objective(plan.objective)
        apply_money(router.cost_controller, plan.config)
        self.config, self._providers = plan.config, wanted

    def _providers_of(self, config: RouterConfig) -> dict[str, ProviderConfig]:
        """Return all that must be there: named ones, and those of the catalogue that have keys."""
        known = {**self.added, **config.providers}
        names = [*known, *(key.provider for key in config.keys)]
        by_hand = {
            slot.provider_id
            for slot in self._manager.slot_by_id.values()
            if not is_configured(slot)
        }
        # Whoever added a key by hand need not name its provider here.
        unnamed = (self._manager.kept.providers() | by_hand) & set(CATALOGUE)
        return {
            name: known.get(name, _UNSAID) for name in dict.fromkeys([*names, *sorted(unnamed)])
        }

    def _made(self, name: str, provider: ProviderConfig, declared: set[str]) -> HttpAdapter:
        adapter = adapter_of(name, provider)
        try:
            self._manager.kept.check_opens(name, declared)
        except EncryptionError as error:
            raise ConfigurationError(f"store: {error}") from error
        return adapter

    def _keys_of(self, config: RouterConfig) -> list[KeyDeclaration]:
        limits = {(key.provider, key.scope): key.limits for key in config.keys if key.limits}
        hard = {(key.provider, key.scope) for key in config.keys if key.hard and key.scope}
        keys = []
        for key in config.keys:
            facts = {**_facts_of(key), **_ORIGIN}
            if key.scope is not None:
                # Whichever of a scope's keys names its limits, whichever is used first.
                facts["limits"] = dict(limits.get((key.provider, key.scope), {}))
                facts["hard"] = (key.provider, key.scope) in hard
            secret = key.secret.get_secret_value()
            declaration = KeyDeclaration(str(key.id), key.provider, secret, facts)
            try:
                self._declarations.check(declaration)
            except ApiKeyRouterError as error:
                raise ConfigurationError(f"key '{key.id}': {error}") from error
            keys.append(declaration)
        if len({key.id for key in keys}) < len(keys):
            key_id = _first_twice(keys)
            raise ConfigurationError(
                f"key '{key_id}': key '{key_id}' is registered already; "
                "rotate it to change its secret"
            )
        return keys

    async def _store(self, key: KeyDeclaration) -> StoredKey | None:
        try:
            return await self._declarations.store(key)
        except StateStoreError:
            raise
        except ApiKeyRouterError as error:
            raise ConfigurationError(f"key '{key.id}': {error}") from error

    async def _take_back(self, plan: SetupPlan) -> None:
        stored, plan.stored = plan.stored, []
        # What the store does not take now either is stored anew by the next load.
        await asyncio.gather(*map(self._declarations.take_back, stored), return_exceptions=True)


async def register_all(router: ApiKeyRouter, config: RouterConfig) -> RouterSetup:
    """Register all that *config* names with *router*; the caller closes what is returned.

    Raises:
        ConfigurationError: Something in it cannot be used; the message says which part.
    """
    setup = RouterSetup(router)
    await setup.apply(config)
    return setup


def is_configured(slot: KeySlot) -> bool:
    """Tell whether a key was declared by a configuration."""
    return bool(slot.record.metadata.get("origin") == _ORIGIN["origin"])


def _facts_of(key: KeyConfig) -> dict[str, object]:
    # What an entry leaves out is not as it was before, but as if it never had been said.
    return {"scope": None, "models": None, "hard": False, **facts_of(key)}


def _aliases_of(config: RouterConfig) -> dict[str, tuple[tuple[str, str], ...]]:
    return {name: tuple(map(target_of, targets)) for name, targets in config.models.items()}


def _first_twice(keys: Sequence[KeyDeclaration]) -> str:
    seen: set[str] = set()
    for key in keys:
        if key.id in seen:
            return key.id
        seen.add(key.id)
    return ""
