"""Server-sent events taken out of bytes, however these are split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.dialects.streams.sse import EventParser

pytestmark = pytest.mark.unit

EVENTS = st.lists(
    st.tuples(
        st.sampled_from([b"", b"ping", b"message_start"]), st.sampled_from([b"{}", b"a:b", b"x\ny"])
    )
)


def written(events: list[tuple[bytes, bytes]], line_end: bytes) -> bytes:
    lines = []
    for name, data in events:
        lines += [b": comment", *([b"event: " + name] if name else [])]
        lines += [b"data: " + part for part in data.split(b"\n")] + [b""]
    return b"".join(line + line_end for line in lines)


def parsed(pieces: list[bytes]) -> list[tuple[bytes, bytes]]:
    parser = EventParser()
    found = [event for piece in pieces for event in parser.feed(piece)]
    return found + list(parser.finish())


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@given(events=EVENTS, cuts=st.lists(st.integers(0, 400)))
def test_any_splitting_gives_the_same_events(
    line_end: bytes, events: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    text = written(events, line_end)
    ends = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[a:b] for a, b in pairwise(ends)]
    assert parsed(pieces) == events


def test_last_event_needs_no_blank_line() -> None:
    assert parsed([b"event: a\ndata: 1"]) == [(b"a", b"1")]


def test_event_without_data_is_none() -> None:
    assert parsed([b"event: a\n\nid: 3\n\ndata: 1\n\n"]) == [(b"", b"1")]


@given(st.lists(st.binary(max_size=50)))
def test_any_bytes_are_taken(pieces: list[bytes]) -> None:
    parsed(pieces)
