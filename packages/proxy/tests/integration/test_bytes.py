"""Bytes pass as they are, in both directions, and memory does not grow with slow readers."""

import asyncio
import gzip
import json
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

ODD_REQUEST = (
    b'{ "temperature":0.10,\n\t"model" :  "odd" , "messages":[{"role":"user",'
    b'"content":"he said \\"model\\": \\"x\\" \xc3\xa9\\u00e9"}],"x-unknown": [1.0, 1e3, null] }\n'
)
ODD_ANSWER = b'{ "id":"1" ,"unknown":\t1.50,"choices":[ ], "text":"\\u00e9\xc3\xa9" }\n\n'
#: Comments, CRLF, a character cut in two, events cut and joined.
ODD_CHUNKS = [
    b": keep-alive\r\n\r\n",
    b'data: {"choices":[{"delta":{"content":"h\xc3',
    b'\xa9"},"finish_reason":null}]}\r\n\r\ndata: {"choices":[{"delta":',
    b'{"content":"!"},"finish_reason":"stop"}]}\n\n: x\n\n',
    b"data: [DONE]\n\n",
]


class OddUpstream:
    """Answers with fixed bytes and remembers what it was sent."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.gone = 0
        self.sent = 0
        self.chunks = ODD_CHUNKS
        self.endless = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if scope["path"].endswith("/models"):
            await self._start(send, b"application/json", 404)
            await send({"type": "http.response.body", "body": b"{}"})
            return
        self.bodies.append(body)
        if not json.loads(body).get("stream"):
            await self._start(send, b"application/json")
            await send({"type": "http.response.body", "body": ODD_ANSWER})
            return
        await self._start(send, b"text/event-stream")
        if self.endless:
            await self._pour(receive, send)
            return
        for chunk in self.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b""})

    async def _pour(self, receive: Any, send: Any) -> None:
        leaving = asyncio.create_task(receive())
        event = b'data: {"choices":[{"delta":{"content":"' + b"x" * 60_000 + b'"}}]}\n\n'
        while not leaving.done():
            await send({"type": "http.response.body", "body": event, "more_body": True})
            self.sent += len(event)
            await asyncio.sleep(0)
        self.gone += 1

    async def _start(self, send: Any, kind: bytes, status: int = 200) -> None:
        headers = [(b"content-type", kind), (b"x-odd", b"kept"), (b"set-cookie", b"a=b")]
        await send({"type": "http.response.start", "status": status, "headers": headers})


@pytest.fixture
def upstream() -> OddUpstream:
    return OddUpstream()


@pytest.fixture
def proxy(upstream: OddUpstream, serve: Any, config_for: Any) -> Any:
    config = config_for(serve(upstream).url + "/v1")
    config["models"] = {"mine": ["p1/odd"]}
    return serve(config)


async def test_plain_bytes_are_the_same_both_ways(upstream: OddUpstream, proxy: Any) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        answer = await client.post("/v1/chat/completions", content=ODD_REQUEST)
    assert answer.content == ODD_ANSWER
    assert upstream.bodies == [ODD_REQUEST]
    assert answer.headers["x-odd"] == "kept"
    assert "set-cookie" not in answer.headers


async def test_only_the_alias_changes(upstream: OddUpstream, proxy: Any) -> None:
    asked = ODD_REQUEST.replace(b'"model" :  "odd"', b'"model" :  "mine"')
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        await client.post("/v1/chat/completions", content=asked)
    assert upstream.bodies == [ODD_REQUEST]


async def test_half_a_surrogate_pair_passes(upstream: OddUpstream, proxy: Any) -> None:
    asked = rb'{"model":"mine","messages":[{"role":"user","content":"\ud83d"}]}'
    streamed = asked[:-1] + b',"stream":true}'
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        for body in (asked, streamed):
            assert (await client.post("/v1/chat/completions", content=body)).status_code == 200
    wish = b'{"stream_options":{"include_usage":true},'
    assert upstream.bodies == [
        asked.replace(b"mine", b"odd"),
        wish + streamed[1:].replace(b"mine", b"odd"),
    ]


async def test_stream_bytes_are_the_same(upstream: OddUpstream, proxy: Any) -> None:
    body = b'{"model":"odd","stream":true,"stream_options":{"include_usage":true},"messages":[]}'
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        answer = await client.post("/v1/chat/completions", content=body)
    assert answer.content == b"".join(ODD_CHUNKS)
    assert upstream.bodies == [body]


async def test_usage_that_we_asked_for_is_kept_back(upstream: OddUpstream, proxy: Any) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    upstream.chunks = [*ODD_CHUNKS[:-1], usage[:20], usage[20:] + ODD_CHUNKS[-1]]
    body = b'{"model":"odd", "stream":true,"messages":[]}'
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        answer = await client.post("/v1/chat/completions", content=body)
    assert answer.content == b"".join(ODD_CHUNKS)
    assert json.loads(upstream.bodies[0])["stream_options"] == {"include_usage": True}
    trace = proxy.app.router.get_request_trace(answer.headers["x-request-id"])
    assert (trace["input_tokens"], trace["output_tokens"]) == (3, 4)


async def test_five_megabytes_pass(upstream: OddUpstream, proxy: Any) -> None:
    body = json.dumps({"model": "odd", "messages": [{"role": "user", "content": "x" * 5_000_000}]})
    async with httpx2.AsyncClient(base_url=proxy.url, timeout=30) as client:
        answer = await client.post("/v1/chat/completions", content=body.encode())
    assert answer.status_code == 200
    assert upstream.bodies == [body.encode()]


async def test_body_over_the_limit_is_413(serve: Any, config_for: Any) -> None:
    config = config_for("http://127.0.0.1:1/v1", server={"max_body_bytes": 1000})
    proxy = serve(config)
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        for content in (b"x" * 1001, gzip.compress(b"x") * 100):
            answer = await client.post("/v1/chat/completions", content=content)
            assert answer.status_code == 413


async def test_client_that_leaves_cancels_the_call(
    upstream: OddUpstream, proxy: Any, until: Any
) -> None:
    upstream.endless = True
    body = b'{"model":"odd","stream":true,"messages":[]}'
    async with (
        httpx2.AsyncClient(base_url=proxy.url) as client,
        client.stream("POST", "/v1/chat/completions", content=body) as answer,
    ):
        async for _ in answer.aiter_raw():
            break
    await until(lambda: upstream.gone == 1)
    await until(lambda: proxy.app.router.get_state_summary()["open_reservations"] == 0)


async def test_slow_reader_holds_the_provider_back(upstream: OddUpstream, proxy: Any) -> None:
    upstream.endless = True
    body = b'{"model":"odd","stream":true,"messages":[]}'
    async with (
        httpx2.AsyncClient(base_url=proxy.url) as client,
        client.stream("POST", "/v1/chat/completions", content=body),
    ):
        await asyncio.sleep(1.0)
        first = upstream.sent
        await asyncio.sleep(0.5)
        assert upstream.sent == first, "nobody reads, and still it grows"
        assert first < 32 * 2**20
