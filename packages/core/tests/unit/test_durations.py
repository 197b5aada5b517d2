"""Every form in which providers write a length of time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.domain.limits.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Dimension,
)
from apikeyrouter.infrastructure.adapters.durations import parse_duration

pytestmark = pytest.mark.unit

NOW = 1795485600.0
D = Dimension
TEXT = st.text(max_size=70) | st.text(alphabet="0123456789.msµhdZT:-+, GMTen", max_size=40)

DURATIONS = {
    "6ms": 0.006,
    "20ms": 0.02,
    "1s": 1.0,
    "8.64s": 8.64,
    "1.5s": 1.5,
    "34.07s": 34.07,
    "6m0s": 360.0,
    "7m12s": 432.0,
    "2m59.56s": 179.56,
    "1h2m3s": 3723.0,
    "1h2m3.5s": 3723.5,
    "10h17m5.72s": 37025.72,
    "1m500ms": 60.5,
    "250us": 0.00025,
    "2d": 172800.0,
    "1d2h": 93600.0,
    "12h": 43200.0,
    "5m": 300.0,
    "20 seconds": 20.0,
    "2 minutes": 120.0,
    "1 minute 30 seconds": 90.0,
    "0": 0.0,
    "59": 59.0,
    "33011.382867": 33011.382867,
    " 7 ": 7.0,
    "2026-11-24T02:00:30Z": 30.0,
    "2026-11-24T02:00:30+00:00": 30.0,
    "2026-11-24T03:00:30.500+01:00": 30.5,
    "2026-11-24T02:00:30": 30.0,
    "2026-11-24T01:00:00Z": 0.0,
    "Tue, 24 Nov 2026 02:01:00 GMT": 60.0,
    "1795485660": 60.0,
    "1795485660.5": 60.5,
    "1795485660000": 60.0,
    "1795485500": 0.0,
}
NO_DURATIONS = [
    "", " ", "s", "ms", "m0s", "5x", "1h-2m", "6m0", "1.2.3s", "-5", "-5s", "nan", "inf", "soon",
    "1s2", "s5s", "1e30", "9" * 400, "9" * 400 + "s", "99999999999h", "2026-13-45T00:00:00Z",
    "Tue, 99 Nov 2026 02:01:00 GMT", "²s",
]  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), DURATIONS.items(), ids=DURATIONS)
def test_every_form_of_a_duration_is_read(text, seconds):
    assert parse_duration(text, NOW) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize("text", NO_DURATIONS, ids=lambda text: text[:30] or "empty")
def test_what_is_no_duration_is_unknown(text):
    assert parse_duration(text, NOW) is None


@given(text=TEXT)
def test_no_text_makes_a_duration_fail(text):
    seconds = parse_duration(text, NOW)
    assert seconds is None or 0.0 <= seconds < math.inf


@given(
    days=st.integers(0, 99), hours=st.integers(0, 23), minutes=st.integers(0, 59),
    millis=st.integers(0, 59_999),
)  # fmt: skip
def test_the_parts_of_a_duration_add_up(days, hours, minutes, millis):
    text = f"{days}d{hours}h{minutes}m{millis / 1000}s"
    expected = days * DAY_S + hours * HOUR_S + minutes * MINUTE_S + millis / 1000
    assert parse_duration(text, NOW) == pytest.approx(expected)
