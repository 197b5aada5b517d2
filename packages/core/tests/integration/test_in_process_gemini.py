"""Google's client over a router in the same process, as far as it takes a HTTP client."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from in_process import SCENARIO, router_over

from apikeyrouter import ApiKeyRouter
from apikeyrouter.integrations import (
    RouterLoop,
    RouterTransport,
    SyncRouterTransport,
    http_client,
    sync_http_client,
)
from apikeyrouter_simulator import RunningSimulator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]
LOOK = types.FunctionDeclaration(name="look", parameters_json_schema={"type": "object"})
WITH_TOOLS = types.GenerateContentConfig(
    tools=[types.Tool(function_declarations=[LOOK])],
    automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
)


@pytest.fixture(scope="module")
def _world() -> Iterator[RunningSimulator]:
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


def options_of(router: ApiKeyRouter, way: str) -> types.HttpOptions:
    """Return both ways in which the client takes a transport."""
    if way == "client":
        return types.HttpOptions(httpx_async_client=http_client(router))
    return types.HttpOptions(async_client_args={"transport": RouterTransport(router)})


@pytest.fixture(params=["client", "transport"])
async def google(router: ApiKeyRouter, request: Any) -> AsyncIterator[Any]:
    client = genai.Client(api_key="dummy", http_options=options_of(router, request.param))
    yield client.aio.models
    await client.aio.aclose()
    client.close()


async def test_whole_streamed_tools_and_counts(google: Any, world: RunningSimulator) -> None:
    whole = await google.generate_content(model="flash", contents="Hello!")
    stream = await google.generate_content_stream(model="flash", contents="Hello!")
    parts = [part async for part in stream]
    assert "".join(part.text or "" for part in parts).strip() == whole.text.strip() != ""
    assert parts[-1].usage_metadata.candidates_token_count == 8
    called = await google.generate_content(model="flash", contents="Hi", config=WITH_TOOLS)
    assert called.function_calls[0].name == "look"
    assert (await google.count_tokens(model="flash", contents="Hello!")).total_tokens > 0
    assert {call["status"] for call in world.log()} == {200}


async def test_models_are_googles_cards(google: Any) -> None:
    names = [model.name async for model in await google.list()]
    assert {"models/flash", "models/small"} <= set(names)
    assert (await google.get(model="flash")).display_name == "flash"


async def test_key_that_dies_midway_is_not_noticed(google: Any, world: RunningSimulator) -> None:
    for number in range(12):
        if number == 4:
            world.condition(kind="revoked_key", key="g1")
        assert (await google.generate_content(model="flash", contents="Hello!")).text


async def test_chat_provider_serves_it_by_translation(google: Any) -> None:
    stream = await google.generate_content_stream(model="small", contents="Hello!")
    assert [part async for part in stream][-1].usage_metadata.candidates_token_count == 8


async def test_refusal_is_googles(google: Any) -> None:
    with pytest.raises(errors.ClientError, match="no key serves model 'flush'") as refused:
        await google.generate_content(model="flush", contents="Hello!")
    assert (refused.value.code, refused.value.status) == (404, "NOT_FOUND")


async def test_stream_left_early_settles_the_hold_once_it_is_collected(
    google: Any, world: RunningSimulator, router: ApiKeyRouter
) -> None:
    """The client closes nothing itself, and what it drops refers to itself."""
    world.condition(kind="tokens_per_s", rate=2)
    stream = await google.generate_content_stream(model="flash", contents="Hello!")
    await anext(stream)
    await stream.aclose()
    assert router.get_state_summary()["open_reservations"] == 1
    del stream
    async with asyncio.timeout(5):
        # Each generator that is closed lets go of the one below it.
        while router.get_state_summary()["open_reservations"]:
            gc.collect()
            await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["client", "transport"])
def test_blocking(world: RunningSimulator, way: str) -> None:
    with RouterLoop() as loop:
        router = loop.run(router_over(world))
        transport = {"transport": SyncRouterTransport(router, loop=loop)}
        options = types.HttpOptions(client_args=transport)
        if way == "client":
            options = types.HttpOptions(httpx_client=sync_http_client(router, loop=loop))
        with genai.Client(api_key="dummy", http_options=options) as client:
            whole = client.models.generate_content(model="flash", contents="Hello!")
            parts = list(client.models.generate_content_stream(model="flash", contents="Hello!"))
        assert "".join(part.text or "" for part in parts).strip() == (whole.text or "").strip()
        loop.run(router.close())
