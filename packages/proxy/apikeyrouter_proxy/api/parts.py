"""What the management API works on."""

import asyncio
from dataclasses import dataclass, field

from apikeyrouter import ApiKeyRouter
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.api.audit import AuditLog
from apikeyrouter_proxy.api.clients import ManagedClients


@dataclass(slots=True, eq=False)
class ManagementParts:
    """What its routes share.

    Attributes:
        config: As the service was started with it.
        changing: Held by whoever changes something: what is read and written then belongs
            together.
    """

    router: ApiKeyRouter
    config: RouterConfig
    clients: ManagedClients
    audit: AuditLog
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
