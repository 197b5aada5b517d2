"""The official client against the service."""

import asyncio
from collections import Counter
from typing import Any

import httpx2
import openai
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
HELLO: Any = [{"role": "user", "content": "Hello!"}]
TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def client_of(proxy: Any, **more: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0, **more)


async def test_chat_plain_streamed_and_with_tools(proxy: Any) -> None:
    async with client_of(proxy) as client:
        answer = await client.chat.completions.create(model="small", messages=HELLO)
        assert answer.choices[0].message.content
        stream = await client.chat.completions.create(model="small", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        assert all(chunk.choices for chunk in chunks), "the usage event was not asked for"
        assert chunks[-1].choices[0].finish_reason == "stop"
        stream = await client.chat.completions.create(
            model="small", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens == 8
        called = await client.chat.completions.create(model="small", messages=HELLO, tools=TOOLS)
        calls = called.choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].function.name == "look"  # type: ignore[union-attr]


async def test_completions_embeddings_and_models(proxy: Any) -> None:
    async with client_of(proxy) as client:
        assert (await client.completions.create(model="small", prompt="x")).choices[0].text
        vectors = await client.embeddings.create(
            model="small", input=["a", "b"], encoding_format="float"
        )
        assert len(vectors.data) == 2
        assert [model.id async for model in client.models.list()] == ["small", "large"]
        assert (await client.models.retrieve("small")).owned_by == "p1"


async def test_a_hundred_at_once_use_both_keys(proxy: Any) -> None:
    async with client_of(proxy) as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.with_raw_response.create(model="small", messages=HELLO)
                for _ in range(100)
            )
        )
        used = Counter(answer.headers["x-key-used"] for answer in answers)
        assert set(used) == {"key-1", "key-2"}
        assert all(answer.headers["x-provider-used"] == "p1" for answer in answers)
        assert len({answer.headers["x-request-id"] for answer in answers}) == 100


async def test_unknown_model_is_404_with_the_nearest(proxy: Any) -> None:
    async with client_of(proxy) as client:
        await client.models.list()
        with pytest.raises(openai.NotFoundError, match="small") as caught:
            await client.chat.completions.create(model="smal", messages=HELLO)
        assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("name", "owner"), [("small", "p1"), ("p1/small", "p1"), ("mine", "apikeyrouter")]
)
async def test_model_is_shown_by_every_name_that_is_served(
    simulator: RunningSimulator, serve: Any, config_for: Any, name: str, owner: str
) -> None:
    config = config_for(simulator.base_url(), models={"mine": ["p1/small"]})
    async with client_of(serve(config)) as client:
        assert (await client.chat.completions.create(model=name, messages=HELLO)).choices
        card = await client.models.retrieve(name)
    assert (card.id, card.owned_by) == (name, owner)


@pytest.mark.parametrize("name", ["smal", "p1/smal", "p2/small"])
async def test_model_that_is_not_served_is_not_shown(proxy: Any, name: str) -> None:
    async with client_of(proxy) as client:
        with pytest.raises(openai.NotFoundError, match=r"did you mean small") as caught:
            await client.models.retrieve(name)
        assert caught.value.code == "model_not_found"


async def test_client_is_told_of_no_model_that_it_may_not_use(
    simulator: RunningSimulator, serve: Any, config_for: Any
) -> None:
    clients = [{"name": "a", "token": "any", "models": ["large"]}]
    proxy = serve(config_for(simulator.base_url(), clients=clients))
    async with client_of(proxy) as client:
        for name in ("small", "p1/small", "smal"):
            with pytest.raises(openai.NotFoundError) as caught:
                await client.models.retrieve(name)
            assert caught.value.body["message"] == f"no key serves model '{name}'"  # type: ignore[index]
        with pytest.raises(openai.NotFoundError, match="did you mean large"):
            await client.models.retrieve("larg")


async def test_bad_requests_are_400_and_name_the_field(proxy: Any) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        for body, param in (
            (b"{", None),
            (b"[]", None),
            (b'{"messages": []}', "model"),
            (b'{"model": 7}', "model"),
            (b'{"model": "small", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        ):
            answer = await client.post("/v1/chat/completions", content=body)
            assert answer.status_code == 400, body
            error = answer.json()["error"]
            assert (error["type"], error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize("status", [401, 429, 500, 503, 529])
async def test_client_sees_only_success(
    simulator: RunningSimulator, proxy: Any, status: int
) -> None:
    kind: dict[str, Any] = {"kind": "status", "status": status, "key": "k1", "times": 4}
    if status == 429:
        kind["retry_after_s"] = 1
    simulator.condition(**kind)
    async with client_of(proxy) as client:
        for stream in (False, True) * 4:
            answer = await client.chat.completions.create(
                model="small", messages=HELLO, stream=stream
            )
            if stream:
                assert [chunk async for chunk in answer]


async def test_invalid_keys_everywhere_are_not_the_clients_401(
    simulator: RunningSimulator, proxy: Any
) -> None:
    simulator.condition(kind="invalid_key")
    async with client_of(proxy) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model="small", messages=HELLO)
        assert caught.value.status_code == 503
        assert "sk-sim" not in str(caught.value)


async def test_client_error_passes_and_cools_nothing(
    simulator: RunningSimulator, proxy: Any
) -> None:
    simulator.condition(kind="status", status=400, times=1)
    async with client_of(proxy) as client:
        with pytest.raises(openai.BadRequestError, match="The simulated provider answers 400"):
            await client.chat.completions.create(model="small", messages=HELLO)
        await client.chat.completions.create(model="small", messages=HELLO)


async def test_stream_that_breaks_off_is_told_in_the_stream(
    simulator: RunningSimulator, proxy: Any
) -> None:
    simulator.condition(kind="cut", chunks=3, times=1)
    async with client_of(proxy) as client:
        stream = await client.chat.completions.create(model="small", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="broke off"):
            _ = [chunk async for chunk in stream]
        simulator.condition(kind="no_finish", times=1)
        stream = await client.chat.completions.create(model="small", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="without a finish reason"):
            _ = [chunk async for chunk in stream]


async def test_provider_that_is_down_for_a_moment_fails_nobody(
    simulator: RunningSimulator, proxy: Any
) -> None:
    async with client_of(proxy) as client:
        await client.chat.completions.create(model="small", messages=HELLO)
        simulator.stop()
        asking = asyncio.gather(
            *(client.chat.completions.create(model="small", messages=HELLO) for _ in range(5))
        )
        await asyncio.sleep(1.0)
        simulator.start()
        assert all(answer.choices for answer in await asking)
