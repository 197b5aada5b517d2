"""Every table of routes, and whose dialect a path is that nothing is at.

To add a dialect's endpoints, add a file beside this one and its row here.
"""

from collections.abc import Callable

from apikeyrouter_proxy.dataplane.asgi import Request
from apikeyrouter_proxy.dataplane.front_doors import (
    anthropic,
    anthropic_objects,
    gemini,
    gemini_objects,
    info,
    openai,
    raw,
    responses,
)
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import Route, RouteTable

#: In the order in which hints name them, and in which routes of the same path are tried.
_TABLES: tuple[Callable[[ServiceParts], list[Route]], ...] = (
    openai.routes,
    responses.routes,
    anthropic.routes,
    anthropic_objects.routes,
    gemini.routes,
    gemini_objects.routes,
    info.routes,
    raw.routes,
)
#: Beginning of a path -> name of the dialect that is spoken below it.
_DIALECT_BELOW = {
    "/v1/messages": "anthropic",
    "/v1beta/": "gemini",
    "/v1alpha/": "gemini",
    "/upload/": "gemini",
}


def route_table(parts: ServiceParts) -> RouteTable:
    """Return all routes of a service."""
    return RouteTable(route for routes in _TABLES for route in routes(parts))


def dialect_below(request: Request) -> str:
    """Return the name of the dialect that whoever asks for an unknown path probably speaks."""
    found = [name for begin, name in _DIALECT_BELOW.items() if request.path.startswith(begin)]
    if found:
        return found[0]
    return "anthropic" if b"anthropic-version" in request.headers else "openai"
