"""A transport that sends an answer's head together with what follows at once.

uvicorn writes a head and its body one after the other, and each write is a call of the system
that wakes the client: the second costs as much as all that we do to choose a key. Here a head waits
for the rest of the event loop's turn at most.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

#: How heads begin, and bodies hardly ever; one that does is sent at the turn's end.
_HEAD = b"HTTP/1.1 "


class GatheringTransport:
    """Stands before a connection's transport; whatever is not written passes straight through."""

    __slots__ = ("_head", "_loop", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write *data*, with the head that came before it."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.writelines((head, data))
        elif data.startswith(_HEAD):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        """Write *pieces* at once, a head among them or not."""
        self._flush()
        self._transport.writelines(pieces)

    def write_eof(self) -> None:
        """Write nothing more."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close when all is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)
