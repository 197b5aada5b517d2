"""Answers in a coding that the client asked for pass as they come, and are judged and counted."""

import asyncio
import json
import sys
import zlib
from collections.abc import Callable
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
ALL = "gzip, deflate, br, zstd"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
#: The client asks for usage itself: nothing is spliced.
STREAMED = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
WHOLE = json.dumps({"choices": [{"message": {"content": "hi" * 500}}], "usage": USAGE}).encode()
ERROR = b'{"error":{"message":"busy","code":503}}'


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


TEXT = event({"choices": [{"delta": {"content": "hi"}, "finish_reason": None}]})
FINISH = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
TOLD = event({"choices": [], "usage": USAGE})
DONE = event(b"[DONE]")


class Packer:
    """Compresses as a provider would: what it has got is out after each `flush`."""

    def __init__(self, coding: str) -> None:
        self.pack: Callable[[bytes], bytes]
        if coding == "br":
            packer = brotli.Compressor()
            self.pack = lambda text: packer.process(text) + packer.flush()
            self.end = packer.finish
        elif coding == "zstd":
            zstd_packer = zstd.ZstdCompressor()
            self.pack = lambda text: zstd_packer.compress(text, zstd_packer.FLUSH_BLOCK)
            self.end = zstd_packer.flush
        else:
            zlib_packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
            self.pack = lambda text: (
                zlib_packer.compress(text) + zlib_packer.flush(zlib.Z_SYNC_FLUSH)
            )
            self.end = zlib_packer.flush


