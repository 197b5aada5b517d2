"""Refusals whose body breaks off, never ends or is endless: their head tells what they mean."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.integration
Provide = Callable[..., Awaitable[Any]]
ANSWER = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
BAD, GOOD = "sk-refused", "sk-served"
FAR_MORE_BYTES = 2**28
FAR_LONGER_S = 40.0


def request_for(_: Any) -> WireRequest:
    return WireRequest("chat/completions", b"{}", {"content-type": "application/json"})


async def break_off(call: Any) -> None:
    await call.more(b'{"err')
    call.reset()


async def never_end(call: Any) -> None:
    await call.more(b'{"err')
    await asyncio.Event().wait()


async def go_on_and_on(call: Any) -> None:
    piece = b"x" * 2**16
    for _ in range(FAR_MORE_BYTES // len(piece)):
        await call.more(piece)
    await call.end()


class Two:
    """A router with two keys of one provider, which refuses the one that is asked first."""

    def __init__(self, provide: Provide) -> None:
        self._provide = provide
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL", "max_queue_wait_seconds": 1.0})

    async def start(self, head: bytes, body: Callable[[Any], Awaitable[None]]) -> None:
        async def script(call: Any) -> None:
            if GOOD in call.head:
                await call.answer(ANSWER)
                return
            await call.write(b"HTTP/1.1 " + head + b"\r\ntransfer-encoding: chunked\r\n\r\n")
            await body(call)

        self.provider = await self._provide(script)
        await self.router.register_provider("p", OpenAIAdapter(self.provider.url))
        await self.router.register_key(BAD, "p", {"id": "bad", "priority": 1})
        await self.router.register_key(GOOD, "p", {"id": "good"})

    async def ask(self) -> tuple[int, bytes]:
        answer = await self.router.forward(Demand(model="m", request_id="r"), request_for)
        return answer.status, answer.body

    @property
    def refused(self) -> int:
        return sum(BAD in call.head for call in self.provider.calls)


@pytest.fixture
async def two(provide: Provide) -> AsyncIterator[Two]:
    made = Two(provide)
    async with made.router:
        yield made


@pytest.mark.parametrize(
    ("head", "state"),
    [
        (b"429 X\r\nretry-after: 60", "throttled"),
        (b"401 X", "invalid"),
    ],
    ids=["told to wait", "invalid"],
)
@pytest.mark.parametrize("body", [break_off, go_on_and_on])
async def test_refusal_without_its_words_is_believed(
    two: Two, head: bytes, state: str, body: Any
) -> None:
    await two.start(head, body)
    for _ in range(4):
        assert await two.ask() == (200, ANSWER)
    assert two.refused == 1
    key = await two.router.key_manager.get_key("bad")
    assert key is not None
    assert key.state == state


async def test_nobody_waits_long_for_the_words_of_a_refusal(two: Two) -> None:
    await two.start(b"429 X\r\nretry-after: 60", never_end)
    async with asyncio.timeout(FAR_LONGER_S):
        assert await two.ask() == (200, ANSWER)
    assert two.refused == 1


async def test_request_is_not_blamed_by_words_that_broke_off(two: Two) -> None:
    await two.start(b"400 X", break_off)
    assert await two.ask() == (200, ANSWER)


async def test_refusal_that_is_too_long_keeps_its_status(two: Two) -> None:
    await two.start(b"422 X", go_on_and_on)
    assert await two.ask() == (422, b"")
    assert two.refused == 1
