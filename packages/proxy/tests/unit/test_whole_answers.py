"""An answer that is there as a whole is one write; what is odd about one is uvicorn's concern."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from apikeyrouter_proxy.http_protocol import FrontProtocol

pytestmark = pytest.mark.unit

REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n"
TEXT = (b"content-type", b"text/plain")
LENGTH = (b"content-length", b"3")


class Recording(asyncio.Transport):
    """Notes what reaches the connection; a list of pieces is one write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = self.was_closed = False

    def write(self, data: Any) -> None:
        self.writes.append(data)

    def writelines(self, pieces: Any) -> None:
        self.writes.append(b"".join(pieces))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def resume_reading(self) -> None:
        pass


async def answered(request: bytes, headers: Any, *bodies: bytes, **more: Any) -> Recording:
    """Let an application send this in answer; return what was written."""
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for number, body in enumerate(bodies, 1):
                is_last = number == len(bodies)
                await send({"type": "http.response.body", "body": body, "more_body": not is_last})
        finally:
            done.set()

    config = uvicorn.Config(app, log_config=None, access_log=False, proxy_headers=False, **more)
    config.load()
    protocol = FrontProtocol(config=config, server_state=ServerState(), app_state={})
    transport = Recording()
    protocol.connection_made(transport)
    protocol.data_received(request + b"\r\n")
    await done.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    transport.was_closed = transport.is_closed
    protocol.connection_lost(None)
    return transport


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n"


@pytest.mark.parametrize(
    ("request_", "written", "closes"),
    [
        (REQUEST, HEAD + b"\r\nabc", False),
        (REQUEST.replace(b"GET", b"HEAD"), HEAD + b"\r\n", False),
        (REQUEST + b"connection: close\r\n", HEAD + b"connection: close\r\n\r\nabc", True),
    ],
    ids=["whole", "head alone", "the last one"],
)
async def test_whole_answer_is_one_write(request_: bytes, written: bytes, closes: bool) -> None:
    seen = await answered(request_, [TEXT, LENGTH], b"abc")
    assert ([written], closes) == (seen.writes, seen.was_closed)


@pytest.mark.parametrize(
    ("headers", "bodies", "ends_with"),
    [
        ([TEXT, LENGTH], (b"a", b"bc"), b"\r\n\r\nabc"),
        ([TEXT], (b"abc",), b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        ([TEXT, LENGTH, (b"connection", b"close")], (b"abc",), b"connection: close\r\n\r\nabc"),
    ],
    ids=["in parts", "of untold length", "says that it is the last"],
)
async def test_unusual_answer_comes_too(headers: Any, bodies: Any, ends_with: bytes) -> None:
    seen = b"".join((await answered(REQUEST, headers, *bodies)).writes)
    assert seen.startswith(b"HTTP/1.1 200 OK\r\n")
    assert seen.endswith(ends_with)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([TEXT, LENGTH], b"more than three"),
        ([(b"x-a", b"1\r\nx-b: 2"), LENGTH], b"abc"),
        ([(b"x-a", b"\x00"), LENGTH], b"abc"),
    ],
    ids=["wrong length", "a line in a header", "a control character"],
)
async def test_answer_that_is_none_is_not_sent(headers: Any, body: bytes) -> None:
    seen = await answered(REQUEST, headers, body)
    assert seen.was_closed
    assert not any(body in written or b"x-b" in written for written in seen.writes)
