"""The beginning of a stream is judged the same, whatever way its bytes are split."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apikeyrouter.dialects.dialect import Verdict
from apikeyrouter.dialects.openai_chat.judging import judge
from apikeyrouter.dialects.openai_chat.usage_tap import StreamTap
from apikeyrouter.dialects.streams.stream_head import (
    LONGEST_HEAD_BYTES,
    Form,
    StreamHead,
    form_of,
)

pytestmark = pytest.mark.unit

ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
TEXT = b'data: {"choices":[{"delta":{"content":"\\"error\\":{}"},"finish_reason":null}]}\n\n'
TOOL = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]},"finish_reason":null}]}\n\n'
LEGACY = b'data: {"choices":[{"text":"hi","index":0,"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
FILTERS = b'data: {"choices":[],"prompt_filter_results":[]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
ERROR = b'data: {"error":{"message":"busy"}}\n\n'
TYPED = b'event: error\ndata: {"type":"error","message":"busy"}\n\n'
NULL = b'data: {"choices":null,"error_message":"no"}\n\n'
PING, DONE, WORDS = b": ping\n\n", b"data: [DONE]\n\n", b"data: Service Unavailable\n\n"

CARRIES = st.sampled_from([TEXT, TOOL, LEGACY, FINISH])
FAILS = st.sampled_from([ERROR, TYPED, NULL])
BEARS_NOTHING = st.lists(st.sampled_from([ROLE, FILTERS, USAGE, PING, DONE, WORDS]), max_size=6)
CUTS = st.lists(st.integers(min_value=0, max_value=10**6), max_size=40)


def pieces_of(stream: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(ends)]


def verdict_on(stream: bytes, cuts: list[int]) -> Verdict:
    head = StreamHead(judge)
    if not any(head.feed(piece) for piece in pieces_of(stream, cuts)):
        head.end()
    return head.verdict


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@given(
    before=BEARS_NOTHING, event=CARRIES, after=BEARS_NOTHING | FAILS.map(lambda e: [e]), cuts=CUTS
)
@example(before=[PING, ROLE], event=TEXT, after=[ERROR], cuts=list(range(400)))
def test_any_splitting_shows_the_first_event_that_carries_something(
    line_end: bytes, before: list[bytes], event: bytes, after: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join([*before, event, *after]).replace(b"\n", line_end)
    assert verdict_on(stream, cuts) is Verdict.CARRIES


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@given(before=BEARS_NOTHING, event=FAILS, is_cut=st.booleans(), cuts=CUTS)
def test_any_splitting_shows_an_error_before_anything_was_carried(
    line_end: bytes, before: list[bytes], event: bytes, is_cut: bool, cuts: list[int]
) -> None:
    stream = b"".join([*before, event]).replace(b"\n", line_end)
    assert verdict_on(stream.rstrip() if is_cut else stream, cuts) is Verdict.FAILED


@given(events=BEARS_NOTHING, cuts=CUTS)
def test_what_bears_nothing_carries_nothing(events: list[bytes], cuts: list[int]) -> None:
    assert verdict_on(b"".join(events), cuts) is Verdict.NOTHING


@given(pieces=st.lists(st.binary(max_size=200) | st.sampled_from([b"data:", b"\n\n", b"{", b"["])))
def test_any_bytes_are_judged_and_kept(pieces: list[bytes]) -> None:
    head = StreamHead(judge)
    fed = b""
    for piece in pieces:
        fed += piece
        if head.feed(piece):
            break
    head.end()
    assert (head.text, form_of(fed) in Form) == (fed, True)


def test_content_is_known_as_soon_as_its_event_is_whole() -> None:
    head = StreamHead(judge)
    assert [head.feed(piece) for piece in (ROLE, TEXT[:-1], TEXT[-1:])] == [False, False, True]


def test_long_beginning_is_let_go() -> None:
    head = StreamHead(judge)
    assert not head.feed(b"data: " + b"x" * (LONGEST_HEAD_BYTES - 6))
    assert head.feed(b"x")


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (b"", Form.UNCLEAR),
        (b"\r\n ", Form.UNCLEAR),
        (b"dat", Form.UNCLEAR),
        (b"\xef\xbb", Form.UNCLEAR),
        (b"data: {}", Form.EVENTS),
        (b"\xef\xbb\xbfdata: {}", Form.EVENTS),
        (b"\n\n: ping", Form.EVENTS),
        (b"event: x", Form.EVENTS),
        (b' {"choices"', Form.WHOLE),
        (b"[{", Form.WHOLE),
        (b"<html>", Form.TEXT),
        (b"datum", Form.TEXT),
        (b"\x1f\x8b\x08", Form.TEXT),
    ],
)
def test_form_is_told_by_the_first_bytes(head: bytes, form: Form) -> None:
    assert form_of(head) is form


KEPT = st.sampled_from([ROLE, TEXT, FINISH, PING, b": ping\n", DONE])
OWN = st.sampled_from([USAGE, USAGE.replace(b'"choices":[],', b""), USAGE.replace(b"[]", b"null")])


@given(before=st.lists(KEPT, max_size=8), usage=OWN, after=st.lists(KEPT, max_size=3), cuts=CUTS)
def test_only_the_usage_event_is_kept_back_whatever_way_comments_and_events_are_split(
    before: list[bytes], usage: bytes, after: list[bytes], cuts: list[int]
) -> None:
    tap = StreamTap(withhold_usage=True)
    stream = b"".join([*before, usage, *after])
    passed = b"".join([tap.feed(piece) for piece in pieces_of(stream, cuts)]) + tap.finish()
    # A comment of one line belongs to the event that follows it.
    kept = b"".join([*before, *after])
    told = tap.usage
    assert told is not None
    assert (told.input_tokens, passed.replace(b": ping\n", b"")) == (
        3, kept.replace(b": ping\n", b""),
    )  # fmt: skip


@given(cuts=CUTS)
def test_whole_comment_lines_pass_at_once(cuts: list[int]) -> None:
    tap, stream = StreamTap(withhold_usage=True), b": ping\n" * 5 + PING
    fed = passed = b""
    for piece in pieces_of(stream, cuts):
        fed += piece
        passed += tap.feed(piece)
        assert passed == fed[: fed.rfind(b"\n") + 1]
    assert tap.finish() == b""
