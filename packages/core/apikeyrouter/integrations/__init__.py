"""Official clients over the router, in the same process: their requests never see a proxy.

`RouterTransport` carries the requests of an asynchronous `httpx` or `httpx2` client,
`SyncRouterTransport` those of a blocking one. Neither library is needed to import this.
"""

from apikeyrouter.integrations.clients import http_client, sync_http_client
from apikeyrouter.integrations.router_loop import RouterLoop
from apikeyrouter.integrations.sync_transport import SyncRouterTransport
from apikeyrouter.integrations.transport import RouterTransport

__all__ = [
    "RouterLoop",
    "RouterTransport",
    "SyncRouterTransport",
    "http_client",
    "sync_http_client",
]
