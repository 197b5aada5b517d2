"""Pooled connections that died unnoticed cost nobody an answer, a retry or a circuit."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from apikeyrouter import ApiKeyRouter, Message, RequestIntent
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.adapters.transport import Transport

pytestmark = pytest.mark.integration
Provide = Callable[..., Awaitable[Any]]
INTENT = RequestIntent(model="small", messages=[Message(role="user", content="Hello!")])
FINE = json.dumps({"choices": [{"message": {"content": "hi"}}]}).encode()
USUAL = {
    "user-agent": "tests", "accept": "*/*", "accept-encoding": "identity",
    "content-type": "application/json",
}  # fmt: skip


@pytest.fixture(params=[True, False], ids=["the short way", "the session's way"])
def is_lean(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def fine(call: Any) -> None:
    await call.answer(FINE)


async def reset_when_reused(call: Any) -> None:
    if call.before:
        call.reset()
    else:
        await call.answer(FINE)


async def hang_up_when_reused(call: Any) -> None:
    if call.before:
        call._writer.close()
    else:
        await call.answer(FINE)


@pytest.mark.parametrize("script", [reset_when_reused, hang_up_when_reused])
@pytest.mark.parametrize("size", [2, 2**21], ids=["small body", "large body"])
async def test_request_over_a_dead_connection_is_sent_again_over_a_new_one(
    provide: Provide, is_lean: bool, script: Any, size: int
) -> None:
    provider, transport = await provide(script), Transport(is_lean=is_lean)
    body = b"x" * size
    for _ in range(4):
        response = await transport.request("POST", f"{provider.url}/x", USUAL, body)
        assert await response.read() == FINE
    assert all(call.body == body for call in provider.calls)
    assert len(provider.calls) == 4 + sum(call.before > 0 for call in provider.calls)
    await transport.close()


async def test_thirty_dead_connections_make_thirty_answers(provide: Provide) -> None:
    all_in = asyncio.Event()

    async def script(call: Any) -> None:
        if call.before:
            call.reset()
            return
        if len(provider.calls) == 30:
            all_in.set()
        await all_in.wait()
        await call.answer(FINE)

    provider = await provide(script)
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await router.register_provider("p", OpenAIAdapter(provider.url))
        await router.register_key("sk-1", "p", {"limits": {"rpm": 1000}})
        for _ in range(2):
            answers = await asyncio.gather(*(router.route(INTENT) for _ in range(30)))
            assert [answer.content for answer in answers] == ["hi"] * 30
        traces = [router.get_request_trace(answer.request_id) for answer in answers]
        assert all(len(trace["attempts"]) == 1 for trace in traces if trace)
        summary = router.get_state_summary()
        assert (summary["circuits"], summary["open_reservations"]) == ([], 0)


async def test_new_connection_that_is_dropped_is_not_sent_over_again(
    provide: Provide, is_lean: bool
) -> None:
    async def script(call: Any) -> None:
        call.reset()

    provider, transport = await provide(script), Transport(is_lean=is_lean)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await transport.request("POST", f"{provider.url}/x", USUAL, b"{}")
    assert len(provider.calls) == 1
    await transport.close()


async def test_answer_that_has_begun_is_not_asked_for_again(
    provide: Provide, is_lean: bool
) -> None:
    async def script(call: Any) -> None:
        if call.before:
            await call.write(b"HTTP/1.1 200 OK\r\ncontent-")
            call._writer.close()
        else:
            await call.answer(FINE)

    provider, transport = await provide(script), Transport(is_lean=is_lean)
    await (await transport.request("POST", f"{provider.url}/x", USUAL, b"{}")).read()
    with pytest.raises((aiohttp.ClientError, OSError)):
        await transport.request("POST", f"{provider.url}/x", USUAL, b"{}")
    assert len(provider.calls) == 2
    await transport.close()
