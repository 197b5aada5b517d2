"""One request by the parts that the client library's session is made of.

A session merges headers, cookies, timers, traces, redirects and
middlewares into every request, none of which is wanted here; without them a
request costs a fifth less. The parts are the library's own and not promised to
stay, so this way is taken only with releases that it is known to work with, and
`Transport` takes the session's way with any other.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop
from aiohttp.http_writer import StreamWriter
from yarl import URL

from apikeyrouter.infrastructure.adapters.connection_options import Proxy

#: Releases whose parts are known to fit.
IS_KNOWN: Final = aiohttp.__version__.startswith("3.14.")
_NO_TIMER = TimerNoop()


class _Request(aiohttp.ClientRequest):
    """Writes its head and its body at once, where the library makes a task that writes the body.

    What the system does not take at once waits in the transport; an answer may come before.
    """

    whole_body: bytes | None = None

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        """Write the request; return its answer, of which nothing has come yet."""
        protocol = conn.protocol
        if protocol is None:
            raise aiohttp.ServerDisconnectedError
        if self.whole_body is None:
            return await super().send(conn)
        is_absolute = self.proxy and not self.is_ssl()
        target = str(self.url) if is_absolute else self.url.raw_path_qs
        writer = StreamWriter(protocol, self.loop)
        await writer.write_headers(f"{self.method} {target} HTTP/1.1", self.headers)
        await writer.write(self.whole_body, drain=False)
        writer.set_eof()
        return aiohttp.ClientResponse(
            self.method, self.original_url,
            writer=None, continue100=None, timer=_NO_TIMER, request_info=self.request_info,
            traces=[], loop=self.loop, session=self._session, stream_writer=writer,
        )  # fmt: skip


async def send_lean(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    proxy: Proxy | None,
    read_ahead_bytes: int,
    longest_header_bytes: int,
) -> aiohttp.ClientResponse:
    """Send one request over a connection of *session*; return its answer's head.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: As the session itself does.
    """
    connector = session.connector
    if connector is None:
        raise RuntimeError("Session is closed")
    if body is not None:
        headers = {**headers, hdrs.CONTENT_LENGTH: str(len(body))}
        if connector.force_close:
            headers[hdrs.CONNECTION] = "close"
    request = _Request(
        method, url,
        headers=headers, loop=asyncio.get_running_loop(), session=session,
        timer=_NO_TIMER, response_class=aiohttp.ClientResponse, traces=[],
        proxy=proxy.url if proxy else None, proxy_headers=proxy.headers if proxy else None,
    )  # fmt: skip
    request.whole_body = body
    try:
        connection = await connector.connect(request, traces=[], timeout=session.timeout)
    except TimeoutError as error:
        raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {url}") from error
    try:
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ServerDisconnectedError
        protocol.set_response_params(
            timer=_NO_TIMER,
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=read_ahead_bytes,
            max_line_size=longest_header_bytes,
            max_field_size=longest_header_bytes,
        )
        response = await request.send(connection)
        try:
            await response.start(connection)
        except BaseException:
            response.close()
            raise
    except BaseException:
        connection.close()
        raise
    return response
