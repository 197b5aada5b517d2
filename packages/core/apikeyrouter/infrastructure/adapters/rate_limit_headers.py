"""What answers tell of limits in their headers: one table row a header family.

A dialect is a tuple of rows; a row names the three headers of one limit and
what it counts. A header that is absent or unreadable is unknown, never zero.
Every answer is read, so rows look names up and nothing is searched for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
from apikeyrouter.infrastructure.adapters.durations import parse_duration

#: Amounts from here on are no amounts.
_NO_AMOUNT = 1e15


@dataclass(slots=True, frozen=True)
class Row:
    """One limit's headers; an empty name is a header that the dialect does not send.

    Attributes:
        period_s: `None` leaves it to inference: the same name counts days at one
            provider and minutes at another.
        rounding: `remaining` is told in steps of this many units.
        algorithm: Only where the provider never does otherwise.
    """

    dimension: Dimension
    limit: str
    remaining: str = ""
    reset: str = ""
    period_s: float | None = None
    label: str = ""
    rounding: float = 1.0
    algorithm: Algorithm | None = None


_D = Dimension
_PERIODS = (("minute", MINUTE_S), ("hour", HOUR_S), ("day", DAY_S), ("month", MONTH_S))


_PARTS = ("limit", "remaining", "reset")


def _family(
    suffix: str, dimension: Dimension, period_s: float | None = None, label: str = ""
) -> Row:
    """Name the headers `x-ratelimit-{limit,remaining,reset}-{suffix}`."""
    limit, remaining, reset = (f"x-ratelimit-{part}-{suffix}" for part in _PARTS)
    return Row(dimension, limit, remaining, reset, period_s, label)


def _anthropic(name: str, dimension: Dimension, label: str = "", rounding: float = 1000.0) -> Row:
    """Name the headers `anthropic-{label}-{name}-{limit,remaining,reset}`; tokens are rounded."""
    limit, remaining, reset = (f"anthropic-{label or 'ratelimit'}-{name}-{part}" for part in _PARTS)
    return Row(dimension, limit, remaining, reset, MINUTE_S, label, rounding)


def _behind_gateway(row: Row) -> Row:
    """Rename the headers as a gateway does that passes on its provider's."""
    limit, remaining, reset = (
        name and f"llm_provider-{name}" for name in (row.limit, row.remaining, row.reset)
    )
    return replace(row, limit=limit, remaining=remaining, reset=reset)


_OPENAI = (
    _family("requests", _D.REQUESTS),
    _family("tokens", _D.TOKENS),
    _family("project-tokens", _D.TOKENS, label="project"),
    _family("input-tokens", _D.INPUT_TOKENS),
    _family("output-tokens", _D.OUTPUT_TOKENS),
    _family("images", _D.IMAGES),
)
_BY_PERIOD = tuple(
    _family(f"{noun}-{name}", dimension, period_s)
    for noun, dimension in (("requests", _D.REQUESTS), ("tokens", _D.TOKENS))
    for name, period_s in _PERIODS
)
_MISTRAL = (
    _family("req-minute", _D.REQUESTS, MINUTE_S),
    _family("tokens-minute", _D.TOKENS, MINUTE_S),
    _family("tokens-month", _D.TOKENS, MONTH_S),
)
_PLAIN = Row(_D.REQUESTS, "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
_GENERIC = (*_OPENAI, *_BY_PERIOD, _MISTRAL[0], _PLAIN)

#: Dialect -> its rows. Sources: the providers' documentation and recorded replies, 2026-11.
DIALECTS: Mapping[str, tuple[Row, ...]] = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    "xai": _OPENAI,
    # Requests are per day, tokens per minute; its other limits are told in refusals only.
    "groq": (
        _family("requests", _D.REQUESTS, DAY_S),
        _family("tokens", _D.TOKENS, MINUTE_S),
        _family("audio-seconds", _D.AUDIO_SECONDS),
    ),
    "sambanova": (*_OPENAI, _family("requests-day", _D.REQUESTS, DAY_S)),
    "cerebras": (*_BY_PERIOD, *_OPENAI[:2]),
    "anthropic": (
        _anthropic("requests", _D.REQUESTS, rounding=1.0),
        _anthropic("input-tokens", _D.INPUT_TOKENS),
        _anthropic("output-tokens", _D.OUTPUT_TOKENS),
        _anthropic("tokens", _D.TOKENS),
        _anthropic("input-tokens", _D.INPUT_TOKENS, "priority"),
        _anthropic("output-tokens", _D.OUTPUT_TOKENS, "priority"),
        _anthropic("input-tokens", _D.INPUT_TOKENS, "fast"),
        _anthropic("output-tokens", _D.OUTPUT_TOKENS, "fast"),
    ),
    "mistral": _MISTRAL,
    # Its reset is the pause that it suggests, which is none of the window's.
    "together": (
        Row(_D.REQUESTS, "x-ratelimit-limit", "x-ratelimit-remaining", period_s=1.0),
        Row(_D.TOKENS, "x-tokenlimit-limit", "x-tokenlimit-remaining", period_s=1.0),
        Row(
            _D.REQUESTS, "x-ratelimit-limit-dynamic", "x-ratelimit-remaining-dynamic",
            period_s=1.0, label="dynamic",
        ),
        Row(
            _D.TOKENS, "x-tokenlimit-limit-dynamic", "x-tokenlimit-remaining-dynamic",
            period_s=1.0, label="dynamic",
        ),
    ),
    "fireworks": (
        _family("requests", _D.REQUESTS, MINUTE_S),
        _family("tokens-prompt", _D.INPUT_TOKENS, MINUTE_S),
        _family("tokens-uncached-prompt", _D.INPUT_TOKENS, MINUTE_S, "uncached"),
        _family("tokens-cache-adjusted-prompt", _D.INPUT_TOKENS, MINUTE_S, "uncached"),
        _family("tokens-generated", _D.OUTPUT_TOKENS, MINUTE_S),
    ),
    # With refusals only; the reset is an instant in epoch milliseconds.
    "openrouter": (replace(_PLAIN, algorithm=Algorithm.FIXED),),
    "cohere": (
        Row(
            _D.REQUESTS, "x-trial-endpoint-call-limit", "x-trial-endpoint-call-remaining",
            period_s=MINUTE_S,
        ),
        Row(_D.REQUESTS, "x-endpoint-monthly-call-limit", period_s=MONTH_S),
    ),
    # Of which nothing is known: every usual name, also behind another gateway.
    "generic": (*_GENERIC, *(_behind_gateway(row) for row in _GENERIC)),
    # Known by what it means by its codes.
    "qwen": _GENERIC,
    # Those that tell nothing in headers.
    "bedrock": (),
    "deepseek": (),
    "gemini": (),
    "perplexity": (),
    "none": (),
}  # fmt: skip

