"""Periods that an amount is for, as turns of a wall clock: days that end at midnight in Berlin.

A rolling period is cut into slices. What is spent in one slice counts until the whole slice
is a period ago, so that no stretch of that length ever holds more than the amount.
"""

import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from apikeyrouter.domain.limits.observation import DAY_S, HOUR_S, MINUTE_S, MONTH_S

CALENDAR = ("minutely", "hourly", "daily", "weekly", "monthly")
TOTAL = "total"
#: Slices of a rolling period.
SLICES = 24
_LENGTHS = {
    "minutely": MINUTE_S, "hourly": HOUR_S, "daily": DAY_S, "weekly": 7 * DAY_S,
    "monthly": MONTH_S,
}  # fmt: skip
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Turn(NamedTuple):
    """One stretch of time.

    Attributes:
        number: Names it; a later one has a greater number.
        ends_at: Its end in epoch seconds of the wall clock, `inf` for one without.
        first: The number of the earliest turn that still counts beside it.
    """

    number: int
    ends_at: float
    first: int


@dataclass(slots=True, frozen=True)
class Period:
    """A period by its name: `daily` and its like, `total`, or a duration such as `36h` that rolls.

    Attributes:
        zone: The time zone in which days, weeks and months end.
    """

    name: str
    zone: str = "UTC"
    length_s: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length_s", _length_of(self.name))

    @property
    def is_rolling(self) -> bool:
        """Whether it is a duration, whenever it began."""
        return self.name not in CALENDAR and self.name != TOTAL

    def turn_at(self, wall: float) -> Turn:
        """Return the turn that the wall clock's *wall* lies in."""
        if self.name == TOTAL:
            return Turn(0, math.inf, 0)
        if self.is_rolling:
            slice_s = self.length_s / SLICES
            index = math.floor(wall / slice_s)
            return Turn(index, (index + 1) * slice_s, index - SLICES)
        if self.name in ("minutely", "hourly"):
            # Hours of a zone that is off by a part of one begin by its clock.
            now = datetime.fromtimestamp(wall, _zone(self.zone))
            ahead_s = (now.utcoffset() or timedelta()).total_seconds()
            start = math.floor((wall + ahead_s) / self.length_s) * self.length_s - ahead_s
            return Turn(int(start), start + self.length_s, int(start))
        start, end = _days_around(self.name, wall, _zone(self.zone))
        return Turn(int(start), end, int(start))


def _days_around(name: str, wall: float, zone: ZoneInfo) -> tuple[float, float]:
    midnight = datetime.fromtimestamp(wall, zone).replace(
        hour=0, minute=0, second=0, microsecond=0, fold=0
    )
    if name == "daily":
        begin = midnight
        end = midnight + timedelta(days=1)
    elif name == "weekly":
        begin = midnight - timedelta(days=midnight.weekday())
        end = begin + timedelta(days=7)
    else:
        begin = midnight.replace(day=1)
        end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return begin.timestamp(), end.timestamp()


def _length_of(name: str) -> float:
    if name == TOTAL:
        return math.inf
    if name in _LENGTHS:
        return _LENGTHS[name]
    parts = _PART.findall(name)
    length_s = sum(float(count) * _UNIT_S[unit] for count, unit in parts)
    if "".join(count + unit for count, unit in parts) != name or length_s <= 0.0:
        known = ", ".join((*CALENDAR, TOTAL))
        raise ValueError(f"'{name}' is no period: known are {known}, or a duration such as 36h")
    return length_s


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
