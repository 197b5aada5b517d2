"""OpenAI's responses, and what else is served over WebSockets."""

from apikeyrouter_proxy.dataplane.asgi import SOCKET
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.front_doors.routes import READ, Route
from apikeyrouter_proxy.dataplane.objects.forwarder import ObjectForwarder
from apikeyrouter_proxy.dataplane.responses.create import ResponsesForwarder
from apikeyrouter_proxy.dataplane.sockets.realtime import RealtimeSocket
from apikeyrouter_proxy.dataplane.sockets.responses import ResponsesSocket

_DIALECT = "openai-responses"
#: Endpoints with a model in their JSON.
_WITH_MODEL = ("responses", "responses/input_tokens", "responses/compact")

#: What is asked of a response that was made: by no provider that does not speak the dialect.
_STORED = "responses/objects"


def routes(parts: ServiceParts) -> list[Route]:
    """Return what is served of them."""
    made = [
        Route(("POST",), f"/v1/{name}", parts.forwarder(name, kind=ResponsesForwarder), _DIALECT)
        for name in _WITH_MODEL
    ]
    stored = parts.forwarder(_STORED, kind=ObjectForwarder)
    return [
        *made,
        Route((SOCKET,), "/v1/responses", ResponsesSocket(parts), _DIALECT),
        Route((SOCKET,), "/v1/realtime", RealtimeSocket(parts)),
        Route((*READ, "POST", "DELETE"), "/v1/responses/{rest...}", stored, _DIALECT),
    ]
