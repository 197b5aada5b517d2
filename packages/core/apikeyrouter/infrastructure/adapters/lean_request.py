"""One request by the parts that the client library's session is made of.

A session merges headers, cookies, timers, traces, redirects and middlewares into
every request, and makes an object of request and answer each, none of which is
wanted here. What is the same for all requests to one URL is made once; of a request
are made its head, and of its answer what is read of it. That costs half as much. The
parts are the library's own and not promised to stay, so this way is taken only with
releases that it is known to work with, and `Transport` takes the session's way with
any other.
"""

import asyncio
from collections.abc import Mapping
from functools import cached_property
from typing import Final

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.http_writer import _serialize_headers
from yarl import URL

#: Releases whose parts are known to fit.
IS_KNOWN: Final = aiohttp.__version__.startswith("3.14.")
#: Headers that the client library would add; what is sent is the caller's choice.
ADDED: Final = frozenset({"user-agent", "accept", "accept-encoding", "content-type"})
#: Headers that would change how a request is sent; that is the session's business.
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "expect"})
#: Together with a body of up to so many bytes the head is sent as one piece.
_WORTH_COPYING_BYTES = 2**14
_SWITCHING = 101
_NO_TIMER = TimerNoop()


def is_usual(headers: Mapping[str, str]) -> bool:
    """Tell whether a request is to be sent with these headers and nothing else, as most are."""
    names = headers.keys()
    return names >= ADDED and names.isdisjoint(_FRAMING)


class Target(aiohttp.ClientRequest):
    """What all requests to one URL by one method have in common, made once.

    To the library it is a request, so that connections can be made for it.

    Attributes:
        line: The first line of a head.
        own_headers: The host, and what belongs to a request of this method without a body.
    """

    def __init__(self, method: str, url: URL, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(method, url, loop=loop, skip_auto_headers=ADDED)
        self.line = f"{self.method} {self.url.raw_path_qs} HTTP/1.1"
        self.own_headers = dict(self.headers)

    @cached_property
    def connection_key(self) -> ConnectionKey:
        """What tells connections apart."""
        return super().connection_key


class LeanResponse:
    """An answer whose head has come. Its connection goes back at the end of its body."""

    __slots__ = ("_body", "_connection", "content", "headers", "raw_headers", "status")

    def __init__(
        self, connection: Connection, message: RawResponseMessage, content: aiohttp.StreamReader
    ) -> None:
        self.status = message.code
        self.headers = message.headers
        self.raw_headers = message.raw_headers
        self.content = content
        self._connection: Connection | None = connection
        self._body: bytes | None = None
        content.on_eof(self._release)

    async def read(self) -> bytes:
        """Return all of the body that is not read yet; asked again, the same."""
        if self._body is None:
            content = self.content
            try:
                # Most bodies have come with their heads.
                is_there = content.is_eof()
                self._body = content.read_nowait() if is_there else await content.read()
            except BaseException:
                self.close()
                raise
        return self._body

    def close(self) -> None:
        """Read no more; the connection is closed unless the body has come to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._body is None and self.content.exception() is None:
            self.content.set_exception(aiohttp.ClientConnectionError("Connection closed"))

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()


async def send_lean(
    session: aiohttp.ClientSession,
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    *,
    read_ahead_bytes: int,
    longest_header_bytes: int,
) -> LeanResponse:
    """Send one request over a connection of *session*; return its answer once the head is there.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: As the session itself does.
    """
    connector = session.connector
    if connector is None:
        raise RuntimeError("Session is closed")
    headers = {**target.own_headers, **headers}
    if body:
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
    if connector.force_close:
        headers[hdrs.CONNECTION] = "close"
    head = _serialize_headers(target.line, headers)  # type: ignore[arg-type] # reads items alone
    try:
        connection = await connector.connect(target, traces=[], timeout=session.timeout)
    except TimeoutError as error:
        raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {target.url}") from error
    try:
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(
            timer=_NO_TIMER,
            skip_payload=target.method == hdrs.METH_HEAD,
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=read_ahead_bytes,
            max_line_size=longest_header_bytes,
            max_field_size=longest_header_bytes,
        )
        _write(protocol, head, body)
        message, content = await _answer_of(protocol, target)
    except BaseException:
        connection.close()
        raise
    return LeanResponse(connection, message, content)


def _write(protocol: ResponseHandler, head: bytes, body: bytes) -> None:
    """Write a request at once. What the system does not take waits in the transport."""
    transport = protocol.transport
    if transport is None or transport.is_closing():
        raise aiohttp.ClientConnectionResetError("Cannot write to closing transport")
    if len(body) <= _WORTH_COPYING_BYTES:
        transport.write(head + body)
    else:
        transport.writelines((head, body))


async def _answer_of(
    protocol: ResponseHandler, target: Target
) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    """Wait for the head of the answer proper; what comes before it tells nothing."""
    while True:
        try:
            message, content = await protocol.read()
        except HttpProcessingError as error:
            raise aiohttp.ClientResponseError(
                target.request_info, (),
                status=error.code, message=error.message, headers=error.headers,
            ) from error  # fmt: skip
        if message.code >= 200 or message.code == _SWITCHING:
            return message, content
