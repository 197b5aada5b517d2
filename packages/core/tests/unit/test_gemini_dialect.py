"""What is known of Gemini's requests, streams and errors."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.dialects.catalogue import GEMINI, dialect_of
from apikeyrouter.dialects.dialect import BadBodyError, Tap, ToldError, Verdict
from apikeyrouter.dialects.gemini.dialect import GeminiArrays
from apikeyrouter.dialects.streams.json_items import ItemSplitter
from apikeyrouter.dialects.streams.stream_head import Form, StreamHead, form_of
from apikeyrouter.domain.models.token_usage import Usage

pytestmark = pytest.mark.unit

ARRAYS = dialect_of("streamGenerateContent")
THOUGHT = {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}]}}]}
TEXT = {
    "candidates": [{"content": {"parts": [{"text": 'a "]}{[" \\ "finishReason":"STOP" é'}]}}],
    "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9},
}
LAST = {
    "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
        "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 2, "totalTokenCount": 19,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 5}, {"modality": "AUDIO", "tokenCount": 4},
        ],
    },
}  # fmt: skip
COUNTED = Usage(11, 8, 4, reasoning_tokens=3, audio_input_tokens=4)
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 7}}
ERROR = {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}
EMPTY = {"candidates": [{"content": {"role": "model", "parts": [{"text": ""}]}}]}


def events(*pieces: Any, end: bytes = b"\r\n\r\n") -> bytes:
    return b"".join(b"data: " + json.dumps(piece).encode() + end for piece in pieces)


def array(*pieces: Any) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(piece, indent=1).encode() for piece in pieces) + b"\n]"


def read(tap: Tap, stream: bytes, size: int) -> tuple[Usage | None, bool, bytes | None]:
    passed = b"".join(tap.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert passed + tap.finish() == stream
    return tap.usage, tap.complete, tap.error


@pytest.mark.parametrize("form", [events, array])
@pytest.mark.parametrize(
    ("pieces", "usage", "is_complete"),
    [
        ([THOUGHT, TEXT, LAST], COUNTED, True),
        ([TEXT], Usage(9, 0), False),
        ([THOUGHT], None, False),
        ([BLOCKED], Usage(7, 0), True),
        ([TEXT, {"usageMetadata": {"trafficType": "ON_DEMAND"}}], Usage(9, 0), False),
        ([{**LAST, "usageMetadata": {"promptTokenCount": 2, "totalTokenCount": 9}}],
         Usage(2, 7), True),
        ([{"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}]}], None, False),
        ([{"candidates": [{"finishReason": 1}]}], None, True),
        ([{"candidates": [{"finishReason": 0}]}], None, False),
    ],
)  # fmt: skip
def test_stream_tells_its_last_counts_wherever_it_is_split(
    form: Any, pieces: list[Any], usage: Usage | None, is_complete: bool
) -> None:
    stream = form(*pieces)
    dialect = GEMINI if form is events else ARRAYS
    for size in (*range(1, 40), len(stream)):
        assert read(dialect.tap(), stream, size) == (usage, is_complete, None)


@pytest.mark.parametrize("form", [events, array])
def test_error_in_a_stream_is_seen(form: Any) -> None:
    dialect = GEMINI if form is events else ARRAYS
    usage, is_complete, error = read(dialect.tap(), form(TEXT, ERROR), 7)
    assert (usage, is_complete) == (Usage(9, 0), False)
    assert json.loads(error or b"{}") == ERROR["error"]


def test_stream_of_events_is_read_though_an_array_was_asked_for() -> None:
    assert read(ARRAYS.tap(), events(TEXT, LAST), 5) == (COUNTED, True, None)


def test_picture_of_megabytes_does_not_hide_the_end() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": "A" * 3_000_000}}
    piece = {"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]}
    for form, dialect in ((events, GEMINI), (array, ARRAYS)):
        assert read(dialect.tap(), form(piece), 65536)[1] is True


@pytest.mark.parametrize(
    ("piece", "verdict"),
    [
        (THOUGHT, Verdict.CARRIES),
        (TEXT, Verdict.CARRIES),
        (LAST, Verdict.CARRIES),
        (BLOCKED, Verdict.CARRIES),
        (EMPTY, Verdict.NOTHING),
        ({"usageMetadata": {"promptTokenCount": 3}, "modelVersion": "m"}, Verdict.NOTHING),
        ({"candidates": []}, Verdict.NOTHING),
        ({"candidates": [{"content": {"parts": [{"thought": True, "text": ""}]}}]},
         Verdict.NOTHING),
        ({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}}]},
         Verdict.CARRIES),
        ({"candidates": [{"content": {"parts": [{"text": "", "thoughtSignature": "s"}]}}]},
         Verdict.CARRIES),
        ({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]}, Verdict.CARRIES),
        (ERROR, Verdict.FAILED),
        ([], Verdict.NOTHING),
        ("x", Verdict.NOTHING),
        ({"candidates": [3, {"content": 4}, {"content": {"parts": 5}}]}, Verdict.NOTHING),
    ],
)  # fmt: skip
def test_piece_is_judged(piece: Any, verdict: Verdict) -> None:
    assert GEMINI.judge(json.dumps(piece).encode()) is verdict


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("pieces", "verdict"),
    [
        ([EMPTY, TEXT, ERROR], Verdict.CARRIES),
        ([EMPTY, ERROR], Verdict.FAILED),
        ([EMPTY], Verdict.NOTHING),
        ([], Verdict.NOTHING),
    ],
)
def test_beginning_of_an_array_is_judged_by_its_items(
    size: int, pieces: list[Any], verdict: Verdict
) -> None:
    stream = b" \n" + array(*pieces)
    assert form_of(stream, takes_arrays=True) is Form.EVENTS
    head = StreamHead(ARRAYS.judge, takes_arrays=ARRAYS.streams_arrays)
    for at in range(0, len(stream), size):
        if head.feed(stream[at : at + size]):
            break
    head.end()
    assert head.verdict is verdict
    assert (json.loads(head.event) if head.event else None) == (
        ERROR if verdict is Verdict.FAILED else None
    )


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\[]{}é,', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=3), max_size=4), st.data())
def test_items_of_an_array_are_found_however_it_is_split(items: list[Any], data: Any) -> None:
    stream = data.draw(st.sampled_from([json.dumps(items), json.dumps(items, indent=1)])).encode()
    splitter, found, at = ItemSplitter(10**6), list[bytes](), 0
    while at < len(stream):
        size = data.draw(st.integers(1, 9))
        found += splitter.feed(stream[at : at + size])
        at += size
    assert [json.loads(item) for item in found] == items
    assert splitter.is_over


@given(st.binary(max_size=60), st.integers(1, 9))
def test_any_bytes_are_read_without_harm(data: bytes, size: int) -> None:
    for stream in (data, b"[" + data, b"data: " + data):
        for dialect in (GEMINI, ARRAYS):
            read(dialect.tap(), stream, size)
            dialect.judge(stream)
            dialect.read_body(stream)
            dialect.with_model(stream, "m")
    splitter = ItemSplitter(8)
    splitter.feed(b"[" + data)
    assert len(splitter._rest) <= 9 + len(data)


def test_item_that_is_too_long_is_left_out_and_memory_bounded() -> None:
    splitter = ItemSplitter(100)
    assert splitter.feed(b'[{"a":"') == []
    for _ in range(100):
        assert splitter.feed(b"x" * 90) == []
        assert len(splitter._rest) <= 200
    assert splitter.feed(b'"},{"b":1}]') == [b'{"b":1}']


@pytest.mark.parametrize(
    ("body", "cap"),
    [
        ({}, None),
        ({"contents": []}, None),
        ({"generationConfig": {"maxOutputTokens": 50}}, 50),
        ({"generationConfig": {"maxOutputTokens": 50, "candidateCount": 3}}, 150),
        ({"generation_config": {"max_output_tokens": 7, "candidate_count": 2}}, 14),
        ({"generationConfig": {"candidateCount": 3}}, None),
        ({"generationConfig": None}, None),
        ({"generationConfig": {"maxOutputTokens": None}}, None),
        ({"generationConfig": [1]}, None),
        ({"generationConfig": {"maxOutputTokens": "40"}}, 40),
    ],
)
def test_output_cap_is_read(body: Any, cap: int | None) -> None:
    assert GEMINI.peek(json.dumps(body).encode()).output_cap == cap


def test_cap_is_read_where_the_body_has_half_a_surrogate_pair() -> None:
    body = rb'{"contents":[{"parts":[{"text":"\ud83d"}]}],"generationConfig":{"maxOutputTokens":5}}'
    assert GEMINI.peek(body).output_cap == 5


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"nonsense", b"3"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadBodyError):
        GEMINI.peek(body)


CONTENT = (
    '{"role":"model","parts":[{"functionCall":{"args":{"model":"x"}}},{"text":"\\"model\\":"}]}'
)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f'{{"contents":[{CONTENT}]}}', f'{{"contents":[{CONTENT}]}}'),
        (f'{{"contents":[{CONTENT}], "model" : "a"}}',
         f'{{"contents":[{CONTENT}], "model" : "models/new"}}'),
        ('{"requests":[{"model":"models/a","content":{}}, {"content":{"model":"a"}} ,'
         '{"model":"b"}]}',
         '{"requests":[{"model":"models/new","content":{}}, {"content":{"model":"a"}} ,'
         '{"model":"models/new"}]}'),
        ('{"generateContentRequest":{"model":"models/a","contents":[]}}',
         '{"generateContentRequest":{"model":"models/new","contents":[]}}'),
        ('{"model":"tunedModels/a"}', '{"model":"models/new"}'),
    ],
)  # fmt: skip
def test_model_is_replaced_where_a_body_names_one(before: str, after: str) -> None:
    assert GEMINI.with_model(before.encode(), "new").decode() == after


def test_tuned_model_keeps_its_own_prefix() -> None:
    assert GEMINI.with_model(b'{"model":"a"}', "tunedModels/t") == b'{"model":"tunedModels/t"}'


@pytest.mark.parametrize(
    ("body", "usage", "is_fine"),
    [
        (LAST, COUNTED, True),
        (BLOCKED, Usage(7, 0), True),
        ({"totalTokens": 31, "promptTokensDetails": []}, Usage(0, 0), True),
        ({"embedding": {"values": [0.1]}}, None, True),
        ({"embeddings": [], "usageMetadata": {"promptTokenCount": 4}}, Usage(4, 0), True),
        (ERROR, None, False),
        ([ERROR], None, False),
        ({"usageMetadata": 3}, None, False),
    ],
)
def test_whole_body_is_read(body: Any, usage: Usage | None, is_fine: bool) -> None:
    assert GEMINI.read_body(json.dumps(body).encode()) == (usage, is_fine)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"), (405, "INVALID_ARGUMENT"), (409, "ABORTED"),
        (413, "INVALID_ARGUMENT"), (429, "RESOURCE_EXHAUSTED"), (499, "CANCELLED"),
        (500, "INTERNAL"), (501, "UNIMPLEMENTED"), (502, "UNAVAILABLE"), (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"), (520, "INTERNAL"),
    ],
)  # fmt: skip
def test_error_has_googles_name_of_its_status(status: int, name: str) -> None:
    error = json.loads(GEMINI.error_body(ToldError(status, "no"), "r"))["error"]
    assert error == {"code": status, "message": "no", "status": name}


@pytest.mark.parametrize(
    ("wait_s", "delay"), [(34.0, "34s"), (0.5, "0.5s"), (0.0, "0.001s"), (7200.25, "7200.25s")]
)
def test_error_says_when_to_come_back(wait_s: float, delay: str) -> None:
    told = ToldError(429, "full", "rate_limit_error", "rate_limit_exceeded", wait_s=wait_s)
    details = json.loads(GEMINI.error_body(told, "r"))["error"]["details"]
    assert details == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "apikeyrouter",
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]


def test_error_ends_a_begun_stream_in_its_form() -> None:
    told = ToldError(503, "gone", "server_error")
    assert GEMINI.error_event(told, "r").startswith(b'data: {"error":')
    whole = json.loads(b'[{"candidates":[]}\n\n' + GeminiArrays().error_event(told, "r"))
    assert whole[1]["error"]["status"] == "UNAVAILABLE"
    assert json.loads(GeminiArrays().error_body(told, "r"))[0]["error"]["code"] == 503
