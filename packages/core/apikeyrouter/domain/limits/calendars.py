"""Days and months that limits end with, as instants.

Most windows refill continuously; some end at a wall clock's midnight or with
the calendar month. Every function takes the instant and returns the next one.
"""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_PACIFIC = "America/Los_Angeles"


class Calendar(StrEnum):
    """When a fixed window empties, where a plain period does not say it."""

    DAY_UTC = "day in UTC"
    DAY_PACIFIC = "day in California"
    MONTH_UTC = "month in UTC"

    def next_after(self, now: float) -> float:
        """Return the epoch second of the first such end after *now*."""
        return _NEXT[self](now)


def next_midnight_utc(now: float) -> float:
    """Return the epoch second at which the next day begins in UTC."""
    return (now // 86400.0 + 1.0) * 86400.0


def next_midnight_pacific(now: float) -> float:
    """Return the epoch second at which the next day begins in California."""
    today = datetime.fromtimestamp(now, _pacific())
    tomorrow = (today + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return tomorrow.timestamp()


def next_month_utc(now: float) -> float:
    """Return the epoch second at which the next calendar month begins in UTC."""
    today = datetime.fromtimestamp(now, UTC)
    return datetime(today.year + today.month // 12, today.month % 12 + 1, 1, tzinfo=UTC).timestamp()


_NEXT = {
    Calendar.DAY_UTC: next_midnight_utc,
    Calendar.DAY_PACIFIC: next_midnight_pacific,
    Calendar.MONTH_UTC: next_month_utc,
}


@cache
def _pacific() -> tzinfo:
    try:
        return ZoneInfo(_PACIFIC)
    except (ZoneInfoNotFoundError, OSError):
        # Without a time zone database: at most an hour late, never early.
        return timezone(timedelta(hours=-8))
