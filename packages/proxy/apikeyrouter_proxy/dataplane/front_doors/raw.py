"""The raw way to every provider, below its id."""

from collections.abc import Mapping

from apikeyrouter.service import RAW
from apikeyrouter_proxy.dataplane.asgi import Request
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Route
from apikeyrouter_proxy.dataplane.objects.raw import RawForwarder

_METHODS = (*READ, "POST", "PUT", "PATCH", "DELETE")


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of it."""
    providers = parts.router.routes.providers

    def is_known(request: Request, params: Mapping[str, str]) -> bool:
        del request
        return params["provider"] in providers

    forwarder = parts.forwarder(RAW, kind=RawForwarder)
    return [Route(_METHODS, "/{provider}/{rest...}", forwarder, when=is_known)]