class Provider:
    """Compresses by whatever it is asked for, preferred or not."""

    def __init__(self, body: bytes = WHOLE, status: int = 200, *, forced: str = "") -> None:
        self.body, self.status, self.forced = body, status, forced
        self.events: list[bytes] = [TEXT, TEXT, FINISH, TOLD, DONE]
        self.accepted: list[bytes | None] = []
        self.asked: list[dict[str, Any]] = []
        self.sent = b""
        #: Before each event but the first; a thread's doing.
        self.may_go_on = True
        self.breaks_off = False

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
        accepted = dict(scope["headers"]).get(b"accept-encoding")
        self.accepted.append(accepted)
        self.asked.append(json.loads(body))
        coding = self.forced or (accepted or b"").decode().partition(",")[0]
        packer = Packer(coding) if coding not in ("", "identity") else None
        is_stream = self.asked[-1].get("stream") and self.status == 200
        kind = b"text/event-stream" if is_stream else b"application/json"
        headers = [(b"content-type", kind)]
        if packer is not None:
            headers.append((b"content-encoding", coding.encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for number, piece in enumerate(self.events if is_stream else [self.body]):
            while number and not self.may_go_on:  # noqa: ASYNC110 - the test's thread says when
                await asyncio.sleep(0.005)
            await self._send(send, packer.pack(piece) if packer is not None else piece)
        if self.breaks_off:
            raise ConnectionAbortedError
        await self._send(send, packer.end() if packer is not None else b"", is_last=True)

    async def _send(self, send: Any, piece: bytes, *, is_last: bool = False) -> None:
        self.sent += piece
        await send({"type": "http.response.body", "body": piece, "more_body": not is_last})


@pytest.fixture
def start(serve: Any, config_for: Any) -> Any:
    def start(*providers: Provider, **more: Any) -> Any:
        return serve(config_for(*(serve(provider).url + "/v1" for provider in providers), **more))

    return start


async def ask(proxy: Any, asked: dict[str, Any], accepted: str | None) -> Any:
    """Ask by the raw bytes: nothing is unpacked, no header added."""
    async with httpx2.AsyncClient(base_url=proxy.url, timeout=20) as client:
        del client.headers["accept-encoding"]
        headers = {} if accepted is None else {"accept-encoding": accepted}
        async with client.stream("POST", CHAT, json=asked, headers=headers) as answer:
            answer.raw = b"".join([piece async for piece in answer.aiter_raw()])
            return answer


def used(proxy: Any, answer: Any) -> tuple[int, int]:
    trace = proxy.app.router.get_request_trace(answer.headers["x-request-id"])
    return trace["input_tokens"], trace["output_tokens"]


every_coding = pytest.mark.parametrize("coding", ALL.split(", "))
both = pytest.mark.parametrize("asked", [ASKED, STREAMED], ids=["whole", "stream"])


@both
@every_coding
async def test_compressed_answer_passes_as_it_came_and_is_counted(
    start: Any, coding: str, asked: dict[str, Any]
) -> None:
    provider = Provider()
    proxy = start(provider)
    answer = await ask(proxy, asked, coding)
    assert (answer.status_code, answer.headers["content-encoding"]) == (200, coding)
    assert answer.raw == provider.sent
    assert used(proxy, answer) == (3, 4)


@both
async def test_usual_client_reads_a_compressed_answer(start: Any, asked: dict[str, Any]) -> None:
    for coding in ALL.split(", "):
        proxy = start(Provider(forced=coding))
        async with httpx2.AsyncClient(base_url=proxy.url) as client:
            answer = await client.post(CHAT, json=asked)
        assert answer.content == (
            WHOLE if asked is ASKED else b"".join([TEXT, TEXT, FINISH, TOLD, DONE])
        )


@every_coding
async def test_first_token_of_a_compressed_stream_is_not_delayed(start: Any, coding: str) -> None:
    provider = Provider()
    provider.may_go_on = False
    proxy = start(provider)
    async with (
        httpx2.AsyncClient(base_url=proxy.url, timeout=5) as client,
        client.stream("POST", CHAT, json=STREAMED, headers={"accept-encoding": coding}) as answer,
    ):
        pieces = answer.aiter_raw()
        assert await anext(pieces) == provider.sent
        provider.may_go_on = True
        rest = b"".join([piece async for piece in pieces])
    assert provider.sent.endswith(rest)
    assert used(proxy, answer) == (3, 4)


@pytest.mark.parametrize(
    ("accepted", "asked_for"),
    [
        (ALL, ALL.encode()),
        (None, b"identity"),
        ("identity", b"identity"),
        ("compress, br;q=0.5, *", b"br;q=0.5"),
        ("*", b"identity"),
    ],
)
async def test_provider_is_asked_for_what_client_and_proxy_can_read(
    start: Any, accepted: str | None, asked_for: bytes
) -> None:
    provider = Provider(forced="identity")
    answer = await ask(start(provider), ASKED, accepted)
    assert (answer.raw, provider.accepted) == (WHOLE, [asked_for])


async def test_answer_that_has_to_be_changed_is_asked_for_uncompressed(start: Any) -> None:
    provider = Provider()
    proxy = start(provider)
    answer = await ask(proxy, {**ASKED, "stream": True}, ALL)
    assert provider.accepted == [b"identity"]
    assert provider.asked[0]["stream_options"] == {"include_usage": True}
    assert answer.raw == TEXT + TEXT + FINISH + DONE
    assert used(proxy, answer) == (3, 4)


@both
@every_coding
@pytest.mark.parametrize("status", [200, 429, 500])
async def test_compressed_error_gets_the_next_providers_answer(
    start: Any, coding: str, asked: dict[str, Any], status: int
) -> None:
    bad, good = Provider(ERROR, status), Provider()
    bad.events = [event(ERROR)]
    proxy = start(bad, good)
    for _ in range(2):
        answer = await ask(proxy, asked, coding)
        assert (answer.status_code, answer.headers["x-provider-used"]) == (200, "p2")
    assert len(bad.accepted) >= 1
    assert answer.raw in good.sent


@every_coding
async def test_clients_own_mistake_is_told_in_words(start: Any, coding: str) -> None:
    words = b'{"error":{"message":"messages is empty","type":"invalid_request_error"}}'
    answer = await ask(start(Provider(words, 400)), ASKED, coding)
    assert (answer.status_code, answer.raw) == (400, words)
    assert "content-encoding" not in answer.headers


@every_coding
async def test_compressed_stream_that_breaks_off_does_not_look_complete(
    start: Any, coding: str
) -> None:
    provider = Provider()
    provider.breaks_off, provider.events = True, [TEXT]
    proxy = start(provider)
    with pytest.raises(httpx2.RemoteProtocolError):
        await ask(proxy, STREAMED, coding)


@every_coding
@pytest.mark.parametrize("asked", [ASKED, STREAMED], ids=["whole", "stream"])
async def test_bomb_passes_unread(start: Any, coding: str, asked: dict[str, Any]) -> None:
    provider = Provider(bytes(50_000_000))
    provider.events = [TEXT, bytes(50_000_000)]
    proxy = start(provider)
    answer = await ask(proxy, asked, coding)
    assert (answer.status_code, answer.raw) == (200, provider.sent)
    assert proxy.app.bodies.held_bytes == 0
