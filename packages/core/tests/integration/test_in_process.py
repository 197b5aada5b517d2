"""Official asynchronous clients over a router in the same process."""

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import anthropic
import httpx
import openai
import pytest
from in_process import HELLO, SCENARIO, TOOLS, router_over

from apikeyrouter import ApiKeyRouter
from apikeyrouter.domain.feed.events import AttemptStarted
from apikeyrouter.integrations import RouterTransport, http_client
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
MESSAGE: Any = {"model": "claude-x", "max_tokens": 200, "messages": HELLO}


@pytest.fixture(scope="module")
def _world() -> Any:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
def world(_world: RunningSimulator) -> RunningSimulator:
    _world.reset()
    return _world


@pytest.fixture
async def router(world: RunningSimulator) -> AsyncIterator[ApiKeyRouter]:
    async with await router_over(world) as router:
        yield router
        assert router.get_state_summary()["open_reservations"] == 0


@pytest.fixture
async def connect(router: ApiKeyRouter) -> AsyncIterator[Callable[..., Any]]:
    """Make clients of OpenAI's, of Anthropic's if so said, that are closed with the test."""
    async with AsyncExitStack() as stack:

        async def make(kind: Any = openai.AsyncOpenAI, **more: Any) -> Any:
            options = {"api_key": "dummy-key", "max_retries": 0, **more}
            client = kind(http_client=http_client(router), **options)
            return await stack.enter_async_context(client)

        yield make


async def test_whole_chats_use_every_key(connect: Any, world: RunningSimulator) -> None:
    client = await connect()
    asked = (client.chat.completions.create(model="small", messages=HELLO) for _ in range(20))
    answers = await asyncio.gather(*asked)
    assert {answer.usage.completion_tokens for answer in answers} == {8}
    assert all(answer._request_id.startswith("req-") for answer in answers)
    assert {call["key"] for call in world.log()} == {"k1", "k2"}


@pytest.mark.parametrize(
    "base_url",
    ["https://api.openai.com/v1", "http://any.where/openai/v1/", "http://x", "http://x/v1/v1"],
)
async def test_any_base_url_leads_to_the_router(connect: Any, base_url: str) -> None:
    client = await connect(base_url=base_url)
    answer = await client.chat.completions.create(model="small", messages=HELLO)
    assert answer.choices[0].message.content


async def test_stream_tells_usage_only_to_who_asks(connect: Any, router: ApiKeyRouter) -> None:
    client = await connect()
    for wish, told in (({}, [None]), ({"stream_options": {"include_usage": True}}, [8, None])):
        stream = await client.chat.completions.create(
            model="small", messages=HELLO, stream=True, **wish
        )
        chunks = [chunk async for chunk in stream]
        assert {c.usage.completion_tokens if c.usage else None for c in chunks} == set(told)
    records = [router.get_request_trace(name) for name in router._records]
    assert [record["output_tokens"] for record in records if record] == [8, 8]


async def test_tools_come_back(connect: Any) -> None:
    client = await connect()
    turns: Any = [{"role": "user", "content": "all [[parallel]]"}]
    async with client.chat.completions.stream(model="small", messages=turns, tools=TOOLS) as stream:
        streamed = await stream.get_final_completion()
    whole = await client.chat.completions.create(model="small", messages=turns, tools=TOOLS)
    for answer in (streamed, whole):
        calls = answer.choices[0].message.tool_calls
        assert [call.function.name for call in calls] == ["weather", "time"]
    turns.append(whole.choices[0].message.model_dump(exclude_none=True))
    turns += [{"role": "tool", "tool_call_id": call.id, "content": "1"} for call in calls]
    last = await client.chat.completions.create(model="small", messages=turns, tools=TOOLS)
    assert last.choices[0].finish_reason == "stop"


async def test_responses_embeddings_and_models(connect: Any) -> None:
    client = await connect()
    response = await client.responses.create(model="small", input="Hello!")
    assert response.output_text
    embedded = await client.embeddings.create(model="small", input=["a", "b"])
    assert len(embedded.data) == 2
    assert {model.id async for model in client.models.list()} >= {"small", "large"}
    assert (await client.models.retrieve("small")).owned_by == "sim"
    with pytest.raises(openai.NotFoundError, match="did you mean small"):
        await client.models.retrieve("smal")


async def test_pictures_and_speech_pass_as_they_come(connect: Any) -> None:
    client = await connect()
    pictures = await client.images.generate(model="small", prompt="a key")
    assert pictures.data[0].b64_json or pictures.data[0].url
    speech = await client.audio.speech.create(model="small", voice="alloy", input="Hello!")
    assert speech.content


async def test_message_plain_streamed_counted(connect: Any) -> None:
    client = await connect(anthropic.AsyncAnthropic)
    plain = await client.messages.create(**MESSAGE)
    async with client.messages.stream(**MESSAGE) as stream:
        streamed = await stream.get_final_message()
    assert plain.content[0].text == streamed.content[0].text != ""
    counted = await client.messages.count_tokens(model="claude-x", messages=HELLO)
    assert counted.input_tokens > 0
    cards = [card async for card in client.models.list()]
    assert "claude-x" in [card.id for card in cards]


