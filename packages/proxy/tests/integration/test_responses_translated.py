"""Responses of providers that speak chat alone: the official client notices nothing."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
TOOLS: Any = [
    {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
]
HELLO: Any = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "input_text", "text": "Hello!"}]},
]


SCENARIO = {
    "providers": {
        "chatty": {
            "speaks": ["openai"],
            "reply": {"tokens": 8},
            "models": ["small"],
            "scopes": {"one": {"limits": {"rpm": 60000}}},
            "keys": {"k1": {"secret": "sk-sim-1", "scope": "one"}},
        }
    }
}


@pytest.fixture(params=[None, ["openai"]], ids=["tried", "told"])
def proxy(request: pytest.FixtureRequest, serve: Any, config_for: Any) -> Iterator[Any]:
    """The service before a provider of chats, of which that is told or has to be found out."""
    with RunningSimulator(SCENARIO) as simulator:
        config = config_for(simulator.base_url())
        config["providers"]["p1"]["dialects"] = request.param
        yield serve(config)


def client_of(proxy: Any) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0)


async def test_plain_and_streamed(proxy: Any) -> None:
    async with client_of(proxy) as client:
        made = await client.responses.create(model="small", input=HELLO)
        assert made.output_text
        assert (made.status, made.usage.output_tokens if made.usage else 0) == ("completed", 8)
        async with client.responses.stream(model="small", input=HELLO) as stream:
            text = "".join(
                [e.delta async for e in stream if e.type == "response.output_text.delta"]
            )
            last = await stream.get_final_response()
    assert text
    assert last.output_text == text
    assert last.usage is not None
    assert last.usage.output_tokens == 8


async def test_many_at_once_find_out_together_that_it_speaks_chat_alone(proxy: Any) -> None:
    async with client_of(proxy) as client:
        answers = await asyncio.gather(
            *(client.responses.create(model="small", input="Hi!") for _ in range(20))
        )
    assert all(answer.output_text for answer in answers)


async def test_tools_are_called_and_their_results_go_back(proxy: Any) -> None:
    async with client_of(proxy) as client:
        async with client.responses.stream(model="small", input=HELLO, tools=TOOLS) as stream:
            async for _ in stream:
                pass
            called = await stream.get_final_response()
        call: Any = called.output[0]
        assert (call.type, call.name) == ("function_call", "look")
        answered: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "seen"}
        again = await client.responses.create(
            model="small", input=[*HELLO, call.to_dict(), answered], instructions="Go on."
        )
    assert again.output_text


def test_sync_client_gets_structured_output(proxy: Any) -> None:
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="any", max_retries=0) as client:
        made = client.responses.create(
            model="small", input="Hi!", text={"format": {"type": "json_object"}}
        )
    assert made.output_text


async def test_what_chat_cannot_carry_is_refused_by_name(proxy: Any) -> None:
    async with client_of(proxy) as client:
        with pytest.raises(
            openai.BadRequestError, match=r"previous_response_id, tools\.web_search"
        ):
            await client.responses.create(
                model="small", input="Hi!", previous_response_id="resp_1",
                tools=[{"type": "web_search"}],
            )  # fmt: skip


async def test_what_only_openai_can_do_with_responses_is_refused(proxy: Any) -> None:
    async with client_of(proxy) as client:
        await client.responses.create(model="small", input="Hi!")
        with pytest.raises(openai.NotFoundError, match="small"):
            await client.responses.input_tokens.count(model="small", input="Hi!")
