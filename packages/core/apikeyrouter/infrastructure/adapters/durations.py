"""Points and lengths of time in the forms that providers write them.

Spans add up to seconds, instants are told as seconds from a given now, and
what is neither is `None`. The forms that every answer has are read by hand;
regular expressions and calendars wait for the rest.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNIT_S = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6,
    "ms": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "mins": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hrs": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip
#: Units as an alternative of a regular expression, long names before their beginnings.
UNITS = "|".join(sorted(_UNIT_S, key=len, reverse=True))
_PART = re.compile(rf"(\d+(?:\.\d+)?)\s*({UNITS})(?![a-zµμ])\s*", re.IGNORECASE)
#: Numbers above these are instants, in seconds or milliseconds since the epoch.
_EPOCH_S, _EPOCH_MS, _NO_INSTANT = 1e9, 1e12, 1e15
#: No form of a time is longer than this.
_LONGEST_TEXT = 64


def parse_duration(text: str, now: float) -> float | None:
    """Return seconds from *now*: `6m0s`, `20ms`, `1.5`, RFC 3339, HTTP-date, epoch s or ms.

    Args:
        text: Units may be words (`2 minutes`); a bare number is seconds below
            10^9, epoch seconds below 10^12, epoch milliseconds from there.
        now: Epoch seconds.

    Returns:
        Never below 0: an instant in the past is 0. `None` when it is none of
        these, negative, or a span of more than thirty years.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST_TEXT:
        return None
    last = text[-1]
    if last == "s":
        return _seconds(text)
    if last.isdigit() or last == ".":
        try:
            return _from_number(float(text), now)
        except ValueError:
            return _from_instant(text, now)
    if last.islower() and last != "z":
        return _parts(text)
    return _from_instant(text, now)


def _seconds(text: str) -> float | None:
    """Read what ends in `s`; almost every reset is `20ms`, `1.5s` or `6m0s`."""
    if text[-2:-1] == "m":
        digits = text[:-2]
        return _plausible(float(digits) / 1000.0) if _is_plain(digits) else _parts(text)
    minutes, _, seconds = text[:-1].rpartition("m")
    if not _is_plain(seconds):
        return _parts(text)
    if not minutes:
        return _plausible(float(seconds)) if text[0] != "m" else None
    if minutes.isdecimal():
        return _plausible(float(minutes) * 60.0 + float(seconds))
    return _parts(text)


def _is_plain(digits: str) -> bool:
    return digits.isdecimal() or digits.replace(".", "", 1).isdecimal()


def _parts(text: str) -> float | None:
    """Add up `1h2m3.5s`; every character must belong to a part."""
    seconds, end = 0.0, 0
    for match in _PART.finditer(text):
        if match.start() != end:
            return None
        seconds += float(match[1]) * _UNIT_S[match[2].lower()]
        end = match.end()
    return _plausible(seconds) if end and end == len(text) else None


def _plausible(seconds: float) -> float | None:
    return seconds if seconds < _EPOCH_S else None


def _from_number(number: float, now: float) -> float | None:
    if not 0.0 <= number < _NO_INSTANT:
        return None
    if number < _EPOCH_S:
        return number
    return max(0.0, (number / 1000.0 if number >= _EPOCH_MS else number) - now)


def _from_instant(text: str, now: float) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError):
        return None
