"""What the management API works on."""

import asyncio
from dataclasses import dataclass, field

from apikeyrouter import ApiKeyRouter
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.api.audit import AuditLog
from apikeyrouter_proxy.api.clients import ManagedClients
from apikeyrouter_proxy.configuration.reloading import Reloader


@dataclass(slots=True, eq=False)
class ManagementParts:
    """What its routes share.

    Attributes:
        config: What the service runs by.
        reloader: Reads its file again; `None` where it came from no file.
        changing: Held by whoever changes something: what is read and written then belongs
            together.
    """

    router: ApiKeyRouter
    config: RouterConfig
    clients: ManagedClients
    audit: AuditLog
    reloader: Reloader | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
