"""One WebSocket to a provider, shared by lanes.

A lane is what runs one after the other; lanes run side by side, and each event bears the name of
its lane. An answer is handed on as the stream of events that it would have been over HTTP.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import aiohttp
import msgspec

from apikeyrouter.dialects.openai_responses.events import LAST_TYPES
from apikeyrouter.domain.interfaces.wire import WireResponse, WireSocket

#: Events of a lane that its reader has not taken yet; beyond it the provider waits.
_MOST_WAITING = 64
#: A WebSocket has lived for too long, or there are too many.
_CLOSES_SOON = "websocket_connection_limit_reached"


class _Head(msgspec.Struct):
    type: Any = None
    stream_id: Any = None
    status: Any = None
    error: Any = None
    headers: Any = None

    @property
    def is_last(self) -> bool:
        """Whether nothing follows in its lane."""
        return self.type in LAST_TYPES or self.type == "error"

    @property
    def lane(self) -> str:
        """The name of its lane; empty for the one without a name."""
        return self.stream_id if isinstance(self.stream_id, str) else ""


_decode = msgspec.json.Decoder(_Head).decode


class LimitReachedError(Exception):
    """The provider wants another WebSocket to be opened."""


class Upstream:
    """One WebSocket to a provider.

    Args:
        on_stray: Takes messages that belong to no answer under way.
    """

    def __init__(self, socket: WireSocket, on_stray: Callable[[bytes], Awaitable[None]]) -> None:
        self._socket = socket
        self._on_stray = on_stray
        self._lanes: dict[str, asyncio.Queue[tuple[_Head, bytes] | None]] = {}
        self.is_closed = False
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def ask(self, lane: str, message: str) -> WireResponse:
        """Send what makes an answer; return it once it has begun.

        Raises:
            LimitReachedError: It has to be asked over another one.
            ConnectionError, aiohttp.ClientError: It was closed before an answer came.
        """
        queue = self._lanes[lane] = asyncio.Queue(_MOST_WAITING)
        try:
            await self._socket.send(message)
            first = await queue.get()
        except BaseException:
            self.close()
            raise
        if first is None:
            raise aiohttp.ServerDisconnectedError
        head, data = first
        if head.type != "error":
            return self._streaming(lane, queue, first)
        del self._lanes[lane]
        error = head.error if isinstance(head.error, dict) else {}
        if error.get("code") == _CLOSES_SOON:
            self.close()
            raise LimitReachedError
        return _refused(head, error, data)

    async def say(self, message: str) -> None:
        """Send what makes no answer of its own."""
        await self._socket.send(message)

    def close(self) -> None:
        """Close it, whatever is under way."""
        self.is_closed = True
        self._reader.cancel()

    def _streaming(
        self,
        lane: str,
        queue: asyncio.Queue[tuple[_Head, bytes] | None],
        first: tuple[_Head, bytes],
    ) -> WireResponse:
        chunks = _Events(self, lane, queue, first)

        async def read() -> bytes:
            return b"".join([chunk async for chunk in chunks])

        return WireResponse(
            200, {}, chunks, read, chunks.close, (), content_type="text/event-stream"
        )

    def end(self, lane: str, *, is_over: bool) -> None:
        """Take nothing more for a lane; one that goes on closes the WebSocket."""
        self._lanes.pop(lane, None)
        if not is_over:
            self.close()

    async def _read(self) -> None:
        try:
            while (data := await self._socket.receive()) is not None:
                head = _read_head(data)
                queue = self._lanes.get(head.lane)
                if queue is not None:
                    await queue.put((head, data))
                else:
                    await self._on_stray(data)
        except (OSError, aiohttp.ClientError):
            # One of both sides is gone.
            return
        finally:
            self.is_closed = True
            for queue in self._lanes.values():
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(None)
            await self._socket.close()


class _Events(AsyncIterator[bytes]):
    """The events of one answer as a stream."""

    def __init__(
        self,
        upstream: Upstream,
        lane: str,
        queue: asyncio.Queue[tuple[_Head, bytes] | None],
        first: tuple[_Head, bytes],
    ) -> None:
        self._upstream = upstream
        self._lane = lane
        self._queue = queue
        self._first: tuple[_Head, bytes] | None = first
        self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over:
            raise StopAsyncIteration
        found, self._first = self._first, None
        found = found or await self._queue.get()
        if found is None:
            self._is_over = True
            raise aiohttp.ServerDisconnectedError
        head, data = found
        if head.is_last:
            self._is_over = True
            self._upstream.end(self._lane, is_over=True)
        # A line of an event cannot go over several.
        return b"data: %s\n\n" % data.replace(b"\n", b" ").replace(b"\r", b" ")

    def close(self) -> None:
        """Stop here."""
        if not self._is_over:
            self._is_over = True
            self._upstream.end(self._lane, is_over=False)


def _refused(head: _Head, error: dict[str, Any], data: bytes) -> WireResponse:
    """Return an error as the answer that it would have been over HTTP."""
    told = head.headers if isinstance(head.headers, dict) else error.get("headers")
    headers = {
        str(name).lower(): str(value)
        for name, value in (told.items() if isinstance(told, dict) else ())
    }
    status = head.status if isinstance(head.status, int) and 400 <= head.status < 600 else 400
    body = msgspec.json.encode({"error": error}) if error else data

    async def read() -> bytes:
        return body

    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return WireResponse(
        status, headers, chunks(), read, lambda: None, ((b"content-type", b"application/json"),),
        content_type="application/json",
    )  # fmt: skip


def _read_head(data: bytes) -> _Head:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Head()
