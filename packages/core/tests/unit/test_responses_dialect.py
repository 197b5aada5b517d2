"""What is known of a response's request, stream and answer, whatever way its bytes are split."""

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apikeyrouter.dialects.catalogue import dialect_of
from apikeyrouter.dialects.dialect import BadBodyError, ToldError, Verdict
from apikeyrouter.dialects.openai_responses.dialect import OpenAIResponses
from apikeyrouter.dialects.openai_responses.peek import peek
from apikeyrouter.dialects.streams.stream_head import StreamHead
from apikeyrouter.domain.models.token_usage import Usage

pytestmark = pytest.mark.unit
DIALECT = OpenAIResponses()
RESP, CONV = ("responses", "resp_1"), ("conversations", "conv_1")


def event(kind: str, **members: Any) -> bytes:
    data = json.dumps({"type": kind, **members}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


BARE = {"id": "resp_1", "status": "in_progress", "error": None, "usage": None, "output": []}
USAGE = {"input_tokens": 75, "input_tokens_details": {"cached_tokens": 64}, "output_tokens": 9}
CREATED = event("response.created", response=BARE, sequence_number=0)
ITEM = event("response.output_item.added", item={"id": "m", "type": "message", "content": []})
PART = event("response.content_part.added", part={"type": "output_text", "text": ""})
TALK = event(
    "response.output_text.delta",
    delta='"response.completed" "usage":{"input_tokens":1} {"type":"error"} "error":{}',
)
DONE = event("response.completed", response=BARE | {"status": "completed", "usage": USAGE})
STREAM = CREATED + b": ping\n\n" + ITEM + PART + TALK * 3 + DONE
CUTS = st.lists(st.integers(min_value=0, max_value=10**6), max_size=40)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(ends)]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@given(cuts=CUTS)
@example(cuts=list(range(len(STREAM) + 50)))
def test_any_splitting_tells_the_same_usage_and_changes_no_byte(
    line_end: bytes, cuts: list[int]
) -> None:
    stream, tap = STREAM.replace(b"\n", line_end), DIALECT.tap()
    passed = b"".join([tap.feed(piece) for piece in pieces_of(stream, cuts)]) + tap.finish()
    assert passed == stream
    assert (tap.usage, tap.complete, tap.error) == (Usage(75, 9, 64), True, None)


@given(stream=st.binary(max_size=500) | st.sampled_from([CREATED, DONE]), cuts=CUTS)
def test_any_bytes_at_all_pass_unchanged(stream: bytes, cuts: list[int]) -> None:
    tap, head = DIALECT.tap(), StreamHead(DIALECT.judge)
    passed = b""
    for piece in pieces_of(stream, cuts):
        passed += tap.feed(piece)
        head.feed(piece)
    head.end()
    assert passed + tap.finish() == stream


@pytest.mark.parametrize(
    ("last", "usage", "complete", "error"),
    [
        (DONE, Usage(75, 9, 64), True, None),
        (
            event("response.incomplete", response=BARE | {"usage": {"output_tokens": 3.0}}),
            Usage(0, 3), True, None,
        ),
        (
            event("response.failed", response=BARE | {"error": {"code": "x"}, "usage": USAGE}),
            Usage(75, 9, 64), True, b'{"code":"x"}',
        ),
        (
            b'data: {"type":"error","code":"x","message":"boom"}\n\n',
            None, False, b'{"type":"error","code":"x","message":"boom"}',
        ),
        (b'data: {"type":"error","error":{"code":"x"}}\n\n', None, False, b'{"code":"x"}'),
        (
            b'data: {"type":"response.done","response":{"usage":{"input_tokens":4,'
            b'"input_token_details":{"cached_tokens":2},"output_tokens":1}}}\n\n',
            Usage(4, 1, 2), True, None,
        ),
        (event("response.completed", response={"usage": "many"}), None, False, None),
        (b"data: [DONE]\n\n", None, False, None),
    ],
    ids=["completed", "incomplete", "failed", "error", "nested", "realtime", "odd", "chat's end"],
)  # fmt: skip
def test_last_event_tells_usage_end_and_error(
    last: bytes, usage: Usage | None, complete: bool, error: bytes | None
) -> None:
    tap = DIALECT.tap()
    tap.feed(CREATED + TALK + last)
    assert (tap.usage, tap.complete, tap.error) == (usage, complete, error)


