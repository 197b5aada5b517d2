"""Days and months begin where calendars say."""

import pytest

from apikeyrouter.domain.limits.calendars import (
    next_midnight_pacific,
    next_midnight_utc,
    next_month_utc,
)
from apikeyrouter.domain.limits.observation import (
    DAY_S,
)
from apikeyrouter.infrastructure.adapters.durations import parse_duration

pytestmark = pytest.mark.unit

#: 2026-11-24 02:00:00 UTC.
NOW = 1795485600.0


@pytest.mark.parametrize(
    ("find", "expected"),
    [
        (next_midnight_utc, "2026-11-25T00:00:00Z"),
        (next_midnight_pacific, "2026-11-24T08:00:00Z"),
        (next_month_utc, "2026-12-01T00:00:00Z"),
    ],
)
def test_the_next_beginning_is_found(find, expected):
    assert find(NOW) - NOW == parse_duration(expected, NOW)


def test_midnight_in_california_follows_its_summer_time():
    summer = (
        NOW
        - parse_duration("2026-11-24T02:00:00Z", 0.0)
        + parse_duration("2026-07-01T12:00:00Z", 0.0)
    )
    assert parse_duration("2026-07-02T07:00:00Z", summer) == next_midnight_pacific(summer) - summer


def test_the_year_turns_with_december():
    december = NOW + 10 * DAY_S
    assert parse_duration("2027-01-01T00:00:00Z", december) == next_month_utc(december) - december
