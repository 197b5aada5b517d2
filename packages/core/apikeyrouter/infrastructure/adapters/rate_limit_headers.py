"""What answers tell of limits in their headers: one table row a header family.

A dialect is a tuple of rows; a row names the three headers of one limit and
what it counts. A header that is absent or unreadable is unknown, never zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from apikeyrouter.domain.models.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    MONTH_S,
    Dimension,
    ObservedLimit,
)
from apikeyrouter.infrastructure.adapters.durations import parse_duration


@dataclass(slots=True, frozen=True)
class Row:
    """One limit's headers; an empty name is a header that the dialect does not send.

    Attributes:
        rounding: `remaining` is told in steps of this many units.
    """

    dimension: Dimension
    limit: str
    remaining: str = ""
    reset: str = ""
    period_s: float | None = None
    pool: str = ""
    rounding: float = 1.0


_D = Dimension


def _family(
    suffix: str,
    dimension: Dimension,
    *,
    period_s: float | None = None,
    pool: str = "",
    prefix: str = "x-ratelimit-",
) -> Row:
    """Name the headers `{prefix}{limit,remaining,reset}-{suffix}`."""
    return Row(
        dimension,
        f"{prefix}limit-{suffix}",
        f"{prefix}remaining-{suffix}",
        f"{prefix}reset-{suffix}",
        period_s,
        pool,
    )


def _anthropic(name: str, dimension: Dimension, pool: str = "", rounding: float = 1.0) -> Row:
    head = f"anthropic-{pool}-{name}" if pool else f"anthropic-ratelimit-{name}"
    return Row(
        dimension, f"{head}-limit", f"{head}-remaining", f"{head}-reset", MINUTE_S, pool, rounding
    )


_OPENAI = (
    _family("requests", _D.REQUESTS),
    _family("tokens", _D.TOKENS),
    _family("project-tokens", _D.TOKENS, pool="project"),
    _family("input-tokens", _D.INPUT_TOKENS),
    _family("output-tokens", _D.OUTPUT_TOKENS),
    _family("images", _D.IMAGES),
)
_BY_PERIOD = tuple(
    _family(f"{noun}-{name}", dimension, period_s=period_s)
    for noun, dimension in (("requests", _D.REQUESTS), ("tokens", _D.TOKENS))
    for name, period_s in (
        ("minute", MINUTE_S), ("hour", HOUR_S), ("day", DAY_S), ("month", MONTH_S),
    )
)  # fmt: skip

#: Dialect -> its rows. Sources: the providers' documentation and recorded replies.
DIALECTS: Mapping[str, tuple[Row, ...]] = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    # Groq's requests are per day, its tokens per minute.
    "groq": (
        _family("requests", _D.REQUESTS, period_s=DAY_S),
        _family("tokens", _D.TOKENS, period_s=MINUTE_S),
        _family("audio-seconds", _D.AUDIO_SECONDS, period_s=HOUR_S),
    ),
    "sambanova": (*_OPENAI, _family("requests-day", _D.REQUESTS, period_s=DAY_S)),
    "cerebras": (*_BY_PERIOD, *_OPENAI[:2]),
    "anthropic": (
        _anthropic("requests", _D.REQUESTS),
        _anthropic("input-tokens", _D.INPUT_TOKENS, rounding=1000.0),
        _anthropic("output-tokens", _D.OUTPUT_TOKENS, rounding=1000.0),
        _anthropic("tokens", _D.TOKENS, rounding=1000.0),
        _anthropic("input-tokens", _D.INPUT_TOKENS, "priority", 1000.0),
        _anthropic("output-tokens", _D.OUTPUT_TOKENS, "priority", 1000.0),
        _anthropic("input-tokens", _D.INPUT_TOKENS, "fast", 1000.0),
        _anthropic("output-tokens", _D.OUTPUT_TOKENS, "fast", 1000.0),
    ),
    "mistral": (
        Row(
            _D.REQUESTS, "x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute",
            period_s=MINUTE_S,
        ),
        Row(
            _D.TOKENS, "x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute",
            period_s=MINUTE_S,
        ),
        Row(
            _D.TOKENS, "x-ratelimit-limit-tokens-month", "x-ratelimit-remaining-tokens-month",
            period_s=MONTH_S,
        ),
    ),
    "together": (
        Row(_D.REQUESTS, "x-ratelimit-limit", "x-ratelimit-remaining", period_s=1.0),
        Row(_D.TOKENS, "x-tokenlimit-limit", "x-tokenlimit-remaining", period_s=1.0),
    ),
    "fireworks": (
        _family("requests", _D.REQUESTS, period_s=MINUTE_S),
        _family("tokens-prompt", _D.INPUT_TOKENS, period_s=MINUTE_S),
        _family("tokens-uncached-prompt", _D.INPUT_TOKENS, period_s=MINUTE_S, pool="uncached"),
        _family(
            "tokens-cache-adjusted-prompt", _D.INPUT_TOKENS, period_s=MINUTE_S, pool="uncached"
        ),
        _family("tokens-generated", _D.OUTPUT_TOKENS, period_s=MINUTE_S),
    ),
    "openrouter": (
        Row(_D.REQUESTS, "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    ),
    "cohere": (
        Row(
            _D.REQUESTS, "x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining",
            period_s=MINUTE_S,
        ),
        Row(_D.REQUESTS, "x-endpoint-monthly-call-limit", period_s=MONTH_S),
    ),
    "none": (),
}  # fmt: skip

#: Where answers name the owner of the limits: headers whose values are joined by a slash.
_ACCOUNTS: Mapping[str, tuple[str, ...]] = {
    "openai": ("openai-organization", "openai-project"),
    "anthropic": ("anthropic-organization-id", "anthropic-workspace-id"),
}


def read_limits(dialect: str, headers: Mapping[str, str], now: float) -> tuple[ObservedLimit, ...]:
    """Read every limit that *headers* report.

    Args:
        dialect: A name of `DIALECTS`; an unknown one reads nothing.
        headers: With lower-case names, or without regard to case.
        now: Epoch seconds, for resets that are told as instants.
    """
    found = []
    for row in DIALECTS.get(dialect, ()):
        limit = headers.get(row.limit)
        remaining = headers.get(row.remaining) if row.remaining else None
        if limit is None and remaining is None:
            continue
        limit_units = _amount(limit)
        remaining_units = _amount(remaining)
        if limit_units is None and remaining_units is None:
            continue
        reset = headers.get(row.reset) if row.reset else None
        found.append(
            ObservedLimit(
                row.dimension,
                limit_units,
                remaining_units,
                parse_duration(reset, now) if reset else None,
                row.period_s,
                pool=row.pool,
                rounding=row.rounding,
            )
        )
    return tuple(found)


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that an answer tells to wait; the longest if it tells several."""
    told = []
    if (milliseconds := headers.get("retry-after-ms")) is not None:
        amount = _amount(milliseconds)
        if amount is not None:
            told.append(amount / 1000.0)
    if (text := headers.get("retry-after")) is not None:
        seconds = parse_duration(text, now)
        if seconds is not None:
            told.append(seconds)
    return max(told, default=None)


def read_account(dialect: str, headers: Mapping[str, str]) -> str:
    """Return whose limits they are, such as `org-1/proj-2`; empty when no header says."""
    names = _ACCOUNTS.get(dialect)
    if names is None:
        return ""
    return "/".join(value for name in names if (value := headers.get(name)))


def _amount(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        amount = float(text)
    except ValueError:
        return None
    return amount if 0.0 <= amount < 1e15 else None
