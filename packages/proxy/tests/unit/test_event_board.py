"""The board counts what the router tells, and puts the rest into words."""

import pytest

from apikeyrouter.domain.feed.events import (
    AttemptEnded,
    AttemptStarted,
    CircuitMoved,
    Event,
    KeyMoved,
    LimitLearned,
    RequestDequeued,
    RequestQueued,
    Rested,
    ScopesJoined,
)
from apikeyrouter_proxy.event_board import EventBoard, words_of

pytestmark = pytest.mark.unit

AT = 1_700_000_000.0


def started(key: str) -> Event:
    return AttemptStarted("r", key, "p", "m", 1, "p/a", 0.0, 20.0, at=AT)


def ended(key: str, outcome: str) -> Event:
    return AttemptEnded("r", key, "p", "m", outcome, 1.0, at=AT)


def test_attempts_are_counted_by_key() -> None:
    board = EventBoard()
    for event in (
        started("a"), ended("a", "rate_limited"), started("b"), ended("b", "ok"),
        started("b"), ended("b", "server_error"), started("b"),
    ):  # fmt: skip
        board.note(event)
    assert [board.in_flight[key] for key in "ab"] == [0, 1]
    assert [board.served[key] for key in "ab"] == [0, 1]
    assert [board.refused[key] for key in "ab"] == [1, 0]
    assert board.lines == ()


def test_waiting_is_what_was_told_last() -> None:
    board = EventBoard()
    board.note(RequestQueued("r1", "m", "", 1, at=AT))
    board.note(RequestQueued("r2", "m", "", 2, at=AT))
    board.note(RequestDequeued("r1", "granted", 0.5, 1, at=AT))
    assert board.waiting == 1


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            LimitLearned("p/a", "requests per minute", None, 60.0, "header", at=AT),
            "p/a allows 60 requests per minute (header)",
        ),
        (
            ScopesJoined("p/a", "k2", True, "inferred", 0.9, at=AT),
            "k2 shares the limits of p/a (inferred)",
        ),
        (
            ScopesJoined("p/a", "k2", False, "evidence", 0.9, at=AT),
            "k2 has limits apart from p/a (evidence)",
        ),
        (
            KeyMoved("k1", "p", "available", "throttled", "rate_limited", at=AT),
            "k1 is throttled (rate_limited)",
        ),
        (
            CircuitMoved("p", "m", "open", "timeout", at=AT),
            "the circuit of p/m is open (timeout)",
        ),
        (
            Rested("p", "p/a", "m", "e", "k1", 2.0, "unexplained", 403, "no", at=AT),
            "p/a is left alone for 2.0 s (unexplained)",
        ),
        (started("a"), ""),
    ],
)
def test_event_is_put_into_words(event: Event, words: str) -> None:
    assert words_of(event) == words


def test_latest_lines_are_kept_with_their_time() -> None:
    board = EventBoard()
    for number in range(9):
        board.note(KeyMoved(f"k{number}", "p", "available", "disabled", "order", at=AT))
    assert len(board.lines) == 6
    assert board.lines[-1] == "22:13:20 k8 is disabled (order)"