async def test_message_is_served_by_a_chat_provider(connect: Any) -> None:
    client = await connect(anthropic.AsyncAnthropic)
    async with client.messages.stream(**{**MESSAGE, "model": "small"}) as stream:
        message = await stream.get_final_message()
    assert message.usage.output_tokens == 8
    # Nobody counts for it: it is estimated.
    counted = await client.messages.with_raw_response.count_tokens(model="small", messages=HELLO)
    assert counted.headers["x-token-count"] == "estimated"
    assert (await counted.parse()).input_tokens > 0


async def test_no_request_fails_when_a_key_dies_midway(
    connect: Any, world: RunningSimulator
) -> None:
    client = await connect()

    async def ask(number: int) -> Any:
        if number == 10:
            world.condition(kind="revoked_key", key="k1")
        answer = await client.chat.completions.create(
            model="small", messages=HELLO, stream=number % 2 == 0
        )
        return [part async for part in answer] if number % 2 == 0 else answer

    for number in range(24):
        assert await ask(number)
    assert Counter(call["status"] for call in world.log()) == {200: 24, 401: 1}


async def test_credential_of_the_client_is_not_sent_on(
    connect: Any, provide: Any, router: ApiKeyRouter
) -> None:
    async def script(call: Any) -> None:
        await call.answer(b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}')

    provider = await provide(script)
    async with await router_over(None, base_url=provider.url) as lonely:
        client = openai.AsyncOpenAI(api_key="dummy-key", http_client=http_client(lonely))
        await client.chat.completions.create(
            model="small", messages=HELLO, extra_headers={"X-Mine": "kept", "Api-Key": "dummy-key"}
        )
    head = provider.calls[0].head.lower()
    assert "dummy-key" not in head
    assert "authorization: bearer sk-sim-1" in head
    assert "x-mine: kept" in head


async def test_closed_early_settles_the_hold(connect: Any, world: RunningSimulator) -> None:
    world.condition(kind="tokens_per_s", rate=20)
    client = await connect()
    async with await client.chat.completions.create(
        model="small", messages=HELLO, stream=True
    ) as stream:
        await anext(stream)


async def test_abandoned_stream_settles_the_hold(
    router: ApiKeyRouter, world: RunningSimulator
) -> None:
    """Whoever stops iterating and never closes gives the hold back all the same."""
    world.condition(kind="tokens_per_s", rate=2)
    async with httpx.AsyncClient(transport=RouterTransport(router)) as client:
        body = {"model": "small", "messages": HELLO, "stream": True}
        request = client.build_request("POST", "http://x/v1/chat/completions", json=body)
        response = await client.send(request, stream=True)
        await anext(response.aiter_raw())
        assert router.get_state_summary()["open_reservations"] == 1
        async with asyncio.timeout(5):
            while router.get_state_summary()["open_reservations"]:
                gc.collect()
                await asyncio.sleep(0)


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "streamed"])
async def test_cancelled_task_cancels_the_call(
    connect: Any, world: RunningSimulator, router: ApiKeyRouter, streams: bool
) -> None:
    world.condition(kind="slow_first_token", seconds=30)
    started = asyncio.Event()
    router.listeners.append(lambda event: started.set() if type(event) is AttemptStarted else None)
    client = await connect()
    asking = asyncio.ensure_future(
        client.chat.completions.create(model="small", messages=HELLO, stream=streams)
    )
    await started.wait()
    assert router.get_state_summary()["open_reservations"] == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert router.get_state_summary()["open_reservations"] == 0


@pytest.mark.parametrize("condition", ["slow_first_token", "stall"])
async def test_clients_own_timeout(connect: Any, world: RunningSimulator, condition: str) -> None:
    more: Any = {"seconds": 30} if condition == "slow_first_token" else {"chunks": 2}
    world.condition(kind=condition, **more)
    client = await connect(timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        async for _ in await client.chat.completions.create(
            model="small", messages=HELLO, stream=True
        ):
            pass


async def test_waits_for_room_instead_of_failing(connect: Any) -> None:
    """Two requests a second are let in, none is refused."""
    client = await connect()
    asked = (client.chat.completions.create(model="tight", messages=HELLO) for _ in range(4))
    assert len(await asyncio.gather(*asked)) == 4


async def test_who_cannot_wait_is_told_when_to_come_back(connect: Any, router: Any) -> None:
    client = await connect(timeout=0.01)
    await client.with_options(timeout=5).chat.completions.create(model="tight", messages=HELLO)
    with pytest.raises(openai.RateLimitError) as refused:
        await client.chat.completions.create(model="tight", messages=HELLO)
    assert int(refused.value.response.headers["retry-after-ms"]) > 0
    assert "no key for model 'tight'" in refused.value.message


async def test_refusals_come_in_the_clients_dialect(connect: Any) -> None:
    client = await connect(anthropic.AsyncAnthropic)
    with pytest.raises(anthropic.NotFoundError) as unknown:
        await client.messages.create(**{**MESSAGE, "model": "claude-y"})
    assert unknown.value.body["error"]["type"] == "not_found_error"
    assert unknown.value.request_id.startswith("req-")


async def test_broken_stream_ends_with_an_error(connect: Any, world: RunningSimulator) -> None:
    world.condition(kind="cut", chunks=3)
    client = await connect()
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in await client.chat.completions.create(
            model="small", messages=HELLO, stream=True
        ):
            pass


async def test_what_names_no_model_is_refused_with_a_reason(connect: Any) -> None:
    client = await connect()
    with pytest.raises(openai.BadRequestError, match="'files' names no model"):
        await client.files.create(file=b"x", purpose="batch")
