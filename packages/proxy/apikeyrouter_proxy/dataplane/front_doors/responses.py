"""OpenAI's responses."""

from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import Route
from apikeyrouter_proxy.dataplane.responses.create import ResponsesForwarder

_DIALECT = "openai-responses"
#: Endpoints with a model in their JSON.
_WITH_MODEL = ("responses", "responses/input_tokens", "responses/compact")


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of them."""
    return [
        Route(("POST",), f"/v1/{name}", parts.forwarder(name, kind=ResponsesForwarder), _DIALECT)
        for name in _WITH_MODEL
    ]
