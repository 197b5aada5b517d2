"""Bodies are read within bounds, packed or not, and held no longer than needed."""

import asyncio
import contextlib
import gzip
import json
import random
import sys
import zlib
from typing import Any

import brotli
import httpx2
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"
LIMIT = 100_000
BODY = b'{"model":"m", "messages":[{"role":"user","content":"%s"}]}' % (b"hello " * 100)
RAW_DEFLATE = zlib.compressobj(wbits=-15)
PACKED = {
    "gzip": gzip.compress(BODY),
    "x-gzip": gzip.compress(BODY[:50]) + gzip.compress(BODY[50:]),
    "deflate": zlib.compress(BODY),
    "Deflate": RAW_DEFLATE.compress(BODY) + RAW_DEFLATE.flush(),
    "br": brotli.compress(BODY),
    "zstd": zstd.compress(BODY[:50]) + zstd.compress(BODY[50:]),
}


class Provider:
    """Remembers what it was sent; answers when it is let."""

    def __init__(self) -> None:
        self.sent: list[tuple[dict[bytes, bytes], bytes]] = []
        self.may_answer = True
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["path"].endswith("/models"):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})
            return
        self.sent.append((dict(scope["headers"]), body))
        self.asked += 1
        while not self.may_answer:  # noqa: ASYNC110 - the test's thread says when
            await asyncio.sleep(0.01)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"choices":[]}'})


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def proxy(provider: Provider, serve: Any, config_for: Any) -> Any:
    server = {"max_body": LIMIT, "max_inflight_body": 4 * LIMIT, "request_timeout": "3s"}
    config = config_for(serve(provider).url + "/v1", server=server)
    config["models"] = {"mine": ["p1/m"]}
    return serve(config)


async def ask(url: str, body: bytes, coding: str | None = None) -> Any:
    headers = {"content-encoding": coding} if coding else {}
    async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
        return await client.post(CHAT, content=body, headers=headers)


@pytest.mark.parametrize("coding", PACKED)
async def test_packed_body_passes_as_it_came(coding: str, proxy: Any, provider: Provider) -> None:
    assert (await ask(proxy.url, PACKED[coding], coding)).status_code == 200
    headers, body = provider.sent[0]
    assert (headers[b"content-encoding"].decode(), body) == (coding, PACKED[coding])
    assert headers[b"content-length"] == b"%d" % len(body)


async def test_what_is_spliced_into_is_sent_unpacked(proxy: Any, provider: Provider) -> None:
    for change in ({"model": "mine"}, {"stream": True}):
        asked = {**json.loads(BODY), **change}
        assert (await ask(proxy.url, gzip.compress(json.dumps(asked).encode()), "gzip")).content
    for headers, body in provider.sent:
        assert b"content-encoding" not in headers
        assert json.loads(body)["model"] == "m"
    assert json.loads(provider.sent[1][1])["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("coding", "body", "status", "code"),
    [
        ("compress", b"whatever", 415, "unsupported_content_encoding"),
        ("gzip, zstd", b"whatever", 415, "unsupported_content_encoding"),
        ("br", b"whatever", 400, None),
        ("br", PACKED["br"][:-1], 400, None),
        ("br", brotli.compress(b" " * 50_000_000), 413, "request_too_large"),
        ("zstd", b"whatever", 400, None),
        ("zstd", PACKED["zstd"][:-1], 400, None),
        ("zstd", zstd.compress(b" " * 50_000_000), 413, "request_too_large"),
        ("zstd", zstd.compress(b"") * 5000, 400, None),
        ("gzip", gzip.compress(gzip.compress(b" " * 50_000_000)), 400, None),
        ("gzip, gzip", gzip.compress(PACKED["gzip"]), 415, "unsupported_content_encoding"),
        ("gzip", gzip.compress(b" " * 50_000_000), 413, "request_too_large"),
        ("gzip", gzip.compress(BODY[:-1] + b" " * LIMIT + b"}"), 413, "request_too_large"),
        ("gzip", BODY, 400, None),
        ("gzip", PACKED["gzip"][:-1], 400, None),
        ("gzip", PACKED["gzip"] + b"x", 400, None),
        ("deflate", PACKED["deflate"][:-9], 400, None),
        ("gzip", b"", 400, None),
        ("identity", BODY, 200, None),
    ],
    ids=[
        "unknown",
        "two",
        "no brotli",
        "cut brotli",
        "brotli bomb",
        "no zstd",
        "cut zstd",
        "zstd bomb",
        "empty frames",
        "nested bomb",
        "twice",
        "bomb",
        "beyond",
        "not packed",
        "cut",
        "more",
        "cut 2",
        "none",
        "plain",
    ],
)
async def test_packed_body_that_cannot_be_read_is_refused(
    coding: str, body: bytes, status: int, code: str | None, proxy: Any, until: Any
) -> None:
    answer = await ask(proxy.url, body, coding)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["code"] == code
    if status == 415:
        assert answer.headers["accept-encoding"] == "gzip, deflate, br, zstd"
        message = answer.json()["error"]["message"]
        assert f"'{coding}' cannot be read: send one of gzip, deflate, br, zstd" in message
    await until(lambda: proxy.app.bodies.held_bytes == 0)


