"""Bytes over real sockets: streamed, cut, cancelled, large, and many at once."""

import asyncio
import json
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from apikeyrouter.domain.interfaces.wire import WireResponse
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS, Transport

pytestmark = pytest.mark.integration

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve every path by *handler* on a free port; yield the base URL."""
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


class Complete(Transport):
    """Sends every header that the client library would add, as almost all callers do."""

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> WireResponse:
        return await super().request(method, url, {**USUAL, **headers}, body)


@pytest.fixture(params=[True, False], ids=["the short way", "the session's way"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    made = Complete(is_lean=True) if request.param else Transport(is_lean=False)
    assert made._is_lean is request.param
    yield made
    await made.close()


#: What callers send beside their own headers.
USUAL = {
    "user-agent": "tests", "accept": "*/*", "accept-encoding": "identity",
    "content-type": "application/json",
}  # fmt: skip


async def _cut_off(request: web.Request) -> web.StreamResponse:
    """Promise a hundred bytes, send ten, and hang up."""
    response = web.StreamResponse(headers={"content-length": "100"})
    await response.prepare(request)
    await response.write(b"0123456789")
    assert request.transport is not None
    request.transport.close()
    return response


async def test_answer_comes_with_status_headers_and_body(transport: Transport) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=429, body=b"no", headers={"X-RateLimit-Limit-Requests": "7"})

    async with serving(handler) as url:
        response = await transport.request("POST", f"{url}/v1/x", {}, b"{}")
        assert (response.status, await response.read()) == (429, b"no")
        assert response.headers.get("x-ratelimit-limit-requests") == "7"
        assert (b"X-RateLimit-Limit-Requests", b"7") in response.raw_headers


async def test_request_goes_out_as_it_was_given(transport: Transport) -> None:
    seen: dict[str, object] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(
            method=request.method,
            raw_path=request.raw_path,
            body=await request.read(),
            headers={name.lower(): value for name, value in request.headers.items()},
        )
        return web.Response()

    async with serving(handler) as url:
        response = await transport.request(
            "POST", f"{url}/v1/a%2Fb?x=%20", {"authorization": "Bearer k"}, b'{"a":1}'
        )
        await response.read()
        assert {
            "method": "POST",
            "raw_path": "/v1/a%2Fb?x=%20",
            "body": b'{"a":1}',
            "headers": {
                "host": url.removeprefix("http://"),
                "authorization": "Bearer k",
                "content-length": "7",
                **(USUAL if isinstance(transport, Complete) else {}),
            },
        } == seen


async def test_chunks_arrive_before_the_answer_ends(transport: Transport) -> None:
    go_on = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        await go_on.wait()
        await response.write(b"two")
        return response

    async with serving(handler) as url:
        response = await transport.request("GET", url, {})
        first = await anext(response.chunks)
        go_on.set()
        rest = b"".join([chunk async for chunk in response.chunks])
        assert (first, rest) == (b"one", b"two")


async def test_body_that_ends_early_raises(transport: Transport) -> None:
    async with serving(_cut_off) as url:
        response = await transport.request("GET", url, {})
        with pytest.raises(TRANSPORT_ERRORS):
            async for _ in response.chunks:
                pass
        response.close()


async def test_reading_a_body_that_ends_early_raises(transport: Transport) -> None:
    async with serving(_cut_off) as url:
        response = await transport.request("GET", url, {})
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_closing_midway_cancels_the_call_at_the_server(transport: Transport) -> None:
    gone = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one")
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return response

    async with serving(handler) as url:
        response = await transport.request("GET", url, {})
        await anext(response.chunks)
        response.close()
        response.close()
        async with asyncio.timeout(5):
            await gone.wait()


async def test_leaving_while_the_head_is_awaited_cancels_the_call(transport: Transport) -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        came.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return web.Response()

    async with serving(handler) as url:
        call = asyncio.create_task(transport.request("GET", url, {}))
        async with asyncio.timeout(5):
            await came.wait()
            call.cancel()
            await gone.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_connection_is_used_again_after_a_body_was_read(transport: Transport) -> None:
    ports = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.Response(body=b"x" * 1000)

    async with serving(handler) as url:
        for _ in range(3):
            response = await transport.request("POST", url, {}, b"{}")
            await response.read()
            response.close()
        response = await transport.request("GET", url, {})
        assert b"".join([chunk async for chunk in response.chunks]) == b"x" * 1000
        response.close()
        await (await transport.request("GET", url, {})).read()
    assert len(ports) == 1


async def test_redirects_are_not_followed(transport: Transport) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.path == "/here"
        return web.Response(status=307, headers={"location": "/there"})

    async with serving(handler) as url:
        response = await transport.request("GET", f"{url}/here", {})
        await response.read()
        assert (response.status, response.headers["Location"]) == (307, "/there")


async def test_cookies_are_not_kept(transport: Transport) -> None:
    cookies = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("cookie"))
        return web.Response(headers={"set-cookie": "a=1"})

    async with serving(handler) as url:
        for _ in range(2):
            await (await transport.request("GET", url, {})).read()
    assert cookies == [None, None]


async def test_compressed_body_passes_as_it_came(transport: Transport) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8bnot really", headers={"content-encoding": "gzip"})

    async with serving(handler) as url:
        response = await transport.request("GET", url, {})
        assert await response.read() == b"\x1f\x8bnot really"


@pytest.mark.parametrize("size", [2**20, 2**20 + 1, 2**24], ids=["1 MB", "over 1 MB", "16 MB"])
async def test_large_bodies_pass_whole_in_both_directions(transport: Transport, size: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.content_length == size
        return web.Response(body=await request.read())

    body = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    async with serving(handler) as url:
        response = await transport.request("POST", url, {}, body)
        assert body == await response.read()


async def test_slow_reader_holds_the_sender_back(transport: Transport) -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1024):
            await response.write(b"x" * 2**16)
            sent += 2**16
        return response

    async with serving(handler) as url:
        response = await transport.request("GET", url, {})
        before = -1
        while before != sent:
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        assert sent < 2**25
        received = 0
        async for chunk in response.chunks:
            received += len(chunk)
        assert received == 2**26


async def test_many_requests_at_once_do_not_mix(transport: Transport) -> None:
    async def handler(request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(0)
        return web.Response(body=body)

    async def ask(url: str, body: bytes) -> bytes:
        return await (await transport.request("POST", url, {}, body)).read()

    bodies = [b"%d" % number for number in range(300)]
    async with serving(handler) as url:
        assert bodies == await asyncio.gather(*(ask(url, body) for body in bodies))


async def test_nobody_listening_raises(transport: Transport) -> None:
    async with serving(_cut_off) as url:
        pass
    with pytest.raises(aiohttp.ClientConnectorError):
        await transport.request("GET", url, {})


async def test_transport_can_be_used_again_after_closing(transport: Transport) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"ok")

    async with serving(handler) as url:
        await (await transport.request("GET", url, {})).read()
        await transport.close()
        await transport.close()
        assert await (await transport.request("GET", url, {})).read() == b"ok"


def test_one_transport_serves_one_event_loop_after_another() -> None:
    transport = Transport()

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"ok", headers={"connection": "close"})

    async def ask() -> bytes:
        async with serving(handler) as url:
            return await (await transport.request("GET", url, {})).read()

    async def ask_and_close() -> bytes:
        try:
            return await ask()
        finally:
            await transport.close()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [asyncio.run(ask()), asyncio.run(ask_and_close())] == [b"ok", b"ok"]


async def test_answer_may_come_before_the_body_is_read(transport: Transport) -> None:
    """A large body that a provider refuses by its head does not keep its answer back."""
    may_read = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=413, headers={"content-length": "3"})
        await response.prepare(request)
        await response.write(b"big")
        await may_read.wait()
        await request.read()
        return response

    async with serving(handler) as url:
        body = b"x" * 1_000_000
        async with asyncio.timeout(10):
            for _ in range(2):
                response = await transport.request("POST", url, {}, body)
                assert (response.status, await response.read()) == (413, b"big")
                response.close()
                may_read.set()


async def _answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    for part in (b"100 Continue\r\n", b"103 Early Hints\r\nlink: </a>\r\n"):
        writer.write(b"HTTP/1.1 " + part + b"\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabcdef")
    writer.close()


async def test_what_comes_before_the_answer_is_passed_over(transport: Transport) -> None:
    async with await asyncio.start_server(_answer_late, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        response = await transport.request("POST", f"http://{host}:{port}/x", {}, b"{}")
        assert (response.status, response.headers.get("link")) == (200, None)
        assert await response.read() == await response.read() == b"abcdef"


async def test_closed_answer_is_not_read_on(transport: Transport) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"abc")

    async with serving(handler) as url:
        response = await transport.request("POST", url, {}, b"{}")
        response.close()
        with pytest.raises(aiohttp.ClientConnectionError, match="Connection closed"):
            await response.read()


@pytest.mark.parametrize(
    ("method", "body", "told"),
    [("POST", b"", {"content-length": "0"}), ("GET", b"", {}), ("PUT", b"abc", {"host": "other"})],
    ids=["empty", "without a body", "the caller's own host"],
)
async def test_head_tells_what_belongs_to_the_request(
    transport: Transport, method: str, body: bytes, told: dict[str, str]
) -> None:
    async def handler(request: web.Request) -> web.Response:
        told_of = {name: request.headers.get(name) for name in ("host", "content-length")}
        return web.json_response({name: value for name, value in told_of.items() if value})

    async with serving(handler) as url:
        given = {"host": told["host"]} if "host" in told else {}
        size = {"content-length": str(len(body))} if body else {}
        response = await transport.request(method, url, given, body)
        expected = {"host": url.removeprefix("http://")} | size | told
        assert expected == json.loads(await response.read())
