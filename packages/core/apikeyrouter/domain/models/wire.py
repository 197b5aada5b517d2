"""Bytes as they come and go: what travels between a caller and a provider."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

Headers = Mapping[str, str]


@dataclass(slots=True)
class WireRequest:
    """One outgoing request without its credential.

    Attributes:
        path: Below the provider's base URL, such as `chat/completions`.
        body: Sent as it is.
        headers: Passed on as they are; the adapter adds the credential.
    """

    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"
    query: str = ""


@dataclass(slots=True)
class WireResponse:
    """One answer whose body has not been read.

    Whoever receives it must call `close` once, unless `chunks` was exhausted.

    Attributes:
        content_type: As its header says; empty if it does not.
    """

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    read: Callable[[], Awaitable[bytes]]
    close: Callable[[], None]
    raw_headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: str = ""
