"""One pooled HTTP client: bytes streamed both ways, nothing interpreted.

No redirects, no cookies, no decompression, no timers of its own on the hot
path: deadlines belong to the caller. A body that ends early raises. Closing a
response whose body was not read to its end closes the connection, which is
how a client that left cancels the provider's call.

A pooled connection may have died unnoticed. A request that finds it so, and
gets no byte of an answer, is sent once more over a new connection.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from io import BytesIO
from typing import Self

import aiohttp
from aiohttp.connector import Connection
from aiohttp.hdrs import CONTENT_TYPE
from yarl import URL

from apikeyrouter.domain.interfaces.wire import UpgradeRefusedError, WireResponse, WireSocket
from apikeyrouter.domain.key_material import masked_in
from apikeyrouter.infrastructure.adapters.connection_options import (
    ConnectionOptions,
    ProxyChoice,
    trusted_context,
)
from apikeyrouter.infrastructure.adapters.lean_request import (
    ADDED,
    IS_KNOWN,
    LeanResponse,
    Target,
    is_usual,
    send_lean,
)

#: What can go wrong between us and a provider.
TRANSPORT_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError)

CONNECT_TIMEOUT_S = 10.0
_DNS_TTL_S = 60
_KEEP_ALIVE_S = 75.0
_READ_AHEAD_BYTES = 2**16
#: A chunk beyond this was waiting for its reader, and whoever sent it was held back.
HELD_BACK_BYTES = 2 * _READ_AHEAD_BYTES
_LONGEST_HEADER_BYTES = 2**16
#: A body beyond this is written in pieces, so that other requests get their turn.
_LARGE_BODY_BYTES = 2**20
#: URLs that something is kept of.
_URLS_KEPT = 1024
#: A longer message closes its WebSocket.
_LONGEST_MESSAGE_BYTES = 2**26
#: How a connection ends that the other side has closed, before or while it is written to.
_DROPPED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)
#: Whether the last connection of this task had been used before.
_is_reused: ContextVar[bool] = ContextVar("is_reused", default=False)


class Transport:
    """A pool of connections, made when it is first used, anew for another event loop.

    It may be made outside of any loop. After `close` it can be used again.

    Args:
        options: Proxy and trusted authorities; the environment's and the system's if `None`.
        is_lean: Take the short way where the client library is known to have it.

    Raises:
        ConfigurationError: The proxy or the file of authorities is none.
    """

    def __init__(self, options: ConnectionOptions | None = None, *, is_lean: bool = True) -> None:
        options = options or ConnectionOptions()
        self._proxies = ProxyChoice(options.proxy)
        self._tls = trusted_context(options.ca_file)
        self._is_lean = is_lean and IS_KNOWN
        self._targets: dict[tuple[str, str], Target] = {}
        self._session: aiohttp.ClientSession | None = None
        #: Its connections are never used again.
        self._unpooled: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> WireResponse:
        """Send one request; return its answer once the head is there.

        Args:
            url: Absolute and already encoded.
            headers: With lower-case names; sent as they are, beside `Host` and `Content-Length`.

        Raises:
            aiohttp.ClientError, OSError, TimeoutError: No answer came; reading
                the answer raises the same when it ends early.
        """
        session = self._session
        if session is None or self._loop is not asyncio.get_running_loop():
            session = await self._open()
        try:
            response = await self._send(session, method, url, headers, body)
        except _DROPPED as error:
            if not _is_stale(error):
                raise
            response = await self._send(self._without_pool(), method, url, headers, body)
        return WireResponse(
            status=response.status,
            headers=response.headers,
            chunks=_Chunks(response.content),
            read=response.read,
            close=response.close,
            raw_headers=response.raw_headers,
            content_type=response.headers.get(CONTENT_TYPE, ""),
        )

    async def connect(self, url: str, headers: Mapping[str, str], secret: str) -> WireSocket:
        """Open a WebSocket, whose messages do not repeat *secret*.

        Raises:
            UpgradeRefusedError: It was answered, but not opened.
            aiohttp.ClientError, OSError, TimeoutError: No answer came.
        """
        session = self._session
        if session is None or self._loop is not asyncio.get_running_loop():
            session = await self._open()
        proxy = self._proxies.for_url(_url(url)) if self._proxies else None
        try:
            socket = await session.ws_connect(
                _url(url), headers=headers, max_msg_size=_LONGEST_MESSAGE_BYTES, autoclose=True,
                proxy=proxy.url if proxy else None,
                proxy_headers=proxy.headers if proxy else None,
            )  # fmt: skip
        except aiohttp.WSServerHandshakeError as error:
            raise UpgradeRefusedError(error.status, error.headers or {}) from None
        return _Socket(socket, secret.encode())

    async def close(self) -> None:
        """Close all connections; answers that are still being read break off."""
        sessions, self._session, self._unpooled = (self._session, self._unpooled), None, None
        if self._loop is not None:
            await _close(sessions, self._loop)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> aiohttp.ClientResponse | LeanResponse:
        proxy = self._proxies.for_url(_url(url)) if self._proxies else None
        may_be_lean = self._is_lean and proxy is None and len(body) <= _LARGE_BODY_BYTES
        if may_be_lean and is_usual(headers):
            return await send_lean(
                session, self._target(method, url), headers, body,
                read_ahead_bytes=_READ_AHEAD_BYTES, longest_header_bytes=_LONGEST_HEADER_BYTES,
            )  # fmt: skip
        if proxy is not None and _url(url).scheme == "http":
            headers = {**headers, **proxy.headers}
        return await session.request(
            method, _url(url), data=_payload(body), headers=headers, allow_redirects=False,
            skip_auto_headers=[name for name in ADDED if name not in headers] or None,
            proxy=proxy.url if proxy else None, proxy_headers=proxy.headers if proxy else None,
        )  # fmt: skip

    def _target(self, method: str, url: str) -> Target:
        target = self._targets.get((method, url))
        if target is None:
            if len(self._targets) >= _URLS_KEPT:
                self._targets.clear()
            target = Target(method, _url(url), asyncio.get_running_loop())
            self._targets[method, url] = target
        return target

    async def _open(self) -> aiohttp.ClientSession:
        """Make a session for the running loop, and close those of the loop before."""
        before, its_loop = (self._session, self._unpooled), self._loop
        self._loop, self._unpooled = asyncio.get_running_loop(), None
        self._targets.clear()
        self._session = session = self._make_session()
        if its_loop is not None:
            await _close(before, its_loop)
        return session

    def _without_pool(self) -> aiohttp.ClientSession:
        if self._unpooled is None:
            self._unpooled = self._make_session(is_pooled=False)
        return self._unpooled

    def _make_session(self, *, is_pooled: bool = True) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(
                limit=0,
                ttl_dns_cache=_DNS_TTL_S,
                force_close=not is_pooled,
                keepalive_timeout=_KEEP_ALIVE_S if is_pooled else None,
                ssl=self._tls or True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            # Bounds the making of a connection only: a pooled one costs no timer.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            read_bufsize=_READ_AHEAD_BYTES,
            max_line_size=_LONGEST_HEADER_BYTES,
            max_field_size=_LONGEST_HEADER_BYTES,
        )


class _Socket(WireSocket):
    """A WebSocket of the client library."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, secret: bytes) -> None:
        self._socket = socket
        self._secret = secret

    async def send(self, text: str) -> None:
        """Send a message."""
        await self._socket.send_str(text)

    async def receive(self) -> bytes | None:
        """Return the next message; `None` once it is closed."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            text: str = message.data
            return masked_in(text.encode(), self._secret)
        if message.type is aiohttp.WSMsgType.BINARY:
            data: bytes = message.data
            return masked_in(data, self._secret)
        return None

    async def close(self) -> None:
        """Close it."""
        await self._socket.close()


class _Connector(aiohttp.TCPConnector):
    """A pool that tells whether a connection was used before."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the library's own signature
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        _is_reused.set(getattr(protocol, "is_used", False))
        vars(protocol)["is_used"] = True
        return connection


class _Chunks(AsyncIterator[bytes]):
    """The body as it comes."""

    __slots__ = ("_content",)

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._content.readany()
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _is_stale(error: Exception) -> bool:
    """Tell whether a pooled connection had died, so that its request was not answered at all."""
    if isinstance(error, aiohttp.ClientConnectorError) or not _is_reused.get():
        return False
    # The beginning of an answer stands in the place of the message.
    is_begun = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(
        error.message, str
    )
    return not is_begun


async def _close(
    sessions: Iterable[aiohttp.ClientSession | None], loop: asyncio.AbstractEventLoop
) -> None:
    """Close *sessions*, whose connections belong to *loop*: this one, a dead or another one."""
    for session in sessions:
        if session is None:
            continue
        if loop is asyncio.get_running_loop() or loop.is_closed():
            await session.close()
        else:
            asyncio.run_coroutine_threadsafe(session.close(), loop)


def _payload(body: bytes) -> bytes | BytesIO | None:
    if len(body) > _LARGE_BODY_BYTES:
        return BytesIO(body)
    return body or None


@lru_cache(maxsize=_URLS_KEPT)
def _url(url: str) -> URL:
    return URL(url, encoded=True)
