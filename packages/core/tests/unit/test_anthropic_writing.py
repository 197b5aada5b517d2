"""The neutral form written as requests for messages: as each version of the models takes them."""

import json
from typing import Any

import pytest

from apikeyrouter.dialects.anthropic.rendering import models
from apikeyrouter.dialects.anthropic.rendering.messages_rendering import MessagesRendering
from apikeyrouter.dialects.conversation import (
    Conversation,
    Losses,
    Media,
    OutputFormat,
    Reasoning,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

pytestmark = pytest.mark.unit
MESSAGES = MessagesRendering()
HI = [{"role": "user", "content": "Hi"}]
OLD, NEW = "claude-sonnet-4-5", "claude-opus-4-8"


def read(**body: Any) -> tuple[Conversation, list[str]]:
    losses = Losses()
    found = MESSAGES.read_request({"messages": HI, "max_tokens": 9, **body}, losses)
    return found, losses.names


def write(**fields: Any) -> tuple[dict[str, Any], list[str]]:
    losses = Losses()
    fields = {"model": OLD, "turns": [Turn("user", [Text(text="Hi")])], **fields}
    written = MESSAGES.write_request(Conversation(**fields), losses)
    return json.loads(written), losses.names


@pytest.mark.parametrize(
    ("model", "cap"),
    [
        ("claude-3-haiku-20240307", 4096),
        ("claude-3-5-sonnet-20241022", 8192),
        ("claude-3-7-sonnet-latest", 32000),
        ("claude-opus-4-1-20250805", 32000),
        ("claude-opus-4-20250514", 32000),
        ("claude-sonnet-4-5", 64000),
        ("us.anthropic.claude-opus-4-6-v1", 64000),
        ("anthropic/claude-4.7-opus", 64000),
        ("claude-mythos-preview", 64000),
        ("kimi-k3", 8192),
    ],
)
def test_cap_is_the_models_own_unless_the_client_has_one(model: str, cap: int) -> None:
    assert write(model=model)[0]["max_tokens"] == cap
    assert write(model=model, max_output_tokens=7)[0]["max_tokens"] == 7


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-opus-4@20250514", (4, 0)),
        ("claude-3-5-sonnet-20241022", (3, 5)),
        ("claude-sonnet-5", (5, 0)),
        ("claude-opus-5-5", (5, 5)),
        ("Claude-Haiku-4-5-20251001", (4, 5)),
        ("claude-next", (99, 0)),
        ("deepseek-v4", (3, 0)),
    ],
)
def test_version_is_read_from_the_name(model: str, version: tuple[int, int]) -> None:
    assert models.version_of(model) == version


def test_turns_of_one_side_become_one_and_results_come_first() -> None:
    turns = [
        Turn("user", [Text(text="a")]),
        Turn("user", [Text(text="b")]),
        Turn("assistant", [ToolCall(id="functions.look:0", name="look", arguments='{"x":1}')]),
        Turn("user", [Text(text="c")]),
        Turn("user", [ToolResult(call_id="functions.look:0", content=[Text(text="1")])]),
        Turn("assistant", [Text(text="So: ")]),
    ]
    assert write(turns=turns)[0]["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "functions_look_0", "name": "look", "input": {"x": 1}}
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "functions_look_0", "content": "1"},
                {"type": "text", "text": "c"},
            ],
        },
        # What is to be gone on with ends without a space.
        {"role": "assistant", "content": [{"type": "text", "text": "So:"}]},
    ]


@pytest.mark.parametrize(
    ("model", "after", "role"),
    [(OLD, [], "user"), (NEW, [], "system"), (NEW, [Turn("user", [Text(text="c")])], "user")],
    ids=["old", "new", "between"],
)
def test_instruction_in_the_middle_stays_where_it_is(
    model: str, after: list[Turn], role: str
) -> None:
    turns = [Turn("user", [Text(text="a")]), Turn("system", [Text(text="b")]), *after]
    messages = write(model=model, turns=turns)[0]["messages"]
    assert next(m["role"] for m in messages if {"type": "text", "text": "b"} in m["content"]) == (
        role
    )


def test_instructions_alone_are_said_by_the_user() -> None:
    body, _ = write(system=[Text(text="Tell a joke.")], turns=[])
    assert "system" not in body
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Tell a joke."}]}
    ]


