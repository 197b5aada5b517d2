"""Errors that say they are fine: whoever asked gets the next provider's answer instead."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.failures.failure import FailureClass
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.request.exchange import Answer

pytestmark = pytest.mark.integration
Provide = Callable[..., Awaitable[Any]]
Script = Callable[[Any], Awaitable[None]]


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def delta(finish: str | None = None, **fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]})


ROLE, TEXT, FINISH = delta(role="assistant", content=""), delta(content="hi"), delta("stop")
USAGE = event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
DONE, PING = event(b"[DONE]"), b": ping\n\n"
ERROR = event({"error": {"message": "Rate limited", "code": 429, "type": "rate_limit_exceeded"}})
WHOLE = json.dumps(
    {
        "choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
).encode()
GOOD = ROLE + TEXT + FINISH + DONE


def streamed(*pieces: bytes, kind: str = "text/event-stream", **headers: str) -> Script:
    async def script(call: Any) -> None:
        await call.stream(*pieces, kind=kind, **headers)
        await call.end()

    return script


def whole(body: bytes, status: int = 200, **headers: str) -> Script:
    async def script(call: Any) -> None:
        await call.answer(body, status, **headers)

    return script


async def cut_after_the_role(call: Any) -> None:
    await call.stream(ROLE)
    call.reset()


def request_for(_: Any) -> WireRequest:
    headers = {"content-type": "application/json", "user-agent": "tests", "accept": "*/*"}
    return WireRequest("chat/completions", b"{}", headers)


class Pair:
    """A router before two providers; the first is asked first."""

    def __init__(self, provide: Provide) -> None:
        self._provide = provide
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL", "max_queue_wait_seconds": 1.0})

    async def start(self, first: Script, second: Script | None = None) -> "Pair":
        scripts = [first] if second is None else [first, second]
        self.providers = [await self._provide(script) for script in scripts]
        for number, provider in enumerate(self.providers):
            name = f"p{number}"
            await self.router.register_provider(name, OpenAIAdapter(provider.url))
            facts = {"id": f"key-{name}", "priority": -number}
            await self.router.register_key(f"sk-{name}", name, facts)
        return self

    async def ask(self, *, stream: bool, withhold: bool = False) -> Answer:
        demand = Demand(model="m", request_id="r", stream=stream)
        return await self.router.forward(demand, request_for, withhold_usage=lambda _: withhold)

    async def text(self, *, stream: bool, withhold: bool = False) -> bytes:
        answer = await self.ask(stream=stream, withhold=withhold)
        body = answer.body
        if answer.stream is not None:
            body = b"".join([chunk async for chunk in answer.stream])
        assert self.router.get_state_summary()["open_reservations"] == 0
        return body

    def used(self) -> tuple[int | None, int | None]:
        trace = self.router.get_request_trace("r") or {}
        return trace.get("input_tokens"), trace.get("output_tokens")


@pytest.fixture
async def pair(provide: Provide) -> AsyncIterator[Pair]:
    made = Pair(provide)
    async with made.router:
        yield made


@pytest.mark.parametrize(
    "odd",
    [
        streamed(ROLE, ERROR),
        streamed(ROLE + ERROR),
        streamed(PING, ROLE, ERROR),
        streamed(event({"choices": [], "prompt_filter_results": []}), ERROR),
        streamed(ERROR[:30], ERROR[30:]),
        streamed(ERROR.rstrip()),
        streamed(event({"choices": None, "error": {"message": "busy", "code": 503}})),
        streamed(DONE),
        streamed(ROLE, DONE),
        streamed(ROLE),
        streamed(PING, PING),
        streamed(),
        streamed(event(b"Internal Server Error"), DONE),
        streamed(b"Internal Server Error"),
        streamed(b"<html>sign in</html>", kind="text/html"),
        streamed(event(b'{"error":{"message":"busy"}}'), kind="application/json"),
        streamed(gzip.compress(ROLE + ERROR), content_encoding="gzip"),
        whole(b'{"error":{"message":"busy","code":503}}'),
        whole(b'{"choices":null,"usage":{"prompt_tokens":0,"completion_tokens":0}}'),
        whole(gzip.compress(b'{"error":{"message":"busy","code":503}}'), content_encoding="gzip"),
        whole(b"upstream connect error", content_type="text/plain"),
        whole(b"", content_type="text/event-stream"),
        cut_after_the_role,
    ],
    ids=[
        "error after role", "error with role", "error after comment", "error after filters",
        "error in halves", "error without blank line", "null choices with an error", "done alone",
        "role and done", "role alone", "comments alone", "nothing", "an event of text", "text",
        "a page", "error labelled as JSON", "packed error", "whole error", "whole null choices",
        "whole packed error", "whole text", "empty body", "cut after role",
    ],
)  # fmt: skip
async def test_stream_that_fails_before_it_carries_anything_is_asked_for_elsewhere(
    pair: Pair, odd: Script
) -> None:
    await pair.start(odd, streamed(GOOD))
    assert await pair.text(stream=True) == GOOD
    assert [len(provider.calls) for provider in pair.providers] == [1, 1]


@pytest.mark.parametrize(
    "odd",
    [
        whole(b"upstream connect error"),
        whole(b"upstream connect error", content_type="text/plain"),
        whole(b'{"choices":[{"message":{"content":"cut'),
        whole(b" \n"),
        whole(b"<html>sign in</html>"),
        whole(b'{"choices":null}'),
        whole(b'{"error":{"message":"busy","code":503},"usage":{"prompt_tokens":1}}'),
        whole(b'[{"error":{"message":"busy","code":503}}]'),
        whole(gzip.compress(b'{"error":{"message":"busy","code":503}}'), content_encoding="gzip"),
        whole(gzip.compress(b'{"error":{"message":"busy"}}'), 503, content_encoding="gzip"),
    ],
    ids=[
        "text as JSON", "text", "half a JSON", "blanks", "a page as JSON", "null choices",
        "error beside usage", "error in a list", "packed error", "packed refusal",
    ],
)  # fmt: skip
async def test_whole_answer_that_is_none_is_asked_for_elsewhere(pair: Pair, odd: Script) -> None:
    await pair.start(odd, whole(WHOLE))
    assert await pair.text(stream=False) == WHOLE
    assert [len(provider.calls) for provider in pair.providers] == [1, 1]


@pytest.mark.parametrize("stream", [True, False])
async def test_null_choices_with_a_message_are_the_requests_own_error(
    pair: Pair, stream: bool
) -> None:
    await pair.start(whole(b'{"id":"1","choices":null,"error_message":"unsafe content"}'))
    answer = await pair.ask(stream=stream)
    assert answer.failure is not None
    assert (answer.failure.kind, answer.failure.message) == (
        FailureClass.BAD_REQUEST, "unsafe content",
    )  # fmt: skip
    assert (answer.status, answer.body) == (400, b"")
    assert pair.router.get_state_summary()["circuits"] == []


@pytest.mark.parametrize("withhold", [False, True])
@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", "", "x/y"])
async def test_stream_is_told_by_its_bytes_whatever_its_label(
    pair: Pair, kind: str, withhold: bool
) -> None:
    go_on = asyncio.Event()

    async def script(call: Any) -> None:
        await call.stream(ROLE, TEXT, kind=kind)
        await go_on.wait()
        await call.more(FINISH, USAGE, DONE)
        await call.end()

    await pair.start(script)
    answer = await pair.ask(stream=True, withhold=withhold)
    assert answer.stream is not None
    first = await anext(answer.stream)
    go_on.set()
    rest = b"".join([chunk async for chunk in answer.stream])
    assert first + rest == ROLE + TEXT + FINISH + (b"" if withhold else USAGE) + DONE
    assert pair.used() == (3, 2)


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", ""])
async def test_whole_json_for_a_stream_passes_as_it_came(pair: Pair, kind: str) -> None:
    await pair.start(whole(WHOLE, content_type=kind))
    answer = await pair.ask(stream=True)
    assert (answer.stream, answer.body, answer.failure) == (None, WHOLE, None)
    assert pair.used() == (3, 1)


async def test_packed_stream_passes_as_it_came_and_is_counted(pair: Pair) -> None:
    packed = gzip.compress(ROLE + TEXT + FINISH + USAGE + DONE)
    await pair.start(streamed(packed[:40], packed[40:], content_encoding="gzip"))
    assert await pair.text(stream=True) == packed
    assert pair.used() == (3, 2)


@pytest.mark.parametrize("more", [{"choices": []}, {"choices": None}, {}], ids=str)
async def test_usage_event_that_was_our_own_wish_is_kept_back(
    pair: Pair, more: dict[str, Any]
) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    last = event({"id": "c", "object": "chat.completion.chunk", **more, "usage": usage})
    await pair.start(streamed(ROLE, TEXT, FINISH, last, DONE))
    assert await pair.text(stream=True, withhold=True) == GOOD
    assert pair.used() == (3, 2)


@pytest.mark.parametrize("ping", [b": ping\n", b": ping\n\n"], ids=["a line", "an event"])
@pytest.mark.parametrize("before", [b"", TEXT], ids=["first of all", "midway"])
async def test_comment_passes_at_once(pair: Pair, ping: bytes, before: bytes) -> None:
    go_on = asyncio.Event()

    async def script(call: Any) -> None:
        await call.stream(*filter(None, (before, ping)))
        await go_on.wait()
        await call.more(TEXT, FINISH, DONE)
        await call.end()

    await pair.start(script)
    began = time.monotonic()
    answer = await pair.ask(stream=True, withhold=True)
    assert answer.stream is not None
    seen = b""
    while len(seen) < len(before + ping):
        seen += await anext(answer.stream)
    assert (seen, time.monotonic() - began < 0.5) == (before + ping, True)
    go_on.set()
    assert b"".join([chunk async for chunk in answer.stream]) == TEXT + FINISH + DONE


async def test_content_is_not_delayed_by_what_may_follow(pair: Pair) -> None:
    async def script(call: Any) -> None:
        await call.stream(ROLE + TEXT)
        await asyncio.sleep(5)

    await pair.start(script)
    async with asyncio.timeout(1):
        answer = await pair.ask(stream=True)
        assert answer.stream is not None
        assert await anext(answer.stream) == ROLE + TEXT
    answer.stream.close()


async def test_stream_in_place_of_a_whole_answer_is_asked_for_elsewhere(pair: Pair) -> None:
    await pair.start(streamed(GOOD), whole(WHOLE))
    message = {"role": "user", "content": "Hello!"}
    answer = await pair.router.route({"model": "m", "messages": [message]})
    assert (answer.content, len(pair.providers[0].calls)) == ("whole", 1)
    assert pair.router.get_state_summary()["open_reservations"] == 0
