"""Usage is asked for in streams where a provider understands it, and nobody hears that it was."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, Message, RequestIntent, SystemError
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.integration
Provide = Callable[..., Awaitable[Any]]
INTENT = RequestIntent(model="m", messages=[Message(role="user", content="Hello!")])
STREAM = (
    b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
REFUSED = json.dumps(
    {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "extra"}]}
).encode()


def refusing(status: int) -> Callable[[Any], Awaitable[None]]:
    async def script(call: Any) -> None:
        if b"stream_options" in call.body:
            await call.answer(REFUSED, status)
        else:
            await call.stream(STREAM)
            await call.end()

    return script


@pytest.fixture
async def router() -> AsyncIterator[ApiKeyRouter]:
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as made:
        yield made


async def connect(router: ApiKeyRouter, url: str, **options: Any) -> OpenAIAdapter:
    adapter = OpenAIAdapter(url, **options)
    await router.register_provider("p", adapter)
    await router.register_key("sk-1", "p", {"id": "k", "limits": {"rpm": 1000}})
    return adapter


async def text_of(router: ApiKeyRouter, **parameters: Any) -> str:
    intent = INTENT.model_copy(update={"parameters": parameters})
    return "".join([chunk.content async for chunk in router.route_stream(intent)])


@pytest.mark.parametrize("status", [400, 422])
async def test_wish_for_usage_that_is_refused_is_left_out_and_remembered(
    router: ApiKeyRouter, provide: Provide, status: int
) -> None:
    provider = await provide(refusing(status))
    await connect(router, provider.url)
    assert [await text_of(router) for _ in range(3)] == ["hi"] * 3
    asked = [b"stream_options" in call.body for call in provider.calls]
    assert asked == [True, False, False, False]
    summary = router.get_state_summary()
    assert (summary["circuits"], summary["open_reservations"]) == ([], 0)


async def test_other_models_of_the_provider_are_still_asked(
    router: ApiKeyRouter, provide: Provide
) -> None:
    provider = await provide(refusing(400))
    adapter = await connect(router, provider.url)
    await text_of(router)
    assert (adapter.asks_usage("m"), adapter.asks_usage("other")) == (False, True)
    for number in range(1000):
        adapter.stop_asking_usage(f"model-{number}")
    assert not adapter.asks_usage("other")


async def test_clients_own_wish_that_is_refused_is_the_clients_to_hear(
    router: ApiKeyRouter, provide: Provide
) -> None:
    provider = await provide(refusing(400))
    adapter = await connect(router, provider.url)
    with pytest.raises(SystemError):
        await text_of(router, stream_options={"include_usage": True})
    assert (len(provider.calls), adapter.asks_usage("m")) == (1, True)


async def test_refusal_of_something_else_is_told(router: ApiKeyRouter, provide: Provide) -> None:
    async def script(call: Any) -> None:
        await call.answer(b'{"error":{"message":"bad temperature"}}', 400)

    provider = await provide(script)
    await connect(router, provider.url)
    with pytest.raises(SystemError, match="bad temperature"):
        await text_of(router)
    assert len(provider.calls) == 1


async def test_second_refusal_is_told_and_not_tried_again(
    router: ApiKeyRouter, provide: Provide
) -> None:
    async def script(call: Any) -> None:
        await call.answer(b'{"error":{"message":"stream_options or not, no"}}', 400)

    provider = await provide(script)
    await connect(router, provider.url)
    with pytest.raises(SystemError, match="or not, no"):
        await text_of(router)
    assert len(provider.calls) == 2


async def test_provider_that_is_set_not_to_be_asked_is_not(
    router: ApiKeyRouter, provide: Provide
) -> None:
    provider = await provide(refusing(400))
    await connect(router, provider.url, stream_options=False)
    assert await text_of(router) == "hi"
    assert [b"stream_options" in call.body for call in provider.calls] == [False]


async def test_event_that_nobody_asked_for_passes_after_the_wish_was_refused(
    router: ApiKeyRouter, provide: Provide
) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'

    async def script(call: Any) -> None:
        if b"stream_options" in call.body:
            await call.answer(REFUSED, 400)
        else:
            await call.stream(STREAM + usage)
            await call.end()

    def request_for(attempt: Any) -> WireRequest:
        asks = adapter.asks_usage(attempt.model)
        body = b'{"stream_options":{}}' if asks else b"{}"
        return WireRequest("chat/completions", body, asks_usage=asks)

    provider = await provide(script)
    adapter = await connect(router, provider.url)
    demand = Demand(model="m", request_id="r", stream=True)
    answer = await router.forward(demand, request_for, withhold_usage=lambda _: True)
    assert answer.stream is not None
    assert b"".join([chunk async for chunk in answer.stream]) == STREAM + usage
