"""What the management API works on."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from apikeyrouter import ApiKeyRouter
from apikeyrouter.infrastructure.config.model import ProviderConfig, RouterConfig
from apikeyrouter.service import Budget
from apikeyrouter_proxy.api.added.additions import Additions
from apikeyrouter_proxy.api.added.provider_shapes import ProviderFacts
from apikeyrouter_proxy.api.added.shapes import AliasFacts, PolicyFacts
from apikeyrouter_proxy.api.audit import AuditLog
from apikeyrouter_proxy.api.clients import ManagedClients
from apikeyrouter_proxy.composition import target_of
from apikeyrouter_proxy.configuration.reloading import Reloader
from apikeyrouter_proxy.spreading.service_spreading import Kept


@dataclass(slots=True, eq=False)
class ManagementParts:
    """What its routes share.

    Attributes:
        config: What the service runs by.
        reloader: Reads its file again; `None` where it came from no file.
        apply_providers: Lets added providers be used, those alone.
        aliases, policies, providers, budgets: Those that were added beside it.
        changing: Held by whoever changes something: what is read and written then belongs
            together.
    """

    router: ApiKeyRouter
    config: RouterConfig
    clients: ManagedClients
    audit: AuditLog
    reloader: Reloader | None = None
    apply_providers: Callable[[Mapping[str, ProviderConfig]], Awaitable[None]] | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    aliases: Additions[AliasFacts] = field(init=False)
    policies: Additions[PolicyFacts] = field(init=False)
    budgets: Additions[Budget] = field(init=False)
    providers: Additions[ProviderFacts] = field(init=False)
    _reading: set[asyncio.Task[None]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        store = self.router.state_store
        self.aliases = Additions(store, "Alias", AliasFacts)
        self.policies = Additions(store, "Policy", PolicyFacts)
        self.budgets = Additions(store, "Budget", Budget)
        self.providers = Additions(store, "Provider", ProviderFacts)
        self.aliases.on_read = self.use_aliases
        self.providers.on_read = self._use_read_providers
        self.budgets.on_read = self.use_budgets

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What operators change beside keys."""
        orders = self.router.parts.account_orders
        return self.clients, self.aliases, self.policies, self.providers, self.budgets, orders

    async def load(self) -> None:
        """Take up what was added before.

        Raises:
            StateStoreError: It cannot be read.
        """
        await self.aliases.load()
        await self.policies.load()
        await self.budgets.load()
        await self.providers.load()

    def added_providers(self) -> dict[str, ProviderConfig]:
        """Return providers that were added, those too whose name the configuration has."""
        return {one.id: one.facts.config() for one in self.providers.all()}

    async def use_providers(self) -> None:
        """Let providers that were added be used; of one name the configuration's counts.

        Raises:
            ConfigurationError: One of them cannot be made; nothing has changed.
        """
        if self.apply_providers is not None:
            await self.apply_providers(self.added_providers())

    def _use_read_providers(self) -> None:
        task = asyncio.get_running_loop().create_task(self.use_providers())
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    def use_aliases(self) -> None:
        """Let aliases that were added be asked for; of one name the configuration's counts."""
        self.router.routes.added_aliases = {
            alias.id: tuple(map(target_of, alias.facts.targets)) for alias in self.aliases.all()
        }
        self.router.set_aliases(
            {name: [*map(target_of, targets)] for name, targets in self.config.models.items()}
        )

    def use_budgets(self) -> None:
        """Let budgets that were added count; of one id the configuration's counts."""
        self.router.cost_controller.use_created(budget.facts for budget in self.budgets.all())
