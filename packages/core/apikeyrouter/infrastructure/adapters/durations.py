"""Points and lengths of time in the forms that providers write them."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_GO = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNIT_S = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
#: Numbers above these are instants, in seconds or milliseconds since the epoch.
_EPOCH_S, _EPOCH_MS = 1e9, 1e12


def parse_duration(text: str, now: float) -> float | None:
    """Return seconds from *now*: `6m0s`, `20ms`, `1.5`, RFC 3339, HTTP-date, epoch s or ms.

    An instant in the past is 0. `None` when it is none of these.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return _compound(text) if text[:1].isdigit() and "-" not in text else _instant(text, now)
    if not 0 <= number < 1e15:
        return None
    if number >= _EPOCH_MS:
        return max(0.0, number / 1000.0 - now)
    if number >= _EPOCH_S:
        return max(0.0, number - now)
    return number


def _compound(text: str) -> float | None:
    """Add up `1h2m3.5s`; every character must belong to a part."""
    seconds, end = 0.0, 0
    for match in _GO.finditer(text):
        if match.start() != end:
            return None
        seconds += float(match[1]) * _UNIT_S[match[2]]
        end = match.end()
    return seconds if end == len(text) and end else None


def _instant(text: str, now: float) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return max(0.0, moment.timestamp() - now)
    except (ValueError, OverflowError):
        return None
