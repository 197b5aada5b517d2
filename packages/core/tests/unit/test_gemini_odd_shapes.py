"""Whatever Gemini's bodies look like: read without harm, or refused."""

import contextlib
import json
from typing import Any

import pytest
from gemini_bodies import read, write
from gemini_streams import ARRAYS, EVENTS, as_events, spoken, streamed
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.dialect import BadBodyError

pytestmark = pytest.mark.unit

#: Anything, with names that mean something somewhere.
REQUESTS: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 500) | st.text("ANYabOBJECT", max_size=6),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["parts", "text", "thought", "functionCall", "name", "args", "id", "inlineData",
             "fileData", "fileUri", "mimeType", "thoughtSignature", "role", "response", "items",
             "functionDeclarations", "functionResponse", "parameters", "type", "properties",
             "functionCallingConfig", "mode", "thinkingConfig", "stopSequences", "nullable",
             "responseSchema", "responseMimeType", "temperature", "anyOf", "enum"]
        ),
        inner, max_size=4,
    ),
    max_leaves=14,
)  # fmt: skip


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(["systemInstruction", "tools", "toolConfig", "generationConfig"]), REQUESTS
    ),
    REQUESTS,
)
def test_requests_of_any_shape_are_read_or_refused(body: Any, content: Any) -> None:
    try:
        conversation, _ = read({**body, "contents": content})
    except BadBodyError:
        return
    write(conversation)


@given(st.binary(max_size=80), st.integers(1, 9))
def test_any_bytes_are_read_without_harm(data: bytes, size: int) -> None:
    for stream in (data, b"data: " + data + b"\n\n", b"[" + data):
        streamed(EVENTS, stream, size)


ANSWERS: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 500) | st.text("STOPab", max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["candidates", "content", "parts", "text", "thought", "functionCall", "name", "args",
             "finishReason", "usageMetadata", "promptTokenCount", "error", "code", "message",
             "inlineData", "fileData", "mimeType", "thoughtSignature", "promptFeedback", "role",
             "contents", "tools", "functionDeclarations", "generationConfig", "index", "response",
             "functionResponse", "systemInstruction", "parameters", "type", "properties"]
        ),
        inner, max_size=4,
    ),
    max_leaves=14,
)  # fmt: skip


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(["candidates", "error", "usageMetadata"]), ANSWERS))
def test_answers_of_any_shape_are_read_without_harm(body: Any) -> None:
    with contextlib.suppress(BadBodyError):
        json.loads(EVENTS.write_reply(EVENTS.read_reply(body)))
    spoken(ARRAYS, streamed(EVENTS, as_events([body]), 7))
