"""A stream that ends before its usage is told: what was counted so far is told as an estimate."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, SystemError
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.integration
Provide = Callable[..., Awaitable[Any]]
TEXT = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
SO_FAR = (
    b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null}],'
    b'"usage":{"prompt_tokens":19,"completion_tokens":1,"total_tokens":20}}\n\n'
)
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,'
    b'"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def router() -> AsyncIterator[ApiKeyRouter]:
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as made:
        yield made


async def _stream_of(router: ApiKeyRouter, provide: Provide, events: bytes, end: str) -> Any:
    async def script(call: Any) -> None:
        await call.stream(events)
        if end == "cut":
            call.reset()
        elif end == "whole":
            await call.end()
        else:
            await asyncio.sleep(60)

    provider = await provide(script)
    await router.register_provider("p", OpenAIAdapter(provider.url))
    await router.register_key("sk-1", "p", {"id": "k", "limits": {"rpm": 1000}})
    demand = Demand("m", "r", stream=True, input_tokens=7, output_cap=100)
    return (await router.forward(demand, lambda _: WireRequest("chat/completions"))).stream


def _told(router: ApiKeyRouter) -> tuple[Any, ...]:
    trace = router.get_request_trace("r")
    assert trace is not None
    return trace["input_tokens"], trace["output_tokens"], trace["usage"]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (TEXT * 3, (7, 3, {"exact": False})),
        (SO_FAR + TEXT * 4, (19, 5, {"exact": False})),
        (TEXT + FINISH + USAGE, (19, 10, {"cached_tokens": 4})),
    ],
    ids=["nothing told", "told on the way", "told at the end"],
)
@pytest.mark.parametrize("end", ["left", "cut"])
async def test_usage_of_a_stream_that_does_not_end_well(
    router: ApiKeyRouter, provide: Provide, events: bytes, end: str, told: tuple[Any, ...]
) -> None:
    stream = await _stream_of(router, provide, events, end)
    passed = b""
    with suppress(SystemError):
        async for chunk in stream:
            passed += chunk
            if end == "left" and len(passed) >= len(events):
                break
    await stream.aclose()
    assert passed == events
    assert _told(router) == told


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (TEXT * 3 + FINISH + DONE, (7, 4, {"exact": False})),
        (TEXT * 3 + FINISH + USAGE + DONE, (19, 10, {"cached_tokens": 4})),
    ],
    ids=["untold", "told"],
)
async def test_usage_of_a_stream_that_ends_well(
    router: ApiKeyRouter, provide: Provide, events: bytes, told: tuple[Any, ...]
) -> None:
    stream = await _stream_of(router, provide, events, "whole")
    assert b"".join([chunk async for chunk in stream]) == events
    assert _told(router) == told
