"""The beginning of a stream, held back until it carries something.

Real content is never delayed. A beginning that carries nothing is held for
seconds at most, and for an instant only when comments show that somebody wants
the connection kept alive.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

from apikeyrouter.dialects.dialect import Verdict
from apikeyrouter.dialects.streams.content_coding import is_plain
from apikeyrouter.dialects.streams.stream_head import Form, StreamHead, form_of
from apikeyrouter.dialects.streams.unpacking import unpacker_of
from apikeyrouter.domain.interfaces.wire import WireResponse
from apikeyrouter.request.deadline import Deadline

_LONGEST_HOLD_S = 3.0
_LONGEST_HOLD_OF_COMMENTS_S = 0.2


class HeldHead:
    """What has come of an answer before it is known whether it is one.

    Args:
        judge: Tells what one event carries.
        is_chunked: It should be events that can be judged; else any event carries something.
        takes_arrays: It may be an array, whose items are judged like events.

    Attributes:
        raw: All that has come, as it came.
        is_over: Nothing more comes.
        is_blind: It is compressed in a way that cannot be read here.
    """

    def __init__(
        self,
        response: WireResponse,
        *,
        judge: Callable[[bytes], Verdict],
        is_chunked: bool,
        takes_arrays: bool = False,
    ) -> None:
        self._chunks: AsyncIterator[bytes] = response.chunks
        self._is_chunked = is_chunked
        self._takes_arrays = takes_arrays
        self._head = StreamHead(judge, any_event=not is_chunked, takes_arrays=takes_arrays)
        encoding = response.headers.get("content-encoding")
        self._unpacker = None if is_plain(encoding) else unpacker_of(encoding or "")
        self.is_blind = self._unpacker is None and not is_plain(encoding)
        self.raw = b""
        self.is_over = False

    @property
    def verdict(self) -> Verdict:
        """What is known of it."""
        return self._head.verdict

    @property
    def failed_event(self) -> bytes:
        """The event that is an error."""
        return self._head.event

    @property
    def form(self) -> Form:
        """What it is by its first bytes; events where these cannot tell or need not."""
        form = self._form()
        if self.is_blind or (form is Form.TEXT and not self._is_chunked):
            return Form.EVENTS
        return form

    @property
    def is_empty(self) -> bool:
        """Whether it has ended without carrying anything."""
        if not self.is_over or self.is_blind or self.verdict is not Verdict.NOTHING:
            return False
        return self._is_chunked or not self.raw

    async def read(self) -> None:
        """Read on until the answer is judged, ends, or has been held back long enough."""
        began_at = 0.0
        while True:
            held_until = began_at + self._longest_s() if began_at else None
            chunk = await self._next(held_until)
            if chunk is None or self._is_judged(chunk):
                return
            began_at = began_at or asyncio.get_running_loop().time()

    async def rest(self) -> bytes:
        """Return the whole answer, read to its end."""
        return self.raw + b"".join([chunk async for chunk in self._chunks])

    def _is_judged(self, chunk: bytes) -> bool:
        self.raw += chunk
        if self.is_blind or self._carries(chunk):
            return True
        return self._form() in (Form.WHOLE, Form.TEXT)

    def _form(self) -> Form:
        return form_of(self._head.text, takes_arrays=self._takes_arrays)

    def _longest_s(self) -> float:
        return _LONGEST_HOLD_OF_COMMENTS_S if self._head.has_comment else _LONGEST_HOLD_S

    def _carries(self, chunk: bytes) -> bool:
        """Tell whether the beginning is judged; no more of it is unpacked than that takes."""
        if self._unpacker is None:
            return self._head.feed(chunk)
        try:
            return any(self._head.feed(text) for text in self._unpacker.steps(chunk))
        except ValueError:
            self.is_blind = True
            return True

    async def _next(self, held_until: float | None) -> bytes | None:
        """Return the next chunk; `None` at the end, and when it was held back long enough."""
        try:
            if held_until is None:
                return await self._chunks.__anext__()
            limit = Deadline(held_until)
            try:
                with limit:
                    return await self._chunks.__anext__()
            except TimeoutError:
                if not limit.is_over:
                    raise
                return None
        except StopAsyncIteration:
            self.is_over = True
            self._head.end()
            return None
