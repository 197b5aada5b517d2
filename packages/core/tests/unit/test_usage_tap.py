"""Usage is read from passing bytes, whatever way they are split, and nothing else is touched."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apikeyrouter.dialects.openai_chat.usage_tap import StreamTap, read_usage, usage_of
from apikeyrouter.domain.models.token_usage import Usage

pytestmark = pytest.mark.unit


def _usage(given: int, made: int, cached: int = 0) -> Usage:
    return Usage(given, made, cached)


CONTENT = (
    b'data: {"id":"c1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":"Gr\xc3\xbc\xc3\x9fe \xe4\xbd\xa0\xe5\xa5\xbd"},'
    b'"finish_reason":null}],"usage":null}\n\n'
)
#: A model that writes about streams: each of these words stands inside of a JSON string.
TALK = (
    b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"[DONE] \\"usage\\":{'
    b'\\"prompt_tokens\\":1,\\"completion_tokens\\":1},\\"finish_reason\\":\\"stop\\",\\"choices\\"'
    b':[] \\"error\\":{\\"message\\":\\"x\\"}"},"finish_reason":null}],"usage":null}\n\n'
)
FINISH = (
    b'data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n'
)
USAGE = (
    b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,'
    b'"total_tokens":29,"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
)
FILTERS = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
KEEP_ALIVE = b": keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
STREAM = FILTERS + KEEP_ALIVE + CONTENT + TALK + CONTENT * 3 + KEEP_ALIVE + FINISH + USAGE + DONE
TOLD = _usage(19, 10, 4)


def _drain(tap: StreamTap, pieces: list[bytes]) -> bytes:
    return b"".join([tap.feed(piece) for piece in pieces]) + tap.finish()


def _split(stream: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[start:end] for start, end in pairwise(ends)]


CUTS = st.lists(st.integers(min_value=0, max_value=10**6), max_size=40)
STREAMS = pytest.mark.parametrize(
    "stream", [STREAM, STREAM.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"]
)


@STREAMS
@given(cuts=CUTS)
@example(cuts=list(range(len(STREAM) + 50)))
def test_any_splitting_tells_the_same_usage_and_changes_no_byte(
    stream: bytes, cuts: list[int]
) -> None:
    tap = StreamTap()
    assert stream == _drain(tap, _split(stream, cuts))
    assert (tap.usage, tap.complete, tap.error) == (TOLD, True, None)


@STREAMS
@given(cuts=CUTS)
@example(cuts=list(range(len(STREAM) + 50)))
def test_any_splitting_withholds_the_usage_event_and_nothing_else(
    stream: bytes, cuts: list[int]
) -> None:
    tap = StreamTap(withhold_usage=True)
    usage = USAGE.replace(b"\n", b"\r\n") if b"\r" in stream else USAGE
    assert stream.replace(usage, b"") == _drain(tap, _split(stream, cuts))
    assert (tap.usage, tap.complete, tap.error) == (TOLD, True, None)


@given(cuts=CUTS)
def test_usage_is_found_before_the_end_of_a_long_stream(cuts: list[int]) -> None:
    stream = USAGE + FINISH + CONTENT * 200
    tap = StreamTap()
    assert stream == _drain(tap, _split(stream, cuts))
    assert (tap.usage, tap.complete, tap.output_chunks) == (TOLD, True, 201)


@given(pieces=st.lists(st.binary(max_size=300) | st.sampled_from([CONTENT, USAGE, b"\n\n", b"\r"])))
def test_any_bytes_at_all_pass_unchanged(pieces: list[bytes]) -> None:
    assert b"".join(pieces) == _drain(StreamTap(), pieces)


@given(pieces=st.lists(st.sampled_from([CONTENT, b"\n\n", b"\r\n", b"data: {}", b"[]", b": x\n"])))
def test_withholding_lets_any_other_bytes_pass_unchanged(pieces: list[bytes]) -> None:
    assert b"".join(pieces) == _drain(StreamTap(withhold_usage=True), pieces)


def test_chunk_passes_as_the_same_object() -> None:
    tap = StreamTap()
    assert all(tap.feed(chunk) is chunk for chunk in (CONTENT, USAGE[:30], USAGE[30:], DONE))


def test_withholding_passes_whole_events_of_content_at_once() -> None:
    tap = StreamTap(withhold_usage=True)
    assert [tap.feed(event) for event in (CONTENT, TALK, FINISH)] == [CONTENT, TALK, FINISH]


def test_withholding_passes_a_cut_event_as_soon_as_it_shows_content() -> None:
    tap = StreamTap(withhold_usage=True)
    shown = CONTENT.index(b'"choices":[{') + len(b'"choices":[{')
    passed = [tap.feed(CONTENT[:20]), tap.feed(CONTENT[20:shown]), tap.feed(CONTENT[shown:-9])]
    assert [b"", CONTENT[:shown], CONTENT[shown:-9]] == passed
    assert CONTENT[-9:] == tap.feed(CONTENT[-9:])


def test_withholding_does_not_wait_for_the_end_of_a_long_event() -> None:
    tap = StreamTap(withhold_usage=True)
    long = b'data: {"type":"transcript.text.done","text":"' + b"x" * 20_000
    assert long == tap.feed(long)


def test_usage_beside_content_is_read_and_passes() -> None:
    event = (
        b'data: {"choices":[{"delta":{"content":"."},"finish_reason":"length"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    )
    tap = StreamTap(withhold_usage=True)
    assert event == tap.feed(event)
    assert (_usage(3, 2), True) == (tap.usage, tap.complete)


def test_last_usage_wins_when_every_event_tells_one() -> None:
    tap = StreamTap()
    for made in range(1, 200):
        tap.feed(
            b'data: {"choices":[{"delta":{"content":"x"}}],'
            b'"usage":{"prompt_tokens":5,"completion_tokens":%d}}\n\n' % made
        )
    assert _usage(5, 199) == tap.usage


@pytest.mark.parametrize(
    ("event", "usage"),
    [
        (
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"id":"r",'
            b'"usage":{"queue_time":0.1,"prompt_tokens":7,"completion_tokens":8}}}\n\n',
            _usage(7, 8),
        ),
        (b'data: {"choices": [{"text": "", "finish_reason": "stop"}], "usage": null}\n\n', None),
        (
            b'data: {"type":"transcript.text.done",'
            b'"usage":{"input_tokens":4,"output_tokens":3}}\n\n',
            _usage(4, 3),
        ),
        (b"data:[DONE]\n\n", None),
    ],
    ids=["groq", "completions", "transcript", "done"],
)
def test_closing_events_of_all_kinds_complete_a_stream(event: bytes, usage: Usage | None) -> None:
    tap = StreamTap()
    tap.feed(CONTENT + event)
    assert (usage, True, None) == (tap.usage, tap.complete, tap.error)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b'data: {"error":{"message":"boom","code":500}}\n\n', b'{"message":"boom","code":500}'),
        (b'data: {"error":"boom","choices":[]}\n\n', b'"boom"'),
        (
            b'event: error\ndata: {"type":"error","code":"x","message":"boom"}\n\n',
            b'{"type":"error","code":"x","message":"boom"}',
        ),
        (b'data: {"error":null,"choices":[]}\n\n', None),
        (TALK, None),
    ],
    ids=["object", "text", "typed", "null", "talk of errors"],
)
def test_error_inside_the_stream_is_kept(event: bytes, error: bytes | None) -> None:
    tap = StreamTap()
    tap.feed(CONTENT + event + CONTENT)
    assert error == tap.error


def test_stream_that_stops_midway_is_not_complete() -> None:
    tap = StreamTap()
    _drain(tap, [CONTENT, TALK, CONTENT[:50]])
    assert (tap.usage, tap.complete, tap.error, tap.output_chunks) == (None, False, None, 2)


def test_last_event_needs_no_blank_line() -> None:
    tap = StreamTap()
    assert USAGE.rstrip() == _drain(tap, [USAGE.rstrip()])
    assert tap.usage == TOLD


def test_last_event_without_blank_line_is_withheld_too() -> None:
    tap = StreamTap(withhold_usage=True)
    assert _drain(tap, [CONTENT, USAGE.rstrip()]) == CONTENT
    assert tap.usage == TOLD


def test_data_of_several_lines_is_one_event() -> None:
    tap = StreamTap()
    tap.feed(
        b'data: {"choices":[],\ndata: "usage":{"prompt_tokens":1,\n'
        b'data: "completion_tokens":2}}\n\n'
    )
    assert _usage(1, 2) == tap.usage


def test_event_of_several_megabytes_passes_unread_and_what_follows_is_read() -> None:
    stream = b'data: {"x":"' + b"y" * 3_000_000 + b'"}\n\n' + USAGE
    tap = StreamTap()
    assert stream == _drain(tap, [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)])
    assert tap.usage == TOLD


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12}}', _usage(9, 12)),
        (
            b'{"usage":{"input_tokens":9,"output_tokens":12,'
            b'"input_tokens_details":{"cached_tokens":3}}}',
            _usage(9, 12, 3),
        ),
        (b'{"data":[],"usage":{"prompt_tokens":8,"total_tokens":8}}', _usage(8, 0)),
        (
            b'{"usage":{"prompt_tokens":8,"completion_tokens":1,"prompt_cache_hit_tokens":5}}',
            _usage(8, 1, 5),
        ),
        (
            b'{"usage":{"prompt_tokens":8,"completion_tokens":1,"cached_tokens":6}}',
            _usage(8, 1, 6),
        ),
        (b'{"usage":{"prompt_tokens":8.0,"completion_tokens":-1}}', _usage(8, 0)),
        (b'{"usage":{"prompt_tokens":"8"}}', None),
        (b'{"usage":{}}', None),
        (b'{"usage":null}', None),
        (b"{}", None),
        (b"[]", None),
        (b"", None),
        (b"<html>", None),
        (b'{"usage":{"prompt_tokens":1', None),
        (b"\xff\xfe", None),
    ],
)
def test_usage_of_a_plain_body(body: bytes, usage: Usage | None) -> None:
    assert usage == read_usage(body)


@pytest.mark.parametrize("data", [None, [], "text", {"usage": 3}, {"choices": {}}])
def test_decoded_body_of_another_shape_tells_no_usage(data: object) -> None:
    assert usage_of(data) is None
