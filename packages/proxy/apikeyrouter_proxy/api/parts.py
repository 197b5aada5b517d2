"""What the management API works on."""

import asyncio
from dataclasses import dataclass, field

from apikeyrouter import ApiKeyRouter
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.api.added.additions import Additions
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
        aliases, policies: Those that were added beside it.
        changing: Held by whoever changes something: what is read and written then belongs
            together.
    """

    router: ApiKeyRouter
    config: RouterConfig
    clients: ManagedClients
    audit: AuditLog
    reloader: Reloader | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    aliases: Additions[AliasFacts] = field(init=False)
    policies: Additions[PolicyFacts] = field(init=False)

    def __post_init__(self) -> None:
        store = self.router.state_store
        self.aliases = Additions(store, "Alias", AliasFacts)
        self.policies = Additions(store, "Policy", PolicyFacts)
        self.aliases.on_read = self.use_aliases

    @property
    def kept(self) -> tuple[Kept, ...]:
        """What operators change beside keys."""
        return self.clients, self.aliases, self.policies, self.router.parts.account_orders

    async def load(self) -> None:
        """Take up what was added before.

        Raises:
            StateStoreError: It cannot be read.
        """
        await self.aliases.load()
        await self.policies.load()

    def use_aliases(self) -> None:
        """Let aliases that were added be asked for; of one name the configuration's counts."""
        self.router.routes.added_aliases = {
            alias.id: tuple(map(target_of, alias.facts.targets)) for alias in self.aliases.all()
        }
        self.router.set_aliases(
            {name: [*map(target_of, targets)] for name, targets in self.config.models.items()}
        )
