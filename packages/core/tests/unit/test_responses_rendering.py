"""Responses read into the neutral form and written from it: nothing is lost without a word."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.conversation import (
    Conversation,
    Losses,
    Media,
    OutputFormat,
    Reasoning,
    Refusal,
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
from apikeyrouter.dialects.openai_responses.dialect import OpenAIResponses
from apikeyrouter.dialects.openai_responses.rendering import ResponsesRendering

pytestmark = pytest.mark.unit
RESPONSES = ResponsesRendering()
OWN = "openai-responses"

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
NAMES = st.text("abcdefgh_-", min_size=1, max_size=8)
SCHEMAS = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
DATA = st.just("AAAA")
USER_PARTS = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Media, kind=st.just("image"), url=st.just("https://x/y.png"), detail=st.just("low")),
    st.builds(
        Media, kind=st.just("image"), data=DATA, mime=st.just("image/png"), detail=st.just("auto")
    ),
    st.builds(Media, kind=st.just("audio"), data=DATA, mime=st.just("audio/wav")),
    st.builds(
        Media, kind=st.just("document"), data=DATA, mime=st.just("application/pdf"), name=NAMES
    ),
    st.builds(Media, kind=st.just("document"), url=st.just("https://x/y.pdf")),
)
MODELS_PARTS = st.one_of(
    st.builds(Text, text=TEXTS),
    st.builds(Refusal, text=TEXTS),
    st.builds(ToolCall, id=NAMES, name=NAMES, arguments=st.just('{"a":1}')),
    st.builds(Thinking, text=TEXTS, encrypted=NAMES, id=NAMES, origin=st.just(OWN)),
)
RESULTS = st.builds(ToolResult, call_id=NAMES, content=st.lists(USER_PARTS, min_size=1, max_size=2))
TURNS = st.one_of(
    st.builds(lambda parts: Turn("user", parts), st.lists(USER_PARTS, min_size=1, max_size=3)),
    st.builds(
        lambda parts: Turn("assistant", parts), st.lists(MODELS_PARTS, min_size=1, max_size=3)
    ),
    st.builds(lambda results: Turn("user", results), st.lists(RESULTS, min_size=1, max_size=2)),
    st.builds(lambda text: Turn("system", [Text(text=text)]), TEXTS),
)
CONVERSATIONS = st.builds(
    Conversation,
    model=NAMES,
    system=st.lists(st.builds(Text, text=TEXTS), max_size=2),
    turns=st.lists(TURNS, min_size=1, max_size=4),
    tools=st.lists(
        st.builds(Tool, name=NAMES, description=TEXTS, parameters=SCHEMAS, strict=st.booleans()),
        min_size=1, max_size=2,
    ),
    tool_choice=st.one_of(
        st.none(),
        st.builds(ToolChoice, st.just("required"), st.lists(NAMES, max_size=2), st.booleans()),
        st.builds(ToolChoice, st.just("auto"), st.lists(NAMES, max_size=2), st.booleans()),
        st.builds(ToolChoice, st.just("none"), st.just([]), st.booleans()),
    ),
    output_format=st.one_of(
        st.none(), st.just(OutputFormat()),
        st.builds(OutputFormat, schema=SCHEMAS, name=NAMES, strict=st.booleans()),
    ),
    reasoning=st.one_of(
        st.none(), st.builds(Reasoning, st.sampled_from(["low", "high"]), st.none(), st.just(True))
    ),
    sampling=st.builds(Sampling, temperature=st.just(0.5), top_p=st.just(0.9)),
    max_output_tokens=st.one_of(st.none(), st.integers(16, 9999)),
    stream=st.booleans(),
    service_tier=st.sampled_from(["", "flex"]),
    user=st.sampled_from(["", "u"]),
    metadata=st.sampled_from([{}, {"a": "b"}]),
)  # fmt: skip


def _apart(turns: list[Turn]) -> bool:
    """Tell whether no two turns stand together that would be read as one."""
    kinds = [(turn.role, isinstance(turn.parts[0], ToolResult)) for turn in turns]
    is_one = {("user", True), ("assistant", False)}
    return turns[0].role != "system" and not any(
        a == b and a in is_one for a, b in itertools.pairwise(kinds)
    )


@settings(max_examples=150)
@given(CONVERSATIONS.filter(lambda found: _apart(found.turns)))
def test_what_is_written_is_read_the_same(conversation: Conversation) -> None:
    losses = Losses()
    body = json.loads(RESPONSES.write_request(conversation, losses))
    read = RESPONSES.read_request(body, losses)
    assert losses.names == []
    assert read == conversation


@pytest.mark.parametrize(
    ("extra", "lost"),
    [
        ({"previous_response_id": "resp_1"}, ["previous_response_id"]),
        ({"background": True}, ["background"]),
        ({"background": False, "conversation": None, "store": True}, []),
        ({"include": ["reasoning.encrypted_content"], "prompt_cache_key": "k"}, []),
        ({"include": ["message.output_text.logprobs"]}, ["include"]),
        ({"truncation": "auto"}, ["truncation"]),
        ({"truncation": "disabled", "text": {"verbosity": "medium"}}, []),
        ({"text": {"verbosity": "low"}}, ["text.verbosity"]),
        (
            {"tools": [{"type": "web_search"}, {"type": "custom"}]},
            ["tools.web_search", "tools.custom"],
        ),
        ({"tool_choice": {"type": "mcp"}}, ["tool_choice"]),
        ({"input": [{"type": "item_reference", "id": "x"}]}, ["input.item_reference"]),
        ({"input": [{"role": "user", "content": [{"type": "video"}]}]}, ["input.content.video"]),
        ({"made_up": 1}, ["made_up"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_carried_is_named(extra: dict[str, Any], lost: list[str]) -> None:
    losses = Losses()
    RESPONSES.read_request({"model": "m", "input": "hi", **extra}, losses)
    assert losses.names == lost


@pytest.mark.parametrize(
    ("conversation", "lost"),
    [
        (Conversation(stop=["x"], choices=2), ["stop", "n"]),
        (Conversation(sampling=Sampling(top_k=5, seed=1)), ["top_k", "seed"]),
        (Conversation(service_tier="batch"), ["service_tier"]),
        (
            Conversation(turns=[Turn("user", [Media(kind="image", file_id="f")])]),
            ["image by file id"],
        ),
    ],
)
def test_what_a_response_cannot_carry_is_named(conversation: Conversation, lost: list[str]) -> None:
    losses = Losses()
    RESPONSES.write_request(conversation, losses)
    assert losses.names == lost


@pytest.mark.parametrize("given_input", [None, [], "", {}])
def test_request_without_input_is_none(given_input: object) -> None:
    with pytest.raises(BadBodyError, match="input: should be text or a list"):
        RESPONSES.read_request({"model": "m", "input": given_input}, Losses())


@pytest.mark.parametrize(
    ("model", "asks"), [("o3", True), ("openai/gpt-5.4", True), ("gpt-4o", False)]
)
def test_reasoning_is_asked_for_where_there_is_some(model: str, asks: bool) -> None:
    body = json.loads(RESPONSES.write_request(Conversation(model, max_output_tokens=1), Losses()))
    assert ("include" in body, body["store"], body["max_output_tokens"]) == (asks, False, 16)


NAMES_IN_BODIES = [
    "role", "content", "type", "text", "input", "output", "arguments", "id", "item", "summary",
    "image_url", "response", "delta", "usage", "error", "tools", "name", "output_index",
    "encrypted_content", "created_at",
]  # fmt: skip
KINDS = [
    "message", "reasoning", "function_call", "output_text", "input_image", "response.completed",
    "response.output_item.added", "response.output_item.done", "response.output_text.delta",
    "response.function_call_arguments.delta", "response.reasoning_summary_text.delta", "error",
]  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(NAMES_IN_BODIES), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(ODD, min_size=1, max_size=3), st.sampled_from(KINDS))
def test_odd_bodies_are_read_without_a_stumble(values: list[Any], kind: str) -> None:
    reader, judge = RESPONSES.delta_reader(), OpenAIResponses().judge
    for value in values:
        body = {"type": kind, **value} if isinstance(value, dict) else {"output": value}
        request = {"tools": [body], **body, "input": [body, value]}
        RESPONSES.read_request(request, Losses())
        RESPONSES.read_reply(body | {"output": [body]})
        data = json.dumps(body).encode()
        judge(data)
        list(reader.feed(b"data: " + data + b"\n\n"))
