"""Request bodies: read within bounds, counted as long as they are held.

A body is held while its request waits or is on its way; all that are held
together have a limit, so that no number of clients fills the memory.
"""

import asyncio

from apikeyrouter.service import READABLE_CODINGS, BadBodyError, unpack, unpacker_of
from apikeyrouter_proxy.dataplane.asgi import Message, Receive, Request
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer, refusal, retry_hints
from apikeyrouter_proxy.memory import memory_bytes

#: Share of the memory that bodies may take where the operator says nothing, and at most.
_SHARE_OF_MEMORY = 16
_MOST_BY_DEFAULT_BYTES = 256 * 2**20
_ROOM_COMES_S = 1.0


def held_bytes_by_default() -> int:
    """Return how many bytes of bodies are held at once where the operator says nothing."""
    return min(memory_bytes() // _SHARE_OF_MEMORY, _MOST_BY_DEFAULT_BYTES)


class ClientGoneError(Exception):
    """The client left before its request was read."""


class RefusedBodyError(Exception):
    """The body is not taken.

    Attributes:
        is_unread: Some of it may still be coming.
    """

    def __init__(self, answer: ErrorAnswer, *, is_unread: bool) -> None:
        super().__init__()
        self.answer = answer
        self.is_unread = is_unread


class Body:
    """One request's body.

    Attributes:
        received: As it came.
        content: The JSON in it: the same, or unpacked.
    """

    __slots__ = ("_held_bytes", "_reader", "content", "received")

    def __init__(self, reader: "BodyReader") -> None:
        self._reader = reader
        self._held_bytes = 0
        self.received = self.content = b""

    @property
    def is_packed(self) -> bool:
        """Whether it came compressed."""
        return self.content is not self.received

    def hold(self, size: int) -> None:
        """Count *size* bytes more.

        Raises:
            RefusedBodyError: They are too many for one body, or there is no room now.
        """
        self._reader.reserve(size)
        self._held_bytes += size

    def release(self) -> None:
        """Let go of it; releasing twice is nothing."""
        self._reader.held_bytes -= self._held_bytes
        self._held_bytes = 0
        self.received = self.content = b""


class BodyReader:
    """Reads bodies for all endpoints.

    Args:
        most_bytes: Of one body, as it came and unpacked.
        most_held_bytes: Of all bodies at once; a sixteenth of the memory, at most 256 MiB, if
            `None`. One body always finds room.
        patience_s: How long a client may take to send one.

    Attributes:
        held_bytes: Of bodies that are not released.
    """

    def __init__(self, *, most_bytes: int, most_held_bytes: int | None, patience_s: float) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0
        limit = held_bytes_by_default() if most_held_bytes is None else most_held_bytes
        # Room for one that is packed and unpacked.
        self._most_held = max(limit, 2 * most_bytes)
        self._patience_s = patience_s

    async def read(self, request: Request, receive: Receive) -> Body:
        """Read a body; whoever gets it must release it.

        Raises:
            RefusedBodyError: It is not taken.
            BadBodyError: It is compressed, and damaged.
            ClientGoneError: The client left.
        """
        headers = request.headers
        coding = _coding_of(headers) if b"content-encoding" in headers else ""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit():
            self._check_declared(int(declared))
        body = Body(self)
        try:
            message = await receive()
            if message.get("more_body"):
                received = await self._receive_in_time(body, receive, message["body"])
            else:
                received = self._take_whole(body, message)
            body.received = body.content = received
            if coding:
                body.content = await self._unpack(body, coding)
        except BaseException:
            body.release()
            raise
        return body

    def reserve(self, size: int) -> None:
        """Count *size* bytes more as held, or raise `RefusedBodyError`."""
        if self.held_bytes + size > self._most_held:
            raise RefusedBodyError(_NO_ROOM, is_unread=True)
        self.held_bytes += size

    def _check_declared(self, size: int) -> None:
        if size > self.most_bytes:
            raise RefusedBodyError(self._too_large(), is_unread=True)
        if self.held_bytes + size > self._most_held:
            raise RefusedBodyError(_NO_ROOM, is_unread=True)

    def _take_whole(self, body: Body, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        content: bytes = message.get("body", b"")
        if len(content) > self.most_bytes:
            raise RefusedBodyError(self._too_large(), is_unread=False)
        body.hold(len(content))
        return content

    async def _receive_in_time(self, body: Body, receive: Receive, first: bytes) -> bytes:
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._receive_rest(body, receive, first)
        except TimeoutError:
            raise RefusedBodyError(_TOO_SLOW, is_unread=True) from None

    async def _receive_rest(self, body: Body, receive: Receive, first: bytes) -> bytes:
        parts, size, is_whole = [first], len(first), False
        body.hold(size)
        while not is_whole:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            parts.append(message.get("body", b""))
            is_whole = not message.get("more_body")
            size += len(parts[-1])
            if size > self.most_bytes:
                raise RefusedBodyError(self._too_large(), is_unread=not is_whole)
            body.hold(len(parts[-1]))
        return b"".join(parts)

    async def _unpack(self, body: Body, coding: str) -> bytes:
        unpacker, size = unpacker_of(coding), 0
        assert unpacker is not None  # noqa: S101 - no other coding comes this far

        def hold(more: int) -> None:
            nonlocal size
            size += more
            if size > self.most_bytes:
                raise RefusedBodyError(self._too_large(), is_unread=False)
            body.hold(more)

        try:
            content = await unpack(body.received, unpacker, hold)
        except ValueError as error:
            raise _damaged(coding, str(error)) from None
        except RefusedBodyError as error:
            # All of it is here.
            error.is_unread = False
            raise
        if not unpacker.is_whole:
            raise _damaged(coding, "its end is missing")
        return content

    def _too_large(self) -> ErrorAnswer:
        message = f"the body is larger than {self.most_bytes:,} bytes"
        return refusal(413, message, code="request_too_large")


def _coding_of(headers: dict[bytes, bytes]) -> str:
    """Return what a body is packed by, empty if by nothing; raise if it cannot be read."""
    coding = headers[b"content-encoding"].decode("latin-1").strip().lower()
    if coding in ("", "identity"):
        return ""
    if unpacker_of(coding) is None:
        raise RefusedBodyError(_unknown_coding(coding), is_unread=True)
    return coding


def _unknown_coding(coding: str) -> ErrorAnswer:
    answer = refusal(
        415,
        f"bodies with Content-Encoding '{coding[:40]}' cannot be read: "
        f"send one of {READABLE_CODINGS}, or no compression at all",
        code="unsupported_content_encoding",
    )
    answer.headers = [(b"accept-encoding", READABLE_CODINGS.encode())]
    return answer


def _damaged(coding: str, why: str) -> BadBodyError:
    return BadBodyError(f"the body is not whole as Content-Encoding {coding} says: {why}")


_NO_ROOM = refusal(
    503,
    "too many bytes of requests are waiting or on their way; send the request again in a moment",
    kind="service_unavailable_error",
    code="request_bytes_exhausted",
)
_NO_ROOM.headers = retry_hints(_ROOM_COMES_S)
_TOO_SLOW = refusal(408, "the body did not come in time", code="request_timeout")
