"""Headers of every dialect become limits, and what cannot be read is unknown, never zero."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from apikeyrouter.domain.limits.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    MONTH_S,
    Algorithm,
    Dimension,
    ObservedLimit,
)
from apikeyrouter.infrastructure.adapters.rate_limit_headers import (
    DIALECTS,
    infer_period,
    read_account,
    read_limits,
    read_retry_after,
)

pytestmark = pytest.mark.unit

#: 2026-11-24 02:00:00 UTC, a Tuesday.
NOW = 1795485600.0
D = Dimension
OPENAI = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-tokens": "1999980",
    "x-ratelimit-reset-tokens": "6m0s",
}
OPENAI_TOLD = (
    ObservedLimit(D.REQUESTS, 10000.0, 9999.0, 0.006),
    ObservedLimit(D.TOKENS, 2000000.0, 1999980.0, 360.0),
)


def _anthropic(head: str, limit: str, remaining: str) -> dict[str, str]:
    return {
        f"{head}-limit": limit,
        f"{head}-remaining": remaining,
        f"{head}-reset": "2026-11-24T02:00:30Z",
    }


SAMPLES: dict[str, tuple[str, dict[str, str], tuple[ObservedLimit, ...]]] = {
    "openai": ("openai", OPENAI, OPENAI_TOLD),
    "openai's project limit": (
        "openai",
        {
            "x-ratelimit-limit-project-tokens": "5000",
            "x-ratelimit-remaining-project-tokens": "4000",
            "x-ratelimit-reset-project-tokens": "12s",
        },
        (ObservedLimit(D.TOKENS, 5000.0, 4000.0, 12.0, label="project"),),
    ),
    "azure tells whole seconds": (
        "azure",
        {**OPENAI, "x-ratelimit-reset-requests": "1", "x-ratelimit-reset-tokens": "38"},
        (
            ObservedLimit(D.REQUESTS, 10000.0, 9999.0, 1.0),
            ObservedLimit(D.TOKENS, 2000000.0, 1999980.0, 38.0),
        ),
    ),
    "xai": ("xai", OPENAI, OPENAI_TOLD),
    "groq counts requests by the day": (
        "groq",
        {
            "x-ratelimit-limit-requests": "14400",
            "x-ratelimit-remaining-requests": "14370",
            "x-ratelimit-reset-requests": "2m59.56s",
            "x-ratelimit-limit-tokens": "18000",
            "x-ratelimit-remaining-tokens": "17997",
            "x-ratelimit-reset-tokens": "7.66s",
        },
        (
            ObservedLimit(D.REQUESTS, 14400.0, 14370.0, 179.56, DAY_S),
            ObservedLimit(D.TOKENS, 18000.0, 17997.0, 7.66, MINUTE_S),
        ),
    ),
    "groq's audio": (
        "groq",
        {
            "x-ratelimit-limit-audio-seconds": "7200",
            "x-ratelimit-remaining-audio-seconds": "7190",
            "x-ratelimit-reset-audio-seconds": "5s",
        },
        (ObservedLimit(D.AUDIO_SECONDS, 7200.0, 7190.0, 5.0),),
    ),
    "anthropic": (
        "anthropic",
        _anthropic("anthropic-ratelimit-requests", "50", "49")
        | _anthropic("anthropic-ratelimit-input-tokens", "50000", "49000")
        | _anthropic("anthropic-ratelimit-output-tokens", "10000", "10000")
        | _anthropic("anthropic-ratelimit-tokens", "60000", "59000"),
        (
            ObservedLimit(D.REQUESTS, 50.0, 49.0, 30.0, MINUTE_S),
            ObservedLimit(D.INPUT_TOKENS, 50000.0, 49000.0, 30.0, MINUTE_S, rounding=1000.0),
            ObservedLimit(D.OUTPUT_TOKENS, 10000.0, 10000.0, 30.0, MINUTE_S, rounding=1000.0),
            ObservedLimit(D.TOKENS, 60000.0, 59000.0, 30.0, MINUTE_S, rounding=1000.0),
        ),
    ),
    "anthropic's other pools": (
        "anthropic",
        _anthropic("anthropic-priority-input-tokens", "8000", "7000")
        | _anthropic("anthropic-fast-output-tokens", "0", "0"),
        (
            ObservedLimit(
                D.INPUT_TOKENS, 8000.0, 7000.0, 30.0, MINUTE_S, label="priority", rounding=1000.0
            ),
            ObservedLimit(D.OUTPUT_TOKENS, 0.0, 0.0, 30.0, MINUTE_S, label="fast", rounding=1000.0),
        ),
    ),
    "mistral": (
        "mistral",
        {
            "x-ratelimit-limit-req-minute": "60",
            "x-ratelimit-remaining-req-minute": "59",
            "x-ratelimit-limit-tokens-minute": "50000",
            "x-ratelimit-remaining-tokens-minute": "47196",
            "x-ratelimit-limit-tokens-month": "4000000",
            "x-ratelimit-remaining-tokens-month": "3950246",
            "x-ratelimit-tokens-query-cost": "2804",
        },
        (
            ObservedLimit(D.REQUESTS, 60.0, 59.0, None, MINUTE_S),
            ObservedLimit(D.TOKENS, 50000.0, 47196.0, None, MINUTE_S),
            ObservedLimit(D.TOKENS, 4000000.0, 3950246.0, None, MONTH_S),
        ),
    ),
    "mistral without allowance": (
        "mistral",
        {"x-ratelimit-limit-req-minute": "0", "x-ratelimit-remaining-req-minute": "0"},
        (ObservedLimit(D.REQUESTS, 0.0, 0.0, None, MINUTE_S),),
    ),
    "cerebras": (
        "cerebras",
        {
            "x-ratelimit-limit-requests-day": "14400",
            "x-ratelimit-remaining-requests-day": "14399",
            "x-ratelimit-reset-requests-day": "33011.382867",
            "x-ratelimit-limit-tokens-minute": "60000",
            "x-ratelimit-remaining-tokens-minute": "59986",
            "x-ratelimit-reset-tokens-minute": "11.382867",
        },
        (
            ObservedLimit(D.REQUESTS, 14400.0, 14399.0, 33011.382867, DAY_S),
            ObservedLimit(D.TOKENS, 60000.0, 59986.0, 11.382867, MINUTE_S),
        ),
    ),
    "sambanova": (
        "sambanova",
        {
            "x-ratelimit-limit-requests": "40",
            "x-ratelimit-remaining-requests": "39",
            "x-ratelimit-limit-requests-day": "12000",
            "x-ratelimit-remaining-requests-day": "11990",
        },
        (
            ObservedLimit(D.REQUESTS, 40.0, 39.0),
            ObservedLimit(D.REQUESTS, 12000.0, 11990.0, None, DAY_S),
        ),
    ),
    "together counts by the second": (
        "together",
        {
            "x-ratelimit-limit": "10",
            "x-ratelimit-remaining": "9",
            "x-ratelimit-reset": "1",
            "x-tokenlimit-limit": "3000",
            "x-tokenlimit-remaining": "2990",
            "x-ratelimit-limit-dynamic": "20",
            "x-ratelimit-remaining-dynamic": "19",
        },
        (
            ObservedLimit(D.REQUESTS, 10.0, 9.0, None, 1.0),
            ObservedLimit(D.TOKENS, 3000.0, 2990.0, None, 1.0),
            ObservedLimit(D.REQUESTS, 20.0, 19.0, None, 1.0, label="dynamic"),
        ),
    ),
    "fireworks": (
        "fireworks",
        {
            "x-ratelimit-limit-requests": "600",
            "x-ratelimit-limit-tokens-prompt": "60000",
            "x-ratelimit-remaining-tokens-prompt": "59990",
            "x-ratelimit-limit-tokens-cache-adjusted-prompt": "15000",
            "x-ratelimit-remaining-tokens-cache-adjusted-prompt": "14990",
            "x-ratelimit-limit-tokens-generated": "600",
            "x-ratelimit-remaining-tokens-generated": "590",
            "x-ratelimit-over-limit": "no",
        },
        (
            ObservedLimit(D.REQUESTS, 600.0, None, None, MINUTE_S),
            ObservedLimit(D.INPUT_TOKENS, 60000.0, 59990.0, None, MINUTE_S),
            ObservedLimit(D.INPUT_TOKENS, 15000.0, 14990.0, None, MINUTE_S, label="uncached"),
            ObservedLimit(D.OUTPUT_TOKENS, 600.0, 590.0, None, MINUTE_S),
        ),
    ),
    "openrouter tells an instant in milliseconds": (
        "openrouter",
        {
            "x-ratelimit-limit": "50",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": f"{(NOW + 79200.0) * 1000.0:.0f}",
        },
        (ObservedLimit(D.REQUESTS, 50.0, 0.0, 79200.0, algorithm=Algorithm.FIXED),),
    ),
    "cohere's trial": (
        "cohere",
        {
            "x-endpoint-monthly-call-limit": "1000",
            "x-trial-endpoint-call-limit": "20",
            "x-trial-endpoint-call-remaining": "19",
        },
        (
            ObservedLimit(D.REQUESTS, 20.0, 19.0, None, MINUTE_S),
            ObservedLimit(D.REQUESTS, 1000.0, None, None, MONTH_S),
        ),
    ),
    "a gateway passes on its provider's": (
        "generic",
        {
            "llm_provider-x-ratelimit-limit-tokens": "900",
            "llm_provider-x-ratelimit-remaining-tokens": "800",
            "x-ratelimit-limit-requests-hour": "150",
        },
        (
            ObservedLimit(D.REQUESTS, 150.0, None, None, HOUR_S),
            ObservedLimit(D.TOKENS, 900.0, 800.0),
        ),
    ),
    "deepseek tells nothing": ("deepseek", OPENAI, ()),
    "gemini tells nothing": ("gemini", OPENAI, ()),
    "an unknown dialect reads nothing": ("martian", OPENAI, ()),
}


@pytest.mark.parametrize(("dialect", "headers", "told"), SAMPLES.values(), ids=SAMPLES)
def test_a_recorded_reply_becomes_limits(dialect, headers, told):
    assert told == read_limits(dialect, headers, NOW)


def test_case_of_names_does_not_matter_to_a_case_insensitive_mapping():
    headers = CIMultiDictProxy(CIMultiDict({name.title(): OPENAI[name] for name in OPENAI}))
    assert read_limits("openai", headers, NOW) == OPENAI_TOLD


@pytest.mark.parametrize("text", ["", "many", "-1", "nan", "inf", "1e400", "10, 10;w=60", "٣x"])
def test_an_unreadable_figure_is_unknown_and_spoils_no_other(text):
    headers = {**OPENAI, "x-ratelimit-remaining-requests": text, "x-ratelimit-reset-tokens": text}
    assert (
        ObservedLimit(D.REQUESTS, 10000.0, None, 0.006),
        ObservedLimit(D.TOKENS, 2000000.0, 1999980.0, None),
    ) == read_limits("openai", headers, NOW)


def test_a_limit_without_any_figure_is_left_out():
    assert read_limits("openai", {"x-ratelimit-reset-tokens": "1s"}, NOW) == ()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_two_limits_of_a_dialect_read_the_same_header(dialect):
    names = [name for row in DIALECTS[dialect] for name in (row.limit, row.remaining, row.reset)]
    used = [name for name in names if name]
    assert len(set(used)) == len(used)
    assert [name.lower() for name in used] == used


TEXT = st.text(max_size=70) | st.text(alphabet="0123456789.msµhdZT:-+, GMTen", max_size=40)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(texts=st.lists(TEXT, min_size=3, max_size=3))
def test_no_header_makes_reading_fail(dialect, texts):
    headers = {}
    for row in DIALECTS[dialect]:
        headers.update(zip((row.limit, row.remaining, row.reset), texts, strict=True))
    for told in read_limits(dialect, headers, NOW):
        for figure in (told.limit, told.remaining, told.reset_s):
            assert figure is None or 0.0 <= figure < math.inf


WAITS = {
    "seconds": ({"retry-after": "20"}, None, 20.0),
    "a fraction": ({"retry-after": "0.3"}, None, 0.3),
    "an HTTP date": ({"retry-after": "Tue, 24 Nov 2026 02:01:00 GMT"}, None, 60.0),
    "milliseconds": ({"retry-after-ms": "150"}, None, 0.15),
    "milliseconds win over their rounding": (
        {"retry-after-ms": "150", "retry-after": "1"}, None, 0.15,
    ),
    "the longest wins": ({"retry-after-ms": "150", "retry-after": "30"}, None, 30.0),
    "a dialect's own name": ({"x-ratelimit-reset": "2.5"}, "together", 2.5),
    "a dialect's own name beside the usual one": (
        {"x-ratelimit-reset": "2.5", "retry-after": "2"}, "together", 2.5,
    ),
    "an instant in milliseconds": ({"x-ratelimit-reset": "1795485660000"}, "openrouter", 60.0),
    "a reset is no wait elsewhere": ({"x-ratelimit-reset": "2.5"}, "openai", None),
    "unreadable": ({"retry-after": "soon", "retry-after-ms": "x"}, None, None),
    "absent": ({}, None, None),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "dialect", "wait_s"), WAITS.values(), ids=WAITS)
def test_the_told_wait_is_read(headers, dialect, wait_s):
    assert wait_s == read_retry_after(headers, NOW, dialect)


@pytest.mark.parametrize(
    ("dialect", "headers", "account"),
    [
        ("openai", {"openai-organization": "acme", "openai-project": "proj_1"}, "acme/proj_1"),
        ("openai", {"openai-organization": "acme"}, "acme"),
        ("anthropic", {"anthropic-organization-id": "o-1"}, "o-1"),
        (
            "anthropic",
            {"anthropic-organization-id": "o-1", "anthropic-workspace-id": "w-2"},
            "o-1/w-2",
        ),
        ("groq", {"openai-organization": "acme"}, ""),
        ("openai", {}, ""),
    ],
)
def test_the_owner_of_the_limits_is_read(dialect, headers, account):
    assert account == read_account(dialect, headers)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset_s", "period_s"),
    [
        (10000, 9999, 0.006, MINUTE_S),
        (10000, 9999, 8.64, DAY_S),
        (14400, 14370, 179.56, DAY_S),
        (200000, 199000, 0.3, MINUTE_S),
        (150, 100, 1200.0, HOUR_S),
        (10, 5, 0.5, 1.0),
        (1000, 500, 15 * DAY_S, MONTH_S),
        (100, 100, 0.0, None),
        (100, 100, 3.0, None),
        (100, 50, 300.0, None),
        (None, 5, 3.0, None),
        (10, None, 3.0, None),
        (10, 5, None, None),
    ],
)
def test_a_period_is_inferred_where_the_figures_tell_it(limit, remaining, reset_s, period_s):
    assert period_s == infer_period(limit, remaining, reset_s)


@given(
    period_s=st.sampled_from([1.0, MINUTE_S, HOUR_S, DAY_S, MONTH_S]),
    limit=st.integers(10, 10**6),
    share=st.floats(0.0, 0.95),
)
def test_rounding_of_what_is_left_does_not_hide_the_period(period_s, limit, share):
    """A bucket with *used* units gone tells the whole units that remain."""
    used = 1.0 + share * (limit - 1)
    remaining = math.floor(limit - used)
    assert period_s == infer_period(limit, remaining, used * period_s / limit)
