"""Requests for messages there and back, and whatever may be sent for one."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.anthropic.rendering.messages_rendering import MessagesRendering
from apikeyrouter.dialects.conversation import (
    Conversation,
    Losses,
    Media,
    OutputFormat,
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

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
NAMES = st.text("abcdefgh_-", min_size=1, max_size=8)
CACHES = st.sampled_from(["", "5m", "1h"])
TEXT_PARTS = st.builds(Text, text=TEXTS, cache=CACHES)
IMAGES = st.one_of(
    st.builds(Media, kind=st.just("image"), url=st.just("https://x/y.png"), cache=CACHES),
    st.builds(Media, kind=st.just("image"), data=st.just("AAAA"), mime=st.just("image/png")),
)
DOCUMENTS = st.one_of(
    st.builds(
        Media, kind=st.just("document"), data=st.just("AAAA"), mime=st.just("application/pdf"),
        name=NAMES,
    ),
    st.builds(
        lambda text: Media(
            kind="document", data=base64.b64encode(text.encode()).decode(), mime="text/plain"
        ),
        TEXTS,
    ),
)  # fmt: skip
RESULTS = st.builds(
    ToolResult, call_id=NAMES, is_error=st.booleans(),
    content=st.lists(st.one_of(TEXT_PARTS, IMAGES), max_size=2),
)  # fmt: skip
USERS = st.builds(
    lambda results, rest: Turn("user", [*results, *rest]),
    st.lists(RESULTS, max_size=2),
    st.lists(st.one_of(TEXT_PARTS, IMAGES, DOCUMENTS), min_size=1, max_size=3),
)
THOUGHTS = st.one_of(
    st.builds(Thinking, text=TEXTS, signature=NAMES, origin=st.just("anthropic")),
    st.builds(Thinking, encrypted=NAMES, origin=st.just("anthropic")),
)
CALLS = st.builds(ToolCall, id=NAMES, name=NAMES, arguments=st.just('{"a":1}'), cache=CACHES)
ASSISTANTS = st.builds(
    lambda thoughts, texts, calls: Turn("assistant", [*thoughts, *texts, *calls]),
    st.lists(THOUGHTS, max_size=1), st.lists(TEXT_PARTS, min_size=1, max_size=1),
    st.lists(CALLS, max_size=2),
)  # fmt: skip
TURNS = st.builds(
    lambda pairs, last: [turn for pair in pairs for turn in pair] + [last],
    st.lists(st.tuples(USERS, ASSISTANTS), max_size=2), USERS,
)  # fmt: skip
TOOLS = st.lists(
    st.builds(
        Tool, name=NAMES, description=TEXTS, strict=st.sampled_from([None, True, False]),
        parameters=st.just({"type": "object", "properties": {}}), cache=CACHES,
    ),
    min_size=1, max_size=2, unique_by=lambda tool: tool.name,
)  # fmt: skip
PARALLEL = st.sampled_from([None, True, False])
CHOICES = st.one_of(
    st.none(),
    st.builds(ToolChoice, mode=st.sampled_from(["auto", "required"]), parallel=PARALLEL),
    st.just(ToolChoice("none")),
)
CONVERSATIONS = st.builds(
    Conversation,
    model=st.just("claude-opus-4-0"),
    system=st.lists(TEXT_PARTS, max_size=2), turns=TURNS, tools=TOOLS, tool_choice=CHOICES,
    output_format=st.sampled_from([None, OutputFormat(schema={"type": "object"})]),
    sampling=st.builds(
        Sampling, temperature=st.sampled_from([None, 0.5]), top_p=st.sampled_from([None, 0.9]),
        top_k=st.sampled_from([None, 3]),
    ),
    max_output_tokens=st.integers(1, 64000), stop=st.lists(NAMES, max_size=2),
    stream=st.booleans(), service_tier=st.sampled_from(["", "auto", "standard_only"]), user=NAMES,
)  # fmt: skip


@settings(max_examples=200)
@given(CONVERSATIONS)
def test_what_a_message_can_carry_comes_back(conversation: Conversation) -> None:
    losses = Losses()
    written = MESSAGES.write_request(conversation, losses)
    assert MESSAGES.read_request(json.loads(written), losses) == conversation
    assert losses.names == []


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "role", "content", "type", "text", "source", "data", "tools", "name", "input",
                    "id", "thinking", "signature", "system", "tool_choice", "cache_control",
                    "citations", "output_config", "format", "metadata", "stop_sequences",
                ]
            ),
            inner, max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["messages", "system", "tools", "thinking", "x"]), JSON))
def test_any_request_is_read_or_refused(body: dict[str, Any]) -> None:
    losses = Losses()
    try:
        conversation = MESSAGES.read_request(body, losses)
    except BadBodyError:
        return
    MESSAGES.write_request(conversation, losses)
