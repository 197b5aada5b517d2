"""Bytes as they come and go: what travels between a caller and a provider."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

Headers = Mapping[str, str]


class WireRequest(msgspec.Struct, eq=False):
    """One outgoing request without its credential.

    Attributes:
        path: Below the provider's base URL, such as `chat/completions`.
        endpoint: What is asked for, in the dialect of the body; see `Demand.endpoint`.
        body: Sent as it is.
        headers: Passed on as they are; the adapter adds the credential.
        model: The provider's own name of the model that is asked, if one is.
        left_out: What of the client's request it has no more, by names of its dialect.
        asks_usage: Its `stream_options` are our own wish, and may be left out.
    """

    path: str
    body: bytes = b""
    headers: dict[str, str] = {}
    method: str = "POST"
    query: str = ""
    asks_usage: bool = False
    endpoint: str = "chat/completions"
    model: str = ""
    left_out: tuple[str, ...] = ()


class WireResponse(msgspec.Struct, eq=False):
    """One answer whose body has not been read.

    Whoever receives it must call `close` once, unless `chunks` was exhausted.

    Attributes:
        chunks: Waiting for the next one may be interrupted, and begun again.
        read: Returns all of the body that is not read yet; asked again, the same.
        content_type: As its header says; empty if it does not.
    """

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    read: Callable[[], Awaitable[bytes]]
    close: Callable[[], None]
    raw_headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: str = ""


class WireSocket(Protocol):
    """A WebSocket to a provider."""

    async def send(self, text: str) -> None:
        """Send a message.

        Raises:
            ConnectionError: It is closed.
        """

    async def receive(self) -> bytes | None:
        """Return the next message; `None` once it is closed. It may be interrupted."""

    async def close(self) -> None:
        """Close it; closing twice is nothing."""


class UpgradeRefusedError(Exception):
    """A provider answered the wish for a WebSocket otherwise; what it said besides is not read."""

    def __init__(self, status: int, headers: Headers) -> None:
        super().__init__(f"the upgrade was refused with status {status}")
        self.status = status
        self.headers = headers