def test_empty_text_and_foreign_thoughts_are_left_out() -> None:
    turns = [
        Turn("user", [Text(text=""), Text(text="a")]),
        Turn(
            "assistant",
            [
                Thinking(text="h", signature="s", origin="gemini"),
                Thinking(text="unsigned"),
                Thinking(text="own", signature="s", origin="anthropic-claude-v1"),
                Thinking(encrypted="e", origin="anthropic"),
                Text(text="b"),
            ],
        ),
        Turn("user", [Text(text="c")]),
    ]
    body, losses = write(turns=turns)
    assert losses == []
    assert body["messages"][0]["content"] == [{"type": "text", "text": "a"}]
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "own", "signature": "s"},
        {"type": "redacted_thinking", "data": "e"},
        {"type": "text", "text": "b"},
    ]


@pytest.mark.parametrize(
    ("media", "loss"),
    [
        (Media(kind="audio", data="AAAA", mime="audio/wav"), "audio audio/wav"),
        (Media(kind="document", file_id="f"), "document by file id"),
        (Media(kind="document", data="AAAA", mime="application/zip"), "document application/zip"),
    ],
)
def test_media_without_a_counterpart_are_named(media: Media, loss: str) -> None:
    assert write(turns=[Turn("user", [Text(text="a"), media])])[1] == [loss]


@pytest.mark.parametrize(
    ("data", "mime"),
    [("/9j/AA", "image/jpeg"), ("iVBORw", "image/png"), ("R0lGOD", "image/gif")],
)
def test_kind_of_a_picture_is_seen_where_nobody_tells_it(data: str, mime: str) -> None:
    body, _ = write(turns=[Turn("user", [Media(kind="image", data=data)])])
    assert body["messages"][0]["content"][0]["source"]["media_type"] == mime


ENABLED: Any = {"type": "enabled", "budget_tokens": 16384}


@pytest.mark.parametrize(
    ("model", "fields", "thinking", "effort"),
    [
        (OLD, {"reasoning": Reasoning("medium")}, ENABLED, None),
        (OLD, {"reasoning": Reasoning("", -1)}, ENABLED, None),
        (OLD, {"reasoning": Reasoning("", 2000)}, {**ENABLED, "budget_tokens": 2000}, None),
        (
            OLD, {"reasoning": Reasoning("high"), "max_output_tokens": 8000},
            {**ENABLED, "budget_tokens": 6000}, None,
        ),
        (OLD, {"reasoning": Reasoning("high"), "max_output_tokens": 1000}, None, None),
        (OLD, {"reasoning": Reasoning("none")}, {"type": "disabled"}, None),
        ("claude-opus-4-6", {"reasoning": Reasoning("xhigh")}, {"type": "adaptive"}, "high"),
        ("claude-opus-4-6", {"reasoning": Reasoning("", 16384)}, ENABLED, None),
        (NEW, {"reasoning": Reasoning("minimal")}, {"type": "adaptive"}, "low"),
        (NEW, {"reasoning": Reasoning("xhigh")}, {"type": "adaptive"}, "xhigh"),
        (NEW, {"reasoning": Reasoning("", 9000)}, {"type": "adaptive"}, "medium"),
        (
            NEW, {"reasoning": Reasoning("", -1, shows=True)},
            {"type": "adaptive", "display": "summarized"}, None,
        ),
        (NEW, {"reasoning": Reasoning("none")}, None, None),
        (NEW, {}, None, None),
        # Whoever has to call a tool cannot think first.
        (
            OLD,
            {
                "reasoning": Reasoning("medium"), "tools": [Tool(name="a")],
                "tool_choice": ToolChoice("required"),
            },
            None, None,
        ),
    ],
)  # fmt: skip
def test_thinking_is_asked_for_as_the_model_takes_it(
    model: str, fields: Any, thinking: Any, effort: str | None
) -> None:
    body, losses = write(model=model, **fields)
    assert losses == []
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort


