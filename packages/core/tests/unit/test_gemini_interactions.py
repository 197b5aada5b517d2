"""Interactions of Gemini: what is read of requests, whole answers and streams."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.catalogue import dialect_of, serving_of
from apikeyrouter.dialects.dialect import BadBodyError, Verdict
from apikeyrouter.domain.interfaces.provider_adapter import Serving
from apikeyrouter.domain.models.token_usage import Usage

pytestmark = pytest.mark.unit
DIALECT = dialect_of("interactions")
TOLD = {
    "total_input_tokens": 7, "total_tool_use_tokens": 3, "total_output_tokens": 5,
    "total_thought_tokens": 2, "total_cached_tokens": 4, "total_tokens": 17,
}  # fmt: skip
USAGE = Usage(10, 7, 4, reasoning_tokens=2)
EVENTS = [
    {"event_type": "interaction.created", "interaction": {"id": "i", "usage": None}},
    {"event_type": "step.delta", "delta": {"type": "text", "text": '"usage" {"error"'}},
    {"event_type": "interaction.completed", "interaction": {"id": "i", "usage": TOLD}},
]


def stream_of(events: list[Any]) -> bytes:
    return b"".join(
        f"event: {event['event_type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def test_interactions_are_of_who_speaks_gemini() -> None:
    found = [serving_of("interactions", (name,)) for name in ("gemini", "openai", "anthropic")]
    assert found == [Serving.NATIVE, Serving.NONE, Serving.NONE]


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ({"model": "flash", "input": "x"}, ("flash", False, None)),
        ({"model": "models/flash", "stream": True}, ("flash", True, None)),
        ({"agent": "deep-research"}, ("", False, None)),
        ({"model": "m", "generation_config": {"max_output_tokens": 9}}, ("m", False, 9)),
        ({"model": "m", "generation_config": {"max_output_tokens": "x"}}, ("m", False, None)),
        ({"model": "m", "generation_config": 5}, ("m", False, None)),
    ],
)
def test_request_names_model_stream_and_cap(body: Any, seen: tuple[Any, ...]) -> None:
    found = DIALECT.peek(json.dumps(body).encode())
    assert (found.model, found.is_stream, found.output_cap) == seen


def test_request_is_an_object() -> None:
    with pytest.raises(BadBodyError):
        DIALECT.peek(b"[]")


def test_only_the_model_is_replaced() -> None:
    body = b'{"input": "model", "model" : "smart", "x": 1}'
    assert DIALECT.with_model(body, "flash") == b'{"input": "model", "model" : "flash", "x": 1}'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"id": "i", "usage": TOLD}, (USAGE, True)),
        ({"id": "i"}, (None, True)),
        ({"error": {"message": "no"}}, (None, False)),
        ({"usage": {"total_input_tokens": "x"}}, (Usage(0, 0), True)),
        ({"usage": 5}, (None, True)),
        ([], (None, False)),
    ],
)
def test_whole_answer_tells_usage(body: Any, told: Any) -> None:
    assert DIALECT.read_body(json.dumps(body).encode()) == told


@settings(max_examples=100)
@given(st.lists(st.integers(0, len(stream_of(EVENTS))), max_size=6))
def test_stream_tells_usage_wherever_it_is_cut(cuts: list[int]) -> None:
    stream, tap, at = stream_of(EVENTS), DIALECT.tap(), 0
    for cut in (*sorted(cuts), len(stream)):
        assert tap.feed(stream[at:cut]) == stream[at:cut]
        at = cut
    tap.finish()
    assert (tap.usage, tap.complete, tap.error) == (USAGE, True, None)


def test_broken_stream_is_not_complete_and_an_error_is_told() -> None:
    tap = DIALECT.tap()
    tap.feed(stream_of(EVENTS[:2]))
    assert (tap.usage, tap.complete, tap.error) == (None, False, None)
    tap.feed(stream_of([{"event_type": "error", "error": {"code": "x", "message": "no"}}]))
    assert json.loads(tap.error or b"") == {"error": {"code": "x", "message": "no"}}


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_read(data: bytes) -> None:
    DIALECT.read_body(data)
    DIALECT.judge(data)
    tap = DIALECT.tap()
    tap.feed(b'data: {"usage":' + data + b"\n\n" + data)
    tap.finish()


def test_event_of_an_error_fails_and_any_other_carries() -> None:
    failed = [DIALECT.judge(json.dumps(event).encode()) for event in ({"error": {}}, EVENTS[0])]
    assert failed == [Verdict.FAILED, Verdict.CARRIES]
