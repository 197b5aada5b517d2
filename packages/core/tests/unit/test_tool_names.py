"""Names of tools that a dialect does not take go out shortened and come back whole."""

import json
from typing import Any

import pytest

from apikeyrouter.dialects.catalogue import DIALECTS
from apikeyrouter.dialects.conversation import Conversation, Tool
from apikeyrouter.dialects.tool_names import ToolNames
from apikeyrouter.dialects.translation import Translation, Translations
from apikeyrouter.domain.interfaces.wire import WireRequest

pytestmark = pytest.mark.unit

LONG = "mcp__a_server_of_somebody__" + "list_everything_" * 4
DOTTED = "files.read"
MESSAGES: dict[str, Any] = {
    "model": "m", "max_tokens": 9, "stream": True,
    "metadata": {"user_id": "u" * 100},
    "tools": [{"name": name, "input_schema": {"type": "object"}} for name in (LONG, DOTTED, "ls")],
    "tool_choice": {"type": "tool", "name": LONG},
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "t1", "name": LONG, "input": {}},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]},
    ],
}  # fmt: skip


def translated(stream: bool) -> tuple[Translation, dict[str, Any]]:
    request = WireRequest("v1/messages", json.dumps(MESSAGES).encode(), endpoint="messages")
    translation = Translations(lenient=False).translate(
        request, DIALECTS["openai"], model="gpt-4o", stream=stream
    )
    return translation, json.loads(translation.request.body)


def test_provider_gets_names_that_it_takes_in_every_place() -> None:
    _, body = translated(stream=False)
    names = [tool["function"]["name"] for tool in body["tools"]]
    assert [len(name) for name in names[:2]] == [64, len(DOTTED) + 9]
    assert names[2] == "ls"
    assert body["tool_choice"]["function"]["name"] == names[0]
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == names[0]
    assert len(body["user"]) == 64


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_call_comes_back_under_the_clients_own_name(stream: bool) -> None:
    translation, body = translated(stream)
    call = {
        "index": 0, "id": "c", "type": "function",
        "function": {"name": body["tools"][0]["function"]["name"], "arguments": "{}"},
    }  # fmt: skip
    if stream:
        tap = translation.tap(DIALECTS["openai"].tap())
        chunk = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
        told = tap.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n") + tap.finish()
    else:
        choice = {"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
        told = translation.answer(json.dumps({"choices": [choice]}).encode())
    assert f'"name":"{LONG}"'.encode() in told


def test_names_that_begin_alike_stay_apart() -> None:
    tools = [Tool(LONG + end) for end in "ab"]
    out = ToolNames(Conversation(tools=tools), 64).outward(Conversation(tools=tools))
    assert len({tool.name for tool in out.tools}) == 2


def test_names_that_are_taken_cost_nothing() -> None:
    conversation = Conversation(tools=[Tool("ls")])
    assert ToolNames(conversation, 64).outward(conversation) is conversation