#: Where refusals tell the wait besides `retry-after`; instants and seconds alike.
_WAITS: Mapping[str, str] = {
    "together": "x-ratelimit-reset",
    "openrouter": "x-ratelimit-reset",
}
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

    Returns:
        In the order of the dialect's rows; a figure that is absent or cannot
        be read is `None`, and a limit without any figure is left out.
    """
    get = headers.get
    found = []
    for row in DIALECTS.get(dialect, ()):
        limit, remaining = get(row.limit), get(row.remaining)
        if limit is None and remaining is None:
            continue
        limit_units, remaining_units = _amount(limit), _amount(remaining)
        if limit_units is None and remaining_units is None:
            continue
        reset = get(row.reset)
        found.append(
            ObservedLimit(
                row.dimension,
                limit_units,
                remaining_units,
                None if reset is None else parse_duration(reset, now),
                row.period_s,
                row.algorithm,
                Provenance.HEADER,
                row.label,
                row.rounding,
            )
        )
    return tuple(found)


def read_retry_after(
    headers: Mapping[str, str], now: float, dialect: str | None = None
) -> float | None:
    """Return the seconds that a refusal tells to wait; `None` when it tells none.

    Args:
        dialect: Of the rate-limit headers; some tell the wait by names of their own.

    Returns:
        The longest wait that is told. Milliseconds win over the same wait in
        seconds, which is rounded up.
    """
    told = [
        parse_duration(text, now)
        for name in ("retry-after", _WAITS.get(dialect or "", ""))
        if (text := headers.get(name)) is not None
    ]
    wait_s = max((seconds for seconds in told if seconds is not None), default=None)
    milliseconds = _amount(headers.get("retry-after-ms"))
    if milliseconds is None:
        return wait_s
    exact_s = milliseconds / 1000.0
    return exact_s if wait_s is None or wait_s - exact_s < 1.0 else wait_s


def read_account(dialect: str, headers: Mapping[str, str]) -> str:
    """Return whose limits they are, such as `org-1/proj-2`; empty when no header says."""
    names = _ACCOUNTS.get(dialect)
    if names is None:
        return ""
    return "/".join(value for name in names if (value := headers.get(name)))


def infer_period(
    limit: float | None, remaining: float | None, reset_s: float | None
) -> float | None:
    """Return the window's length in seconds, as far as one report tells it.

    A bucket that refills continuously is full after *reset_s*, so the period
    is reset x limit / (limit - remaining); `remaining` is rounded to whole units.

    Returns:
        1, 60, 3600, 86400 or 30 days; `None` when nothing is used or none is near.
    """
    return ObservedLimit(Dimension.REQUESTS, limit, remaining, reset_s).inferred_period()


def _amount(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        amount = float(text)
    except ValueError:
        return None
    return amount if 0.0 <= amount < _NO_AMOUNT else None
