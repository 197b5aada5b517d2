"""The request to a provider, made for whichever key and model an attempt uses."""

from collections.abc import Callable
from typing import Protocol

from apikeyrouter.dialects.dialect import Dialect, Peek
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.interfaces.wire import WireRequest


class RequestBody(Protocol):
    """A client's body, as long as it is held."""

    @property
    def received(self) -> bytes:
        """The body as it came."""
        ...

    @property
    def content(self) -> bytes:
        """The JSON in it: the same, or unpacked."""
        ...

    @property
    def is_packed(self) -> bool:
        """Whether it came compressed."""
        ...

    def release(self) -> None:
        """Let go of it."""
        ...


class Outgoing:
    """Builds outgoing requests of the bytes that came, as long as the body is held.

    Args:
        endpoint: See `Demand.endpoint`.
        headers: Of the client, those that go to providers.
        path_for: Where a provider has the endpoint, by its own name of the model.
        query: Of the client's address, without what is for us alone.
    """

    __slots__ = (
        "_body",
        "_dialect",
        "_endpoint",
        "_headers",
        "_method",
        "_path_for",
        "_seen",
        "_splices",
        "query",
    )

    def __init__(
        self,
        endpoint: str,
        body: RequestBody,
        seen: Peek,
        *,
        dialect: Dialect,
        headers: dict[str, str],
        path_for: Callable[[str], str],
        query: str,
        method: str = "POST",
    ) -> None:
        self._dialect = dialect
        self._endpoint = endpoint
        self._method = method
        self._path_for = path_for
        self.query = query
        self._body = body
        self._seen = seen
        self._headers = headers
        self._splices = endpoint in dialect.chunked and dialect.wants_usage_spliced(seen)

    def has_spliced_usage(self, attempt: Attempt) -> bool:
        """Tell whether the usage event is our own wish, not the client's."""
        return self._splices and attempt.asks_usage

    def request_for(self, attempt: Attempt) -> WireRequest:
        """Return the same bytes; where something has to change, spliced into them unpacked."""
        body, headers, dialect = self._body.content, self._headers, self._dialect
        if not attempt.is_native:
            # It is read, and written anew.
            return WireRequest(self._endpoint, body, endpoint=self._endpoint)
        asks_usage = self.has_spliced_usage(attempt)
        if attempt.model != self._seen.model:
            body = dialect.with_model(body, attempt.model)
        if asks_usage:
            body = dialect.with_usage(body, self._seen)
        if self._body.is_packed:
            body, headers = self._packed(body, attempt)
        # The event that the client did not ask for can only be taken out of plain bytes.
        if asks_usage and "accept-encoding" in headers:
            headers = _without(headers, "accept-encoding")
        return WireRequest(
            self._path_for(attempt.model), body, headers, self._method,
            query=self.query, asks_usage=asks_usage, endpoint=self._endpoint,
        )  # fmt: skip

    def _packed(self, body: bytes, attempt: Attempt) -> tuple[bytes, dict[str, str]]:
        """Return *body* as it came, if it is the same still and its provider may read that."""
        headers = self._headers
        coding = headers.get("content-encoding", "")
        if body is self._body.content and attempt.reads_packed(coding):
            return self._body.received, headers
        return body, _without(headers, "content-encoding")

    def accept_plain(self) -> None:
        """Ask for answers that are not compressed, whatever the client would take."""
        self._headers = _without(self._headers, "accept-encoding")

    def release_body(self) -> None:
        """Let go of the body: a provider's answer is there, so that nothing is sent any more."""
        self._body.release()


def _without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {known: value for known, value in headers.items() if known != name}
