"""OpenAI's endpoints."""

from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import Route

#: Endpoints with a model in their JSON.
_WITH_MODEL = ("chat/completions", "completions", "embeddings")


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of it."""
    return [Route(("POST",), f"/v1/{name}", parts.forwarder(name)) for name in _WITH_MODEL]