CALL = {"id": "f", "type": "function_call", "name": "look", "arguments": ""}
FAILED = event("response.failed", response=BARE | {"error": {"code": "server_error"}})


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (CREATED, Verdict.NOTHING),
        (event("response.in_progress", response=BARE), Verdict.NOTHING),
        (event("response.queued", response=BARE), Verdict.NOTHING),
        (ITEM, Verdict.NOTHING),
        (
            event("response.output_item.added", item={"type": "reasoning", "summary": []}),
            Verdict.NOTHING,
        ),
        (PART, Verdict.NOTHING),
        (
            event("response.content_part.added", part={"type": "refusal", "refusal": "no"}),
            Verdict.CARRIES,
        ),
        (event("response.output_item.added", item=CALL), Verdict.CARRIES),
        (TALK, Verdict.CARRIES),
        (DONE, Verdict.CARRIES),
        (event("response.output_item.added", item=None), Verdict.CARRIES),
        (FAILED, Verdict.FAILED),
        (event("error", message="busy"), Verdict.FAILED),
        (b'data: {"error":{"message":"busy"}}', Verdict.FAILED),
        (b"data: [1]", Verdict.NOTHING),
        (b"data: {", Verdict.NOTHING),
        (b"data: {}", Verdict.NOTHING),
    ],
)
def test_event_is_judged_by_what_it_carries(data: bytes, verdict: Verdict) -> None:
    head = StreamHead(DIALECT.judge)
    head.feed(data)
    head.end()
    assert head.verdict is verdict


def test_beginning_that_repeats_long_instructions_is_still_held() -> None:
    long = event("response.created", response=BARE | {"instructions": "x" * 50_000})
    head = StreamHead(DIALECT.judge)
    assert not head.feed(long + long.replace(b"created", b"in_progress"))
    assert head.feed(FAILED)
    assert head.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("body", "usage", "is_fine"),
    [
        ({"object": "response", "error": None, "usage": USAGE}, Usage(75, 9, 64), True),
        ({"object": "response", "status": "queued", "usage": None}, None, True),
        (
            {"object": "response", "status": "failed", "error": {"code": "x"}, "usage": USAGE},
            Usage(75, 9, 64), False,
        ),
        ({"error": {"message": "no"}}, None, False),
        ({"object": "response.input_tokens", "input_tokens": 12}, Usage(0, 0), True),
        ([], None, False),
    ],
)  # fmt: skip
def test_whole_body_tells_usage_and_failure(body: Any, usage: Usage | None, is_fine: bool) -> None:
    assert DIALECT.read_body(json.dumps(body).encode()) == (usage, is_fine)


@pytest.mark.parametrize(
    ("body", "model", "stream", "cap", "ids"),
    [
        ({"model": "m"}, "m", False, None, ()),
        ({"model": "m", "stream": True, "max_output_tokens": 9}, "m", True, 9, ()),
        ({"previous_response_id": "resp_1"}, "", False, None, (RESP,)),
        ({"model": "m", "conversation": {"id": "conv_1"}}, "m", False, None, (CONV,)),
        ({"model": "m", "conversation": "conv_1"}, "m", False, None, (CONV,)),
        ({"model": "m", "previous_response_id": None}, "m", False, None, ()),
        ({"model": "m", "previous_response_id": [5]}, "m", False, None, ()),
        ({"model": "m", "previous_response_id": "x" * 500}, "m", False, None, ()),
        ({"prompt": {"id": "pmpt_1"}}, "", False, None, ()),
    ],
)
@pytest.mark.parametrize("odd", [b"", b',"x":"\\ud800"'], ids=["plain", "half a pair"])
def test_body_is_looked_at(
    body: Any,
    model: str,
    stream: bool,
    cap: int | None,
    ids: tuple[tuple[str, str], ...],
    odd: bytes,
) -> None:
    seen = peek(json.dumps(body).encode()[:-1] + odd + b"}")
    assert (seen.model, seen.is_stream, seen.output_cap, seen.stored_ids) == (
        model, stream, cap, ids,
    )  # fmt: skip


@pytest.mark.parametrize("body", [b"{}", b'{"model":""}', b'{"model":5,"prompt":{}}', b"["])
def test_body_without_model_is_refused(body: bytes) -> None:
    with pytest.raises(BadBodyError):
        peek(body)


@given(body=st.binary(max_size=200))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with suppress(BadBodyError):
        peek(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{ "model":"a", "x":1}', b'{ "model":"b", "x":1}'),
        (b'{"prompt":{"id":"p"}}', b'{"prompt":{"id":"p"}}'),
    ],
)
def test_model_is_spliced_where_there_is_one(body: bytes, expected: bytes) -> None:
    assert DIALECT.with_model(body, "b") == expected


def test_errors_are_told_as_openai_does() -> None:
    told = ToldError(429, "busy", "rate_limit_error", "rate_limit_exceeded")
    error = {"message": "busy", "type": "rate_limit_error", "param": None}
    error["code"] = "rate_limit_exceeded"
    assert msgspec.json.decode(DIALECT.error_body(told, "r")) == {"error": error}
    tap = DIALECT.tap()
    tap.feed(DIALECT.error_event(told, "r"))
    assert msgspec.json.decode(tap.error or b"") == error


@pytest.mark.parametrize("endpoint", ["responses", "responses/compact", "responses/input_tokens"])
def test_endpoints_are_of_the_dialect(endpoint: str) -> None:
    assert dialect_of(endpoint).name == "openai-responses"
