"""What Anthropic's messages tell as they pass: usage, end, errors, and what they carry."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.dialects.catalogue import DIALECTS, dialect_of
from apikeyrouter.dialects.dialect import BadBodyError, ToldError, Verdict
from apikeyrouter.domain.interfaces.provider_adapter import Serving
from apikeyrouter.domain.models.token_usage import TokenUsage, Usage
from apikeyrouter.infrastructure.adapters.anthropic_adapter import AnthropicAdapter

pytestmark = pytest.mark.unit
ANTHROPIC = DIALECTS["anthropic"]


def event(kind: str, **data: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (
        kind.encode(), json.dumps({"type": kind, **data}, separators=(",", ":")).encode(),
    )  # fmt: skip


STARTED = event(
    "message_start",
    message={
        "id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "claude-x",
        "stop_reason": None, "stop_sequence": None,
        "usage": {
            "input_tokens": 10, "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 2000, "output_tokens": 1, "service_tier": "priority",
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        },
    },
)  # fmt: skip
BEGUN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
PING = event("ping")
#: Words of a model that look like facts.
SAID = event(
    "content_block_delta", index=0,
    delta={"type": "text_delta", "text": '"usage": {"output_tokens": 5} message_stop "error"'},
)  # fmt: skip
NAMED = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "message_stop"})
ENDED = event("content_block_stop", index=0)
COUNTED = event(
    "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None},
    usage={"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 7}},
)  # fmt: skip
STOPPED = event("message_stop")
STREAM = STARTED + BEGUN + PING + SAID + NAMED + ENDED + COUNTED + STOPPED
USED = Usage(2310, 40, 2000, 300, 200, 7, tier="priority")
FAILED = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'


def test_usage_of_a_stream_counts_the_cache_as_input_and_its_last_output() -> None:
    tap = ANTHROPIC.tap()
    assert tap.feed(STREAM) == STREAM
    assert (tap.finish(), tap.usage, tap.complete, tap.error) == (b"", USED, True, None)
    assert USED.told() == TokenUsage(
        input_tokens=2310, output_tokens=40, cached_tokens=2000, cache_written_tokens=300,
        cache_written_1h_tokens=200, reasoning_tokens=7, tier="priority",
    )  # fmt: skip


@pytest.mark.parametrize("stream", [STREAM, STREAM.replace(b"\n", b"\r\n")], ids=["lf", "crlf"])
def test_usage_is_found_wherever_the_bytes_are_split(stream: bytes) -> None:
    for at in range(1, len(stream)):
        tap = ANTHROPIC.tap()
        passed = tap.feed(stream[:at])
        # Whoever looks midway changes nothing.
        assert tap.complete is False
        passed += tap.feed(stream[at:]) + tap.finish()
        assert (passed, tap.usage, tap.complete) == (stream, USED, True)


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_usage_is_found_in_any_pieces(cuts: list[int]) -> None:
    tap = ANTHROPIC.tap()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        tap.feed(STREAM[start:end])
    assert (tap.usage, tap.complete) == (USED, True)


@pytest.mark.parametrize(
    ("stream", "usage", "complete"),
    [
        (STARTED + BEGUN + SAID, Usage(2310, 1, 2000, 300, 200, tier="priority"), False),
        (BEGUN + SAID + NAMED, None, False),
        (BEGUN + SAID + STOPPED, None, True),
        (
            event("message_delta", usage={"input_tokens": 3, "output_tokens": 4}) + STOPPED,
            Usage(3, 4), True,
        ),
        # What is cumulative at the end replaces what was told at the beginning.
        (
            STARTED + event("message_delta", usage={"input_tokens": 11, "output_tokens": 2}),
            Usage(2311, 2, 2000, 300, 200, tier="priority"), False,
        ),
        (STARTED.replace(b":300", b":null").replace(b":2000", b":null"),
         Usage(10, 1, 0, 0, 200, tier="priority"), False),
        (event("message_delta", usage=None), None, False),
        (event("message_delta", usage={"output_tokens": "many"}), None, False),
        (b"data: {nonsense \"usage\": 1\n\n" + STOPPED, None, True),
    ],
    ids=["cut", "words", "untold", "at the end", "cumulative", "nulls", "null", "odd", "nonsense"],
)  # fmt: skip
def test_stream_tells_what_it_tells(stream: bytes, usage: Usage | None, complete: bool) -> None:
    tap = ANTHROPIC.tap()
    tap.feed(stream)
    tap.finish()
    assert (tap.usage, tap.complete) == (usage, complete)


def test_error_in_a_stream_is_found_and_the_models_words_are_none() -> None:
    tap = ANTHROPIC.tap()
    tap.feed(STARTED + BEGUN + SAID)
    assert tap.error is None
    tap.feed(FAILED)
    assert json.loads(tap.error or b"")["error"] == {"type": "overloaded_error"}
    assert tap.complete is False


@given(st.binary(max_size=400))
def test_tap_takes_any_bytes(noise: bytes) -> None:
    tap = ANTHROPIC.tap()
    assert tap.feed(STARTED + noise) + tap.finish() == STARTED + noise


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(noise: bytes) -> None:
    assert ANTHROPIC.judge(noise) in Verdict
    ANTHROPIC.read_body(noise)


def block(**content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": content}


def delta(**content: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": content}


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        ({"type": "ping"}, Verdict.NOTHING),
        ({"type": "message_start", "message": {"usage": {"input_tokens": 1}}}, Verdict.NOTHING),
        (block(type="text", text=""), Verdict.NOTHING),
        (block(type="thinking", thinking="", signature=""), Verdict.NOTHING),
        (block(type="text", text="Hi"), Verdict.CARRIES),
        (block(type="tool_use", id="t", name="look", input={}), Verdict.CARRIES),
        (block(type="redacted_thinking", data="x"), Verdict.CARRIES),
        (block(type="server_tool_use", id="s", name="web_search"), Verdict.CARRIES),
        (delta(type="text_delta", text=""), Verdict.NOTHING),
        (delta(type="text_delta", text="Hi"), Verdict.CARRIES),
        (delta(type="input_json_delta", partial_json=""), Verdict.NOTHING),
        (delta(type="input_json_delta", partial_json="{"), Verdict.CARRIES),
        (delta(type="thinking_delta", thinking="Hm"), Verdict.CARRIES),
        (delta(type="signature_delta", signature="abc"), Verdict.CARRIES),
        ({"type": "content_block_stop", "index": 0}, Verdict.NOTHING),
        ({"type": "message_delta", "delta": {"stop_reason": None}}, Verdict.NOTHING),
        ({"type": "message_delta", "delta": {"stop_reason": "refusal"}}, Verdict.CARRIES),
        ({"type": "message_stop"}, Verdict.CARRIES),
        ({"type": "error", "error": {"type": "overloaded_error"}}, Verdict.FAILED),
        ({"error": {"message": "no"}}, Verdict.FAILED),
        ({"type": "something_new"}, Verdict.NOTHING),
        (["odd"], Verdict.NOTHING),
    ],
)
def test_event_is_judged_by_what_it_carries(data: Any, verdict: Verdict) -> None:
    assert ANTHROPIC.judge(json.dumps(data).encode()) is verdict


@pytest.mark.parametrize(
    ("body", "usage", "is_fine"),
    [
        ({"type": "message", "usage": {"input_tokens": 5, "output_tokens": 2}}, Usage(5, 2), True),
        ({"type": "message"}, None, True),
        ({"input_tokens": 2095}, Usage(0, 0), True),
        ({"type": "error", "error": {"type": "api_error", "message": "x"}}, None, False),
        ({"error": "no"}, None, False),
        ([], None, False),
    ],
    ids=["message", "untold", "count", "error", "flat", "list"],
)
def test_body_tells_usage_and_whether_it_is_fine(
    body: Any, usage: Usage | None, is_fine: bool
) -> None:
    assert ANTHROPIC.read_body(json.dumps(body).encode()) == (usage, is_fine)


def test_peek_reads_what_a_decision_needs_and_the_rest_stays_as_it_is() -> None:
    body = b'{"new_field":{"model":"no"}, "max_tokens": 4096 ,"stream":true, "model" :"a"}'
    seen = ANTHROPIC.peek(body)
    assert (seen.model, seen.is_stream, seen.output_cap) == ("a", True, 4096)
    assert ANTHROPIC.with_model(body, "b") == body.replace(b'"a"', b'"b"')
    assert ANTHROPIC.wants_usage_spliced(seen) is False


@pytest.mark.parametrize(
    ("body", "param"), [(b"{}", "model"), (b'{"model":1}', "model"), (b"[]", None), (b"{", None)]
)
def test_body_that_names_no_model_is_refused(body: bytes, param: str | None) -> None:
    with pytest.raises(BadBodyError) as raised:
        ANTHROPIC.peek(body)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("status", "told_as", "type_"),
    [
        (400, 400, "invalid_request_error"),
        (401, 401, "authentication_error"),
        (402, 402, "billing_error"),
        (403, 403, "permission_error"),
        (404, 404, "not_found_error"),
        (405, 405, "invalid_request_error"),
        (409, 409, "conflict_error"),
        (413, 413, "request_too_large"),
        (429, 429, "rate_limit_error"),
        (500, 500, "api_error"),
        (502, 502, "api_error"),
        (503, 529, "overloaded_error"),
        (504, 504, "timeout_error"),
    ],
)
def test_refusal_is_told_as_anthropic_tells_it(status: int, told_as: int, type_: str) -> None:
    told = ToldError(status, "not now", "server_error")
    error = {
        "type": "error", "error": {"type": type_, "message": "not now"}, "request_id": "req-1",
    }  # fmt: skip
    assert ANTHROPIC.error_status(told) == told_as
    assert json.loads(ANTHROPIC.error_body(told, "req-1")) == error
    assert ANTHROPIC.answer_headers("req-1") == [(b"request-id", b"req-1")]
    name, data, *rest = ANTHROPIC.error_event(told, "req-1").split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == error


def test_field_at_fault_is_named() -> None:
    told = ToldError(400, "is missing", param="max_tokens")
    message = json.loads(ANTHROPIC.error_body(told, ""))["error"]["message"]
    assert message == "max_tokens: is missing"


@pytest.mark.parametrize(
    "endpoint", ["messages", "messages/count_tokens", "messages/batches", "messages/batches/x"]
)
def test_endpoints_are_anthropics(endpoint: str) -> None:
    assert dialect_of(endpoint) is ANTHROPIC
    assert AnthropicAdapter().serving(endpoint) is Serving.NATIVE
