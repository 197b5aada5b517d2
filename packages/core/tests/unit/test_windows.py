"""Windows as tables over a given clock: what refills when, and what reports may move."""

from datetime import UTC, datetime

import pytest

from apikeyrouter.domain.ledger.algorithms import FixedWindow, make_window
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import DAY_S, MONTH_S, Algorithm, Dimension, Provenance

pytestmark = pytest.mark.unit


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("calendar", "period_s", "first", "ends"),
    [
        (Calendar.DAY_UTC, DAY_S, "2026-11-24T23:59:59", ["2026-11-25T00:00", "2026-11-26T00:00"]),
        (
            Calendar.DAY_PACIFIC, DAY_S, "2026-10-31T12:00",
            ["2026-11-01T07:00", "2026-11-02T08:00", "2026-11-03T08:00"],
        ),
        (
            Calendar.MONTH_UTC, MONTH_S, "2026-01-20T12:00",
            ["2026-02-01T00:00", "2026-03-01T00:00", "2026-04-01T00:00"],
        ),
    ],
    ids=["utc", "pacific over the end of summer time", "months of unequal length"],
)  # fmt: skip
def test_window_of_a_calendar_empties_when_the_calendar_turns(
    calendar: Calendar, period_s: float, first: str, ends: list[str]
) -> None:
    window = FixedWindow(Dimension.REQUESTS, 10, period_s, epoch(first), calendar=calendar)
    now = epoch(first)
    for end in map(epoch, ends):
        window.take(10, now)
        assert (window.room(end - 0.001), window.fits_at(1, now)) == (0.0, end)
        assert window.room(end) == 10
        now = end


@pytest.mark.parametrize(
    ("at", "room"), [(0.0, 0.0), (3.0, 3.0), (9.99, 9.99), (10.0, 10.0), (100.0, 10.0)]
)
def test_bucket_refills_continuously_up_to_its_capacity(at: float, room: float) -> None:
    window = TokenBucket(Dimension.REQUESTS, 10, 10.0, 0.0)
    window.take(10, 0.0)
    assert window.room(at) == pytest.approx(room)


@pytest.mark.parametrize(
    ("returned_at", "room_after"), [(0.0, 10.0), (4.0, 10.0), (8.0, 10.0)], ids=str
)
def test_a_returned_charge_gives_no_more_than_is_still_there(
    returned_at: float, room_after: float
) -> None:
    window = TokenBucket(Dimension.TOKENS, 10, 10.0, 0.0)
    mark = window.take(6, 0.0)
    window.give_back(6, mark, returned_at)
    assert window.room(returned_at) == pytest.approx(room_after)
    assert window.returned == pytest.approx(max(0.0, 6 - returned_at))


@pytest.mark.parametrize(
    ("used_told", "correction"),
    [(5.0, 0.0), (6.0, 0.0), (8.0, 2.0), (2.0, -3.0)],
    ids=["as expected", "rounded down", "somebody else", "less than we believed"],
)
def test_report_moves_a_window_only_by_what_we_cannot_explain(
    used_told: float, correction: float
) -> None:
    window = TokenBucket(Dimension.REQUESTS, 100, 100.0, 0.0, provenance=Provenance.HEADER)
    window.observe(0.0, 0.0, since=0.0, age_s=0.0, now=0.0)
    window.take(5, 0.0)
    window.unconfirmed = 0.0
    moved = window.observe(used_told - 1.0, used_told, since=0.0, age_s=0.0, now=0.0)
    assert moved == pytest.approx(correction)


def test_what_others_take_is_taken_off_the_refill_beforehand() -> None:
    window = TokenBucket(Dimension.REQUESTS, 60, 60.0, 0.0, provenance=Provenance.HEADER)
    window.observe(30.0, 30.0, since=0.0, age_s=0.0, now=0.0)
    window.observe(36.0, 36.0, since=0.0, age_s=0.0, now=1.0)
    assert window.drift_per_s > 0.0
    without_drift = 1.0 + 36.0
    assert window.fits_at(60.0, 1.0) > without_drift


@pytest.mark.parametrize("algorithm", [a for a in Algorithm if a is not Algorithm.CONCURRENT])
def test_counted_is_what_went_out_less_what_came_back(algorithm: Algorithm) -> None:
    window = make_window(algorithm, Dimension.TOKENS, 100, 60.0, 0.0)
    mark = window.take(30, 0.0)
    window.give_back(10, mark, 0.0)
    assert window.counted(0.0) == 20.0


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_strain_is_a_share_whatever_the_instant(algorithm: Algorithm) -> None:
    window = make_window(algorithm, Dimension.REQUESTS, 100, 60.0, 1.8e9)
    window.take(30, 1.8e9)
    assert 0.0 <= window.strain(0.0) <= 1.0
    assert window.strain(1.8e9) == pytest.approx(0.3)