@pytest.mark.parametrize("coding", PACKED)
async def test_any_damage_is_told_and_holds_nothing(coding: str, proxy: Any, until: Any) -> None:
    chance = random.Random(coding)
    packed = PACKED[coding]
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        for _ in range(40):
            at, noise = chance.randrange(len(packed)), chance.randbytes(chance.randrange(1, 9))
            body = packed[:at] + noise + packed[at + chance.randrange(9) :]
            answer = await client.post(CHAT, content=body, headers={"content-encoding": coding})
            assert answer.status_code in (200, 400, 413)
    await until(lambda: proxy.app.bodies.held_bytes == 0)


async def test_bytes_on_their_way_are_bounded(proxy: Any, provider: Provider, until: Any) -> None:
    provider.may_answer = False
    body = BODY[:-1] + b" " * (LIMIT - len(BODY)) + b"}"
    running = [asyncio.create_task(ask(proxy.url, body)) for _ in range(4)]
    await until(lambda: provider.asked == 4)
    assert proxy.app.bodies.held_bytes == 4 * LIMIT
    refused = await ask(proxy.url, BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (
        503,
        "request_bytes_exhausted",
    )
    assert refused.headers["retry-after"] == "1"
    provider.may_answer = True
    assert [(await task).status_code for task in running] == [200] * 4
    await until(lambda: proxy.app.bodies.held_bytes == 0)
    assert (await ask(proxy.url, BODY)).status_code == 200


async def test_client_that_leaves_holds_nothing(proxy: Any, provider: Provider, until: Any) -> None:
    provider.may_answer = False
    host, port = proxy.url.removeprefix("http://").split(":")
    head = b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
    for size, part in ((LIMIT, BODY), (len(BODY), BODY)):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head % (CHAT.encode(), size))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(part)
        await until(lambda: proxy.app.bodies.held_bytes == len(BODY))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await until(lambda: proxy.app.bodies.held_bytes == 0)


async def test_body_is_let_go_when_its_answer_begins(serve: Any, config_for: Any) -> None:
    async def begin(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        event = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await receive()

    proxy = serve(config_for(serve(begin).url + "/v1"))
    async with (
        httpx2.AsyncClient(base_url=proxy.url) as client,
        client.stream("POST", CHAT, content=BODY[:-1] + b',"stream":true}') as answer,
    ):
        async for _ in answer.aiter_raw():
            break
        assert proxy.app.bodies.held_bytes == 0


async def test_body_that_does_not_come_is_408(proxy: Any) -> None:
    host, port = proxy.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST %s HTTP/1.1\r\nhost: x.localhost\r\ncontent-length: 9\r\n\r\n{" % CHAT.encode()
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    assert proxy.app.bodies.held_bytes == 0
