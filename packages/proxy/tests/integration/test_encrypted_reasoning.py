"""Reasoning that one account has encrypted stops no conversation from moving to another."""

from typing import Any

import openai
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
HELLO: Any = {"role": "user", "content": "Hello!"}
LOOK: Any = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("tools", [[], [LOOK]], ids=["text", "call"])
async def test_conversation_goes_on_at_every_account(
    proxy: Any, simulator: RunningSimulator, stream: bool, tools: Any
) -> None:
    """The two keys are of two accounts, and take turns."""
    ask: Any = {
        "model": "small", "store": False, "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low"}, "tools": tools,
    }  # fmt: skip
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key="any", max_retries=0
    ) as client:
        turns: Any = [HELLO]
        for _ in range(6):
            made = (await client.responses.create(input=turns, **ask)).output
            assert made[0].type == "reasoning"
            assert made[0].encrypted_content
            turns += [item.to_dict() for item in made]
            turns += [
                {"type": "function_call_output", "call_id": item.call_id, "output": "a tree"}
                for item in made
                if item.type == "function_call"
            ]
            turns.append(HELLO)
            if stream:
                async with client.responses.stream(input=turns, **ask) as events:
                    async for _event in events:
                        pass
                    assert (await events.get_final_response()).status == "completed"
    assert all(key["accepted"] for key in simulator.stats()["keys"].values())


async def test_what_stayed_behind_is_told(proxy: Any) -> None:
    """The two keys are of two accounts, and take turns: reasoning of one cannot be read there."""
    ask: Any = {"model": "small", "store": False, "include": ["reasoning.encrypted_content"],
                "reasoning": {"effort": "low"}}  # fmt: skip
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key="any", max_retries=0
    ) as client:
        first = await client.responses.with_raw_response.create(input="Hello!", **ask)
        turns: Any = [HELLO, *(item.to_dict() for item in first.parse().output), HELLO]
        told = {first.headers["x-key-used"]: first.headers.get("x-translation-dropped")}
        for _ in range(4):
            made = await client.responses.with_raw_response.create(input=turns, **ask)
            told.setdefault(made.headers["x-key-used"], made.headers.get("x-translation-dropped"))
    assert sorted(told.values(), key=str) == [None, "input.encrypted_content"]


async def test_other_faults_of_a_conversation_are_told(proxy: Any) -> None:
    turns: Any = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "of nobody"},
        {"type": "function_call_output", "call_id": "call_unasked", "output": "a tree"},
    ]
    async with openai.AsyncOpenAI(
        base_url=f"{proxy.url}/v1", api_key="any", max_retries=0
    ) as client:
        with pytest.raises(openai.BadRequestError, match="call_unasked"):
            await client.responses.create(model="small", input=turns)
