"""The figures in a refusal's words: waits, limits, instants, and whose they are.

`Limit 10000, Used 8782, Requested 8172. Please try again in 41.7s` tells more
than any header. What cannot be read is left out; nothing here raises.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    MONTH_S,
    Algorithm,
    Dimension,
    ObservedLimit,
    Provenance,
)
from apikeyrouter.infrastructure.adapters.durations import UNITS, parse_duration

_D = Dimension
_COUNTED_BY_NOUN = {
    "requests": _D.REQUESTS,
    "tokens": _D.TOKENS,
    "input tokens": _D.INPUT_TOKENS,
    "output tokens": _D.OUTPUT_TOKENS,
    "images": _D.IMAGES,
    "audio seconds": _D.AUDIO_SECONDS,
    "seconds of audio": _D.AUDIO_SECONDS,
}
_COUNTED_BY_LETTERS = {
    "R": _D.REQUESTS,
    "T": _D.TOKENS,
    "IT": _D.INPUT_TOKENS,
    "OT": _D.OUTPUT_TOKENS,
    "I": _D.IMAGES,
    "AS": _D.AUDIO_SECONDS,
}
_PERIOD_BY_UNIT_S = {
    "second": 1.0, "sec": 1.0, "minute": MINUTE_S, "min": MINUTE_S, "hour": HOUR_S,
    "day": DAY_S, "month": MONTH_S,
}  # fmt: skip
_PERIOD_BY_LETTER_S = {"S": 1.0, "M": MINUTE_S, "H": HOUR_S, "D": DAY_S}

_TRY_AGAIN = re.compile(
    r"(?:try again|retry|wait)\s{1,3}(?:in\s|after\s|for\s)?\s?(?:about\s|another\s)?"
    rf"((?:\d+(?:\.\d+)?\s?(?:{UNITS})(?![a-z])\s?)+)",
    re.IGNORECASE,
)
_NUMBER = r"(\d[\d,]{0,20})"
_FIGURES = re.compile(
    rf"\bLimit:?\s{{1,3}}{_NUMBER}"
    rf"(?:.{{0,12}}?\bUsed:?\s{{1,3}}{_NUMBER})?(?:.{{0,12}}?\bRequested:?\s{{1,3}}{_NUMBER})?",
    re.IGNORECASE | re.DOTALL,
)
#: `rate limit of 50,000 input tokens per minute`
_IN_PROSE = re.compile(rf"\blimit of\s{{1,3}}{_NUMBER}\s", re.IGNORECASE)
_NOUNS = "|".join(sorted(_COUNTED_BY_NOUN, key=len, reverse=True))
_PER = re.compile(
    rf"({_NOUNS})(?:_usage_based)? per (second|sec|minute|min|hour|day|month)\b", re.IGNORECASE
)
_FREE = re.compile(r"free-models-per-(min|day)", re.IGNORECASE)
_LETTERS = re.compile(r"\((IT|OT|AS|[RTI])P?([SMHD])\)")
_OWNER = re.compile(r"\borganization\s{1,3}`?(org[-_][A-Za-z0-9]{1,64})")
_REGAIN = re.compile(
    r"regain access on (\d{4}-\d\d-\d\d)(?:\s(?:at\s)?(\d\d:\d\d))?", re.IGNORECASE
)
#: A day's limit that fills at an instant fills at this one.
DAY_ENDS: Mapping[str, Calendar] = {
    "gemini": Calendar.DAY_PACIFIC,
    "openrouter": Calendar.DAY_UTC,
}


@dataclass(slots=True, frozen=True)
class Figures:
    """What one message tells of the limit that was hit, in units of its dimension.

    Attributes:
        period_s: Length of the window; `None` untold.
    """

    dimension: Dimension | None = None
    period_s: float | None = None
    limit: float | None = None
    used: float | None = None
    requested: float | None = None

    @property
    def asks_too_much(self) -> bool:
        """Whether the request alone exceeds the limit, so that waiting is in vain."""
        return self.limit is not None and self.requested is not None and self.requested > self.limit

    def observed(self) -> ObservedLimit | None:
        """Return it as a limit; `None` while it is not told what is counted, or how much."""
        if self.dimension is None or self.limit is None:
            return None
        left = None if self.used is None else max(0.0, self.limit - self.used)
        return ObservedLimit(
            self.dimension, self.limit, left, period_s=self.period_s, source=Provenance.ERROR_BODY
        )

    def dated(self, told: ObservedLimit) -> ObservedLimit:
        """Return *told* with its period, if it is the limit that the words speak of."""
        is_spent = told.remaining == 0.0 and told.dimension is self.dimension
        if told.period_s is not None or not is_spent or self.limit not in (None, told.limit):
            return told
        return msgspec.structs.replace(told, period_s=self.period_s)

    def wait_s(self) -> float | None:
        """Return when a bucket that refills continuously has room for the request.

        (used + requested - limit) / (limit / period), as all recorded refusals
        with these figures obey; `None` when one is missing.
        """
        if self.period_s is None or not self.limit or self.asks_too_much:
            return None
        if self.used is None or self.requested is None:
            return None
        return max(0.0, (self.used + self.requested - self.limit) * self.period_s / self.limit)


def read_figures(message: str) -> Figures:
    """Read which limit *message* speaks of, and its figures."""
    dimension, period_s = _what_is_counted(message)
    if (match := _FIGURES.search(message)) is not None:
        limit, used, requested = (_number(text) for text in match.groups())
        return Figures(dimension, period_s, limit, used, requested)
    prose = _IN_PROSE.search(message)
    return Figures(dimension, period_s, _number(prose[1]) if prose else None)


def wait_in(message: str) -> float | None:
    """Return the seconds of `try again in 6m36.576s` and its like."""
    match = _TRY_AGAIN.search(message)
    return parse_duration(match[1], 0.0) if match is not None else None


def owner_in(message: str) -> str:
    """Return the organisation that *message* names; else an empty text."""
    match = _OWNER.search(message)
    return match[1] if match is not None else ""


def instant_in(message: str) -> float | None:
    """Return the epoch second of `regain access on 2026-09-01 at 00:00 UTC`."""
    match = _REGAIN.search(message)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}:00")
        return moment.replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def retry_delay_in(details: tuple[dict[str, Any], ...]) -> float | None:
    """Return the longest `retryDelay` of Google's details, in seconds."""
    delays = [detail.get("retryDelay") for detail in details]
    waits = [parse_duration(delay, 0.0) for delay in delays if isinstance(delay, str)]
    return max((wait for wait in waits if wait is not None), default=None)