@pytest.mark.parametrize("has_thoughts", [True, False])
def test_thinking_rests_where_calls_have_lost_their_thoughts(has_thoughts: bool) -> None:
    thought = Thinking(text="h", signature="s", origin="anthropic")
    turns = [
        Turn("user", [Text(text="a")]),
        Turn("assistant", [*[thought] * has_thoughts, ToolCall(id="t", name="look")]),
        Turn("user", [ToolResult(call_id="t", content=[Text(text="1")])]),
    ]
    body, _ = write(turns=turns, reasoning=Reasoning("medium"))
    assert ("thinking" in body) is has_thoughts


@pytest.mark.parametrize(
    ("model", "sampling", "told", "losses"),
    [
        ("claude-opus-4-0", Sampling(0.5, 0.9, 3), {"temperature", "top_p", "top_k"}, []),
        (OLD, Sampling(0.5, 0.9), {"temperature"}, ["top_p"]),
        (OLD, Sampling(0.5, 1), {"temperature"}, []),
        (OLD, Sampling(1.5), {"temperature"}, ["temperature"]),
        (NEW, Sampling(0.5, 0.9, 3), set(), ["temperature", "top_p", "top_k"]),
        (OLD, Sampling(None, None, None, 7, 0.1, 0.2), set(),
         ["seed", "frequency_penalty", "presence_penalty"]),
    ],
)  # fmt: skip
def test_sampling_is_what_the_model_takes(
    model: str, sampling: Sampling, told: set[str], losses: list[str]
) -> None:
    body, named = write(model=model, sampling=sampling)
    assert (body.keys() & {"temperature", "top_p", "top_k"}, named) == (told, losses)
    assert body.get("temperature", 0) <= 1


def test_whoever_thinks_is_not_drawn_from_otherwise() -> None:
    sampling = Sampling(temperature=0.2, top_p=0.5, top_k=3)
    body, losses = write(sampling=sampling, reasoning=Reasoning("medium"))
    assert losses == ["temperature", "top_p", "top_k"]
    assert not body.keys() & {"temperature", "top_p", "top_k"}


@pytest.mark.parametrize(
    ("choice", "written", "shown"),
    [
        (None, None, ["a", "b", "c"]),
        (ToolChoice("auto", parallel=False),
         {"type": "auto", "disable_parallel_tool_use": True}, ["a", "b", "c"]),
        (ToolChoice("none"), {"type": "none"}, ["a", "b", "c"]),
        (ToolChoice("required"), {"type": "any"}, ["a", "b", "c"]),
        (ToolChoice("required", ["b"], parallel=True),
         {"type": "tool", "name": "b", "disable_parallel_tool_use": False}, ["a", "b", "c"]),
        (ToolChoice("required", ["a", "b"]), {"type": "any"}, ["a", "b"]),
        (ToolChoice("auto", ["c"]), {"type": "auto"}, ["c"]),
    ],
)  # fmt: skip
def test_choice_of_tools_is_written(choice: ToolChoice | None, written: Any, shown: Any) -> None:
    tools = [Tool(name=name) for name in "abc"]
    body, _ = write(tools=tools, tool_choice=choice)
    assert body.get("tool_choice") == written
    assert [tool["name"] for tool in body["tools"]] == shown
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("fields", "member", "written", "losses"),
    [
        ({"output_format": OutputFormat()}, "output_config", None, ["response_format"]),
        (
            {"output_format": OutputFormat(schema={"type": "object"}, name="x")}, "output_config",
            {"format": {"type": "json_schema", "schema": {"type": "object"}}}, [],
        ),
        ({"service_tier": "default"}, "service_tier", "standard_only", []),
        ({"service_tier": "priority"}, "service_tier", "auto", []),
        ({"service_tier": "flex"}, "service_tier", None, ["service_tier"]),
        ({"choices": 2}, "n", None, ["n"]),
        ({"stop": ["a", " \n"]}, "stop_sequences", ["a"], ["stop"]),
        ({"user": "u"}, "metadata", {"user_id": "u"}, []),
        (
            {"user": "me@example.org"}, "metadata",
            {"user_id": "855c94f3498940b241d6b5e78bb6f9293b941953b2799f8b925bd25180571d77"}, [],
        ),
    ],
)  # fmt: skip
def test_wish_is_written_or_named(
    fields: Any, member: str, written: Any, losses: list[str]
) -> None:
    body, named = write(**fields)
    assert (body.get(member), named) == (written, losses)
