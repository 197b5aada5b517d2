"""The transport of blocking clients: their calls run in their router's loop, in another thread."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self

from apikeyrouter.integrations.calls import BrokenStreamError, Call, Calls, Reply, ReplyStream
from apikeyrouter.integrations.libraries import library_of, stream_class
from apikeyrouter.integrations.router_loop import RouterLoop, borrow_loop, return_loop, run_in
from apikeyrouter.integrations.transport import broken, call_of, late
from apikeyrouter.router import ApiKeyRouter


class SyncRouterTransport:
    """Carries the requests of a blocking `httpx` or `httpx2` client over a router's keys.

    Any number of threads may use it, and several of them one router.

    Args:
        loop: In which the router runs, in another thread. If `None`, a thread is started for the
            router; its clients share it, and closing the last of them ends it.
    """

    def __init__(
        self,
        router: ApiKeyRouter,
        *,
        loop: asyncio.AbstractEventLoop | RouterLoop | None = None,
    ) -> None:
        self._calls = Calls(router)
        self._router: ApiKeyRouter | None = router if loop is None else None
        if loop is None:
            loop = borrow_loop(router)
        self._loop = loop.loop if isinstance(loop, RouterLoop) else loop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the thread that was started for it. Closing twice is nothing."""
        router, self._router = self._router, None
        if router is not None:
            return_loop(router)

    def handle_request(self, request: Any) -> Any:
        """Answer one request; a streamed answer must be read to its end or closed.

        Raises:
            httpx.ReadTimeout: There was no answer within the client's own timeout.
        """
        library = library_of(request)
        call = call_of(request, request.read())
        try:
            reply = run_in(self._loop, self._answer(call))
        except TimeoutError as error:
            raise late(library, request, call.patience_s) from error
        if reply.stream is None:
            return library.Response(reply.status, headers=reply.headers, content=reply.body)
        kind = stream_class(_SyncStream, library, "SyncByteStream")
        stream = kind(reply.stream, self._loop, library, request, call.patience_s)
        return library.Response(reply.status, headers=reply.headers, stream=stream)

    async def _answer(self, call: Call) -> Reply:
        async with asyncio.timeout(call.patience_s):
            return await self._calls.answer(call)


class _SyncStream:
    """An answer's bytes, pulled out of the router's loop chunk by chunk."""

    def __init__(
        self,
        stream: ReplyStream,
        loop: asyncio.AbstractEventLoop,
        library: Any,
        request: Any,
        patience_s: float | None,
    ) -> None:
        self._stream = stream
        self._loop = loop
        self._library = library
        self._request = request
        self._patience_s = patience_s

    def __iter__(self) -> Iterator[bytes]:
        try:
            while chunk := self._next():
                yield chunk
        finally:
            self.close()

    def close(self) -> None:
        if not self._stream.is_over and self._loop.is_running():
            with suppress(RuntimeError):
                # A loop that ends by then has closed it, as whatever else ran in it.
                self._loop.call_soon_threadsafe(self._stream.close)

    def _next(self) -> bytes:
        try:
            return run_in(self._loop, self._read())
        except TimeoutError as error:
            raise late(self._library, self._request, self._patience_s) from error
        except BrokenStreamError as error:
            raise broken(self._library, self._request, error) from error

    async def _read(self) -> bytes:
        async with asyncio.timeout(self._patience_s):
            return await self._stream.next()
