"""HTTP clients whose requests a router serves, for the SDKs that take one."""

import asyncio
from typing import Any

from apikeyrouter.integrations.libraries import library_named
from apikeyrouter.integrations.router_loop import RouterLoop
from apikeyrouter.integrations.sync_transport import SyncRouterTransport
from apikeyrouter.integrations.transport import RouterTransport
from apikeyrouter.router import ApiKeyRouter


def http_client(router: ApiKeyRouter, *, library: str | None = None, **options: Any) -> Any:
    """Return an `AsyncClient` over *router*.

    Args:
        library: `httpx2` or `httpx`; the first of them that is installed if `None`.
        options: Of the client, such as `timeout`.

    Raises:
        ConfigurationError: The library is not installed.
    """
    return library_named(library).AsyncClient(transport=RouterTransport(router), **options)


def sync_http_client(
    router: ApiKeyRouter,
    *,
    loop: asyncio.AbstractEventLoop | RouterLoop | None = None,
    library: str | None = None,
    **options: Any,
) -> Any:
    """Return a blocking `Client` over *router*.

    Args:
        loop: See `SyncRouterTransport`.
        library: `httpx2` or `httpx`; the first of them that is installed if `None`.
        options: Of the client, such as `timeout`.

    Raises:
        ConfigurationError: The library is not installed.
    """
    found = library_named(library)
    return found.Client(transport=SyncRouterTransport(router, loop=loop), **options)
