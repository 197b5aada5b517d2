"""Requests for messages read into the neutral form."""

import base64
import json
from typing import Any

import pytest

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
from apikeyrouter.dialects.dialect import BadBodyError

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


def content_of(*blocks: Any) -> list[Any]:
    conversation, losses = read(messages=[{"role": "user", "content": list(blocks)}])
    assert losses == []
    return conversation.turns[0].parts


TEXT = base64.b64encode(b"The sky").decode()


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            Text(text="a", cache="1h"),
        ),
        (
            {
                "type": "image", "cache_control": {"type": "ephemeral"},
                "source": {"type": "base64", "media_type": "image/png", "data": "iVBOR"},
            },
            Media(kind="image", data="iVBOR", mime="image/png", cache="5m"),
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            Media(kind="image", url="https://x/y.png"),
        ),
        (
            {
                "type": "document", "title": "t.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            },
            Media(kind="document", data="JVBE", mime="application/pdf", name="t.pdf"),
        ),
        (
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "The sky"},
            },
            Media(kind="document", data=TEXT, mime="text/plain"),
        ),
        (
            {
                "type": "document",
                "source": {"type": "content", "content": [{"type": "text", "text": "The sky"}]},
            },
            Media(kind="document", data=TEXT, mime="text/plain"),
        ),
        (
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            Media(kind="document", file_id="file_1"),
        ),
        (
            {
                "type": "tool_result", "tool_use_id": "t1", "is_error": True,
                "content": [
                    {"type": "text", "text": "no"},
                    {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
                ],
            },
            ToolResult(
                call_id="t1", is_error=True,
                content=[Text(text="no"), Media(kind="image", url="https://x/y.png")],
            ),
        ),
        (
            {"type": "tool_result", "tool_use_id": "t1", "content": "42"},
            ToolResult(call_id="t1", content=[Text(text="42")]),
        ),
        ({"type": "tool_result", "tool_use_id": "t1"}, ToolResult(call_id="t1")),
        (
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": [1]}},
            ToolCall(id="t1", name="look", arguments='{"a":[1]}'),
        ),
        (
            {"type": "thinking", "thinking": "Hm", "signature": "abc="},
            Thinking(text="Hm", signature="abc=", origin="anthropic"),
        ),
        (
            {"type": "redacted_thinking", "data": "xyz"},
            Thinking(encrypted="xyz", origin="anthropic"),
        ),
    ],
)  # fmt: skip
def test_block_is_read(block: dict[str, Any], part: Any) -> None:
    assert content_of(block) == [part]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"container": "c1"}, ["container"]),
        ({"mcp_servers": [{"url": "x"}]}, ["mcp_servers"]),
        ({"inference_geo": "us"}, ["inference_geo"]),
        ({"speed": "fast"}, ["speed"]),
        ({"speed": "standard", "container": None, "mcp_servers": []}, []),
        ({"tools": [{"name": "a"}, {"type": "web_search_20260318", "name": "w"}]}, ["tools[1]"]),
        ({"thinking": {"type": "between_tools"}}, ["thinking"]),
        (
            {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]},
            ["messages.content.search_result"],
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]},
            ["messages.content.server_tool_use"],
        ),
        # What agents send with every request costs them none.
        (
            {
                "context_management": {"edits": []}, "metadata": {"user_id": "u"},
                "cache_control": {"type": "ephemeral"}, "diagnostics": {},
                "tools": [{"name": "a", "eager_input_streaming": True, "defer_loading": True}],
            },
            [],
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_is_named(body: dict[str, Any], names: list[str]) -> None:
    assert read(**body)[1] == names


def test_request_without_messages_is_refused() -> None:
    with pytest.raises(BadBodyError, match="messages"):
        MESSAGES.read_request({"model": "m", "messages": []}, Losses())


def test_wishes_are_read() -> None:
    conversation, losses = read(
        model="m", stream=True, temperature=0.5, top_p=0.9, top_k=4, stop_sequences=["x", ""],
        metadata={"user_id": "u"}, service_tier="standard_only",
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        tools=[{"name": "a", "description": "d", "input_schema": {"type": "object"}}],
        tool_choice={"type": "tool", "name": "a", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
    )  # fmt: skip
    assert losses == []
    assert conversation == Conversation(
        model="m", stream=True, max_output_tokens=9, stop=["x"], user="u",
        service_tier="standard_only", sampling=Sampling(temperature=0.5, top_p=0.9, top_k=4),
        system=[Text(text="Be brief.", cache="5m")],
        turns=[Turn("user", [Text(text="Hi")])],
        tools=[Tool(name="a", description="d", parameters={"type": "object"})],
        tool_choice=ToolChoice("required", ["a"], parallel=False),
        output_format=OutputFormat(schema={"type": "object"}),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "reasoning"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, Reasoning("none")),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Reasoning("", 2048, True)),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            Reasoning("", -1, False),
        ),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            Reasoning("xhigh", None, True),
        ),
        ({"output_config": {"effort": "low"}}, Reasoning("low")),
    ],
)  # fmt: skip
def test_thinking_is_read(body: dict[str, Any], reasoning: Reasoning | None) -> None:
    assert read(**body)[0].reasoning == reasoning


@pytest.mark.parametrize(
    ("system", "texts"),
    [
        ("x-anthropic-billing-header: cch=1;\nBe brief.", ["Be brief."]),
        (
            [
                {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=ab12c;"},
                {"type": "text", "text": "Be brief."},
            ],
            ["Be brief."],
        ),
        ("Say x-anthropic-billing-header:", ["Say x-anthropic-billing-header:"]),
        (None, []),
    ],
)
def test_billing_line_of_an_agent_goes_to_nobody_else(system: Any, texts: list[str]) -> None:
    assert [text.text for text in read(system=system)[0].system] == texts
