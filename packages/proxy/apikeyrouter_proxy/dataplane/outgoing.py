"""The request to a provider, made for whichever key and model an attempt uses."""

from apikeyrouter.service import Attempt, WireRequest
from apikeyrouter_proxy.dataplane.asgi import Request
from apikeyrouter_proxy.dataplane.bodies.peek import (
    Peek,
    wants_usage_spliced,
    with_model,
    with_usage,
)
from apikeyrouter_proxy.dataplane.bodies.reader import Body
from apikeyrouter_proxy.dataplane.headers import request_headers

#: Endpoints whose streams tell their usage when asked to.
USAGE_ENDPOINTS = frozenset({"chat/completions", "completions"})


class Outgoing:
    """Builds outgoing requests of the bytes that came, as long as the body is held."""

    __slots__ = ("_body", "_endpoint", "_headers", "_query", "_seen", "_splices")

    def __init__(self, endpoint: str, body: Body, seen: Peek, request: Request) -> None:
        scope = request.scope
        self._endpoint = endpoint
        self._body = body
        self._seen = seen
        connection = request.headers.get(b"connection", b"")
        self._headers = request_headers(scope["headers"], connection)
        self._query = scope["query_string"].decode("latin-1")
        self._splices = endpoint in USAGE_ENDPOINTS and wants_usage_spliced(seen)

    def has_spliced_usage(self, attempt: Attempt) -> bool:
        """Tell whether the usage event is our own wish, not the client's."""
        return self._splices and attempt.asks_usage

    def request_for(self, attempt: Attempt) -> WireRequest:
        """Return the same bytes; where something has to change, spliced into them unpacked."""
        body, headers = self._body.content, self._headers
        asks_usage = self.has_spliced_usage(attempt)
        if attempt.model != self._seen.model:
            body = with_model(body, attempt.model)
        if asks_usage:
            body = with_usage(body, self._seen)
        if self._body.is_packed:
            if body is self._body.content:
                body = self._body.received
            else:
                headers = {k: v for k, v in headers.items() if k != "content-encoding"}
        return WireRequest(self._endpoint, body, headers, query=self._query, asks_usage=asks_usage)

    def release_body(self) -> None:
        """Let go of the body: a provider's answer is there, so that nothing is sent any more."""
        self._body.release()
