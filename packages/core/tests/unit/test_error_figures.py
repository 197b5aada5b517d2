"""Recorded refusals reveal their wait, their limits and their account."""

import pytest
from provider_errors import (
    BODY,
    GROQ_DAY,
    INPUT_PER_MINUTE,
    NOW,
    OPENAI_MINUTE,
    PER_DAY,
    PER_MINUTE,
    TOO_LARGE,
    D,
    F,
    anthropic,
    classify_at,
    gemini,
    openai,
    openrouter,
    quota,
)
from recorded_refusals import OF_ACCOUNTS

from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Algorithm,
    ObservedLimit,
)

pytestmark = pytest.mark.unit

WAITS = {
    "openai": ("openai", 429, openai(OPENAI_MINUTE, "tokens"), None, 41.724),
    "groq": ("groq", 429, openai(GROQ_DAY, "tokens"), None, 396.576),
    "words beside a shorter header": (
        "openai", 429, openai(OPENAI_MINUTE), {"retry-after": "20"}, 41.724,
    ),
    "a header beside shorter words": (
        "openai", 429, openai(OPENAI_MINUTE), {"retry-after": "42"}, 42.0,
    ),
    "figures without a wait": (
        "groq", 429,
        openai("on tokens per day (TPD): Limit 500000, Used 499731, Requested 664."), None, 68.256,
    ),
    "milliseconds": ("azure", 429, openai("x", code="429"), {"retry-after-ms": "250"}, 0.25),
    "azure's words": ("azure", 429, openai("Please retry after 26 seconds."), None, 26.0),
    "minutes": ("openai", 429, openai("Please try again in 2 minutes."), None, 120.0),
    "short words": ("openai", 429, openai("Please try again in 20ms. Visit us."), None, 0.02),
    "gemini's detail": ("gemini", 429, quota((PER_MINUTE, "5"), delay="34.07s"), None, 34.07),
    "gemini's words": (
        "gemini", 429, gemini("Please retry in 10h17m5.72s.", "RESOURCE_EXHAUSTED"), None,
        37025.72,
    ),
    "together": ("together", 429, openai("x"), {"x-ratelimit-reset": "3"}, 3.0),
    "openrouter's repeated headers": (
        "openrouter", 429,
        openrouter(429, "x", headers={"X-RateLimit-Reset": f"{(NOW + 60) * 1000:.0f}"}), None,
        60.0,
    ),
    "in flight": (
        "openrouter", 402, openrouter(402, limit_source="openrouter_in_flight_budget"),
        {"retry-after": "3"}, 3.0,
    ),
    "untold": ("openai", 429, openai("Slow down"), None, None),
    "a year, asked again after a day": (
        "openai", 429, openai("Slow down"), {"retry-after": "31536000"}, 86400.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("sample", WAITS.values(), ids=WAITS)
def test_the_told_wait_is_kept(sample):
    dialect, status, body, headers, wait_s = sample
    assert classify_at(dialect, status, body, headers).retry_after_s == pytest.approx(wait_s)


INSTANTS = {
    "an own limit": (OF_ACCOUNTS["anthropic own limit"], 1796083200.0 - NOW),
    "the first of the month": (OF_ACCOUNTS["anthropic month"], 1796083200.0 - NOW),
    "midnight in california": (OF_ACCOUNTS["gemini day"], 6 * HOUR_S),
    "midnight UTC": (OF_ACCOUNTS["openrouter day"], 22 * HOUR_S),
    "a rolling day ends when it says": (OF_ACCOUNTS["groq day"], None),
    "a minute": (OF_ACCOUNTS["gemini minute"], None),
    "an empty account": (OF_ACCOUNTS["openai quota"], None),
}


@pytest.mark.parametrize(("sample", "opens_in_s"), INSTANTS.values(), ids=INSTANTS)
def test_the_told_instant_becomes_a_span(sample, opens_in_s):
    _, dialect, status, body, *headers = sample
    assert classify_at(dialect, status, body, *headers).opens_in_s == opens_in_s


def test_a_delay_of_hours_is_trusted_over_the_calendar():
    failure = classify_at("gemini", 429, quota((PER_DAY, "20"), delay="37025.72s"))
    assert (failure.retry_after_s, failure.opens_in_s) == (37025.72, None)


def test_a_date_that_is_none_is_no_instant():
    body = anthropic("You will regain access on 2026-13-45 at 00:00 UTC.", "rate_limit_error")
    failure = classify_at("anthropic", 429, body)
    assert (failure.kind, failure.opens_in_s) == (F.QUOTA_BILLING, None)


LIMITS = {
    "openai": (
        "openai", openai(OPENAI_MINUTE, "tokens"), None,
        (ObservedLimit(D.TOKENS, 10000.0, 1218.0, period_s=MINUTE_S, source=BODY),),
    ),
    "groq": (
        "groq", openai(GROQ_DAY), None,
        (ObservedLimit(D.TOKENS, 200000.0, 764.0, period_s=DAY_S, source=BODY),),
    ),
    "requests": (
        "openai", openai("on requests per day (RPD): Limit 200, Used 200, Requested 1."), None,
        (ObservedLimit(D.REQUESTS, 200.0, 0.0, period_s=DAY_S, source=BODY),),
    ),
    "letters alone": (
        "openai", openai("(ITPM): Limit 20,000, Used 19,000, Requested 1,500."), None,
        (ObservedLimit(D.INPUT_TOKENS, 20000.0, 1000.0, period_s=MINUTE_S, source=BODY),),
    ),
    "audio": (
        "groq", openai("on seconds of audio per hour (ASH): Limit 7200, Used 7000, Requested 9"),
        None, (ObservedLimit(D.AUDIO_SECONDS, 7200.0, 200.0, period_s=HOUR_S, source=BODY),),
    ),
    "prose": (
        "anthropic", OF_ACCOUNTS["anthropic"][3], None,
        (ObservedLimit(D.INPUT_TOKENS, 50000.0, None, period_s=MINUTE_S, source=BODY),),
    ),
    "too large": (
        "openai", openai(TOO_LARGE), None,
        (ObservedLimit(D.TOKENS, 10000.0, None, period_s=MINUTE_S, source=BODY),),
    ),
    "gemini": (
        "gemini", quota((PER_MINUTE, "5"), (PER_DAY, "20"), (INPUT_PER_MINUTE, "250000")), None,
        (
            ObservedLimit(D.REQUESTS, 5.0, 0.0, None, MINUTE_S, source=BODY),
            ObservedLimit(
                D.REQUESTS, 20.0, 0.0, 6 * HOUR_S, DAY_S, Algorithm.FIXED, BODY,
                calendar=Calendar.DAY_PACIFIC,
            ),
            ObservedLimit(D.INPUT_TOKENS, 250000.0, None, None, MINUTE_S, source=BODY),
        ),
    ),
    "headers too": (
        "mistral", {"message": "x"}, {"x-ratelimit-limit-req-minute": "60"},
        (ObservedLimit(D.REQUESTS, 60.0, None, None, MINUTE_S),),
    ),
    "words date a header": (
        "openrouter", OF_ACCOUNTS["openrouter day"][3],
        {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "0"},
        (ObservedLimit(D.REQUESTS, 50.0, 0.0, None, DAY_S, Algorithm.FIXED),),
    ),
    "no allowance is no capacity": ("gemini", OF_ACCOUNTS["gemini limit 0"][3], None, ()),
    "no figures": ("openai", openai("Slow down"), None, ()),
}  # fmt: skip


@pytest.mark.parametrize("sample", LIMITS.values(), ids=LIMITS)
def test_a_refusal_reveals_limits(sample):
    dialect, body, headers, limits = sample
    assert classify_at(dialect, 429, body, headers).limits == limits


@pytest.mark.parametrize(
    ("dialect", "body", "headers", "account"),
    [
        ("groq", openai(GROQ_DAY), {}, "org_01abc"),
        ("openai", openai(OPENAI_MINUTE), {}, "org-abc"),
        ("openai", openai(OPENAI_MINUTE), {"openai-organization": "acme"}, "acme"),
        ("openai", openai("x"), {}, ""),
    ],
)
def test_a_refusal_names_the_account(dialect, body, headers, account):
    assert classify_at(dialect, 429, body, headers).account == account
