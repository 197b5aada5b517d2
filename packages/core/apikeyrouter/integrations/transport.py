"""The transport of asynchronous clients; it belongs to the event loop in which its router runs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

from apikeyrouter.integrations.calls import BrokenStreamError, Call, Calls, ReplyStream
from apikeyrouter.integrations.libraries import library_of, stream_class
from apikeyrouter.router import ApiKeyRouter


class RouterTransport:
    """Carries the requests of an `httpx` or `httpx2` client over a router's keys.

    Whatever credential the client has stays here. Closing the client leaves the router as it is.
    """

    def __init__(self, router: ApiKeyRouter) -> None:
        self._calls = Calls(router)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Do nothing: connections belong to the router."""

    async def handle_async_request(self, request: Any) -> Any:
        """Answer one request; a streamed answer must be read to its end or closed.

        Raises:
            httpx.ReadTimeout: There was no answer within the client's own timeout.
        """
        library = library_of(request)
        call = call_of(request, await request.aread())
        try:
            async with asyncio.timeout(call.patience_s):
                reply = await self._calls.answer(call)
        except TimeoutError as error:
            raise late(library, request, call.patience_s) from error
        if reply.stream is None:
            return library.Response(reply.status, headers=reply.headers, content=reply.body)
        kind = stream_class(_AsyncStream, library, "AsyncByteStream")
        stream = kind(reply.stream, library, request, call.patience_s)
        return library.Response(reply.status, headers=reply.headers, stream=stream)


class _AsyncStream:
    """An answer's bytes, as a client of *library* reads them."""

    def __init__(
        self, stream: ReplyStream, library: Any, request: Any, patience_s: float | None
    ) -> None:
        self._stream = stream
        self._library = library
        self._request = request
        self._patience_s = patience_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._next():
                yield chunk
        finally:
            # A reader that is cancelled or gives up may never close it.
            self._stream.close()

    async def aclose(self) -> None:
        self._stream.close()

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._stream.next()
        except TimeoutError as error:
            raise late(self._library, self._request, self._patience_s) from error
        except BrokenStreamError as error:
            raise broken(self._library, self._request, error) from error


def call_of(request: Any, body: bytes) -> Call:
    """Return what a client's *request* says."""
    path, _, query = request.url.raw_path.decode("latin-1").partition("?")
    timeouts = request.extensions.get("timeout") or {}
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    return Call(request.method, path, query, headers, body, timeouts.get("read"))


def late(library: Any, request: Any, patience_s: float | None) -> Exception:
    """Return the error of a client whose own timeout has passed."""
    message = f"nothing came within {patience_s} s, the client's own timeout"
    error: Exception = library.ReadTimeout(message, request=request)
    return error


def broken(library: Any, request: Any, why: BrokenStreamError) -> Exception:
    """Return the error of a stream that ended too early."""
    error: Exception = library.RemoteProtocolError(str(why), request=request)
    return error