def violations_in(details: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
    """Return the quota violations of Google's details."""
    lists = [detail.get("violations") for detail in details]
    return tuple(
        violation
        for found in lists
        if isinstance(found, list)
        for violation in found
        if isinstance(violation, dict) and isinstance(violation.get("quotaId"), str)
    )


def limit_of(violation: dict[str, Any], now: float) -> ObservedLimit | None:
    """Return a Google quota violation as a limit: `…RequestsPerDayPerProject…`, 20.

    What is left of tokens is not told: there is less than the request needs.
    """
    quota = violation["quotaId"].lower()
    value = violation.get("quotaValue")
    limit = _number(value) if isinstance(value, str) else None
    by_name = ((_D.REQUESTS, "requests"), (_D.INPUT_TOKENS, "inputtoken"), (_D.TOKENS, "token"))
    dimension = next((dimension for dimension, name in by_name if name in quota), None)
    if dimension is None or limit is None:
        return None
    left = 0.0 if dimension is _D.REQUESTS else None
    if "perday" in quota:
        return ObservedLimit(
            dimension, limit, left, Calendar.DAY_PACIFIC.next_after(now) - now, DAY_S,
            Algorithm.FIXED, Provenance.ERROR_BODY, calendar=Calendar.DAY_PACIFIC,
        )  # fmt: skip
    period_s = MINUTE_S if "perminute" in quota else None
    return ObservedLimit(dimension, limit, left, None, period_s, source=Provenance.ERROR_BODY)


def _what_is_counted(message: str) -> tuple[Dimension | None, float | None]:
    if (letters := _LETTERS.search(message)) is not None:
        return _COUNTED_BY_LETTERS[letters[1]], _PERIOD_BY_LETTER_S[letters[2]]
    if (free := _FREE.search(message)) is not None:
        return _D.REQUESTS, _PERIOD_BY_UNIT_S[free[1].lower()]
    if (words := _PER.search(message)) is not None:
        return _COUNTED_BY_NOUN[words[1].lower()], _PERIOD_BY_UNIT_S[words[2].lower()]
    return None, None


def _number(text: str | None) -> float | None:
    digits = (text or "").replace(",", "")
    return float(digits) if digits.isdecimal() and len(digits) < 16 else None
