"""What a provider says about its limits, in one vocabulary.

A header, a refusal's body and a declared limit all become `ObservedLimit`
records; the ledger learns from nothing else. Absent figures are `None`,
never zero: unknown is not empty.
"""

from enum import StrEnum

import msgspec

from apikeyrouter.domain.limits.calendars import Calendar

MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86400.0
MONTH_S = 30 * DAY_S


#: Periods that providers really use; an inferred one must come near one of them.
PERIODS_S = (1.0, MINUTE_S, HOUR_S, DAY_S, MONTH_S)
_PERIOD_TOLERANCE = 0.34


class Dimension(StrEnum):
    """What a limit counts. Amounts are whole units; dollars are nano-dollars."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    INPUT_TOKENS = "input tokens"
    OUTPUT_TOKENS = "output tokens"
    CONCURRENCY = "concurrency"
    IMAGES = "images"
    AUDIO_SECONDS = "audio seconds"
    USD = "nano-dollars"


class Algorithm(StrEnum):
    """How a window gets its room back."""

    TOKEN_BUCKET = "token bucket"  # noqa: S105 - a name, no secret
    FIXED = "fixed"
    ROLLING = "rolling"
    CONCURRENT = "concurrent"


class Provenance(StrEnum):
    """Who told us, weakest first."""

    INFERRED = "inferred"
    DECLARED = "declared"
    ERROR_BODY = "error body"
    HEADER = "header"
    ADMIN_API = "admin API"
    OPERATOR = "operator"


class ObservedLimit(msgspec.Struct, frozen=True):
    """One limit as one answer reported it.

    Attributes:
        dimension: What is counted.
        limit: Capacity per period; 0 means "no allowance at all", `None` unknown.
        remaining: What was left when the answer was made.
        reset_s: Seconds until the provider's stated reset: full again for a
            token bucket, the reset instant for a fixed window.
        period_s: Length of the window in seconds when the name or text says
            it; `None` leaves it to inference from reset, limit and remaining.
        algorithm: When the dialect is known to imply one, else `None`.
        source: Header or error body.
        label: A second limit of the same dimension lives beside the first under
            another label name, such as OpenAI's project tokens. Usually empty.
        rounding: `remaining` is told in steps of this many units.
        calendar: What a fixed window ends with, where the provider says so.
    """

    dimension: Dimension
    limit: float | None = None
    remaining: float | None = None
    reset_s: float | None = None
    period_s: float | None = None
    algorithm: Algorithm | None = None
    source: Provenance = Provenance.HEADER
    label: str = ""
    rounding: float = 1.0
    calendar: Calendar | None = None

    def inferred_period(self) -> float | None:
        """Infer the window's length as reset x limit / (limit - remaining), if that is telling.

        True of a bucket that refills continuously, whose reset is the time
        until it is full. `remaining` is rounded down by up to one unit, so a
        single unit used can mean up to two. `None` when no known period is near.
        """
        if self.limit is None or self.remaining is None or not self.reset_s:
            return None
        used = self.limit - self.remaining
        if used < 1:
            return None
        longest = self.reset_s * self.limit / max(used - 1.0, 0.5)
        shortest = self.reset_s * self.limit / used
        for period in PERIODS_S:
            if shortest * (1 - _PERIOD_TOLERANCE) <= period <= longest * (1 + _PERIOD_TOLERANCE):
                return period
        return None
