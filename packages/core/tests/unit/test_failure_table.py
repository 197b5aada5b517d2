"""Every class of failure has its consequence, and waits obey what was told."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.failures.table import CONSEQUENCES, Blame, wait_for
from apikeyrouter.domain.limits.observation import DAY_S, HOUR_S
from apikeyrouter.domain.models.api_key import KeyState

pytestmark = pytest.mark.unit

F, B, K = FailureClass, Blame, KeyState
#: class: blame, key moves to, tries next, same key again, spends a retry, is probed
EXPECTED = {
    F.RATE_LIMITED: (B.SCOPE, K.THROTTLED, True, True, False, False),
    F.RATE_LIMITED_DAY: (B.SCOPE, K.EXHAUSTED, True, True, False, False),
    F.TOO_BIG_FOR_LIMIT: (B.NOBODY, None, True, False, False, False),
    F.SLOW_DOWN: (B.SCOPE, K.THROTTLED, True, True, False, False),
    F.ZERO_ALLOWANCE: (B.MODEL_IN_SCOPE, None, True, False, False, False),
    F.QUOTA_BILLING: (B.SCOPE, K.EXHAUSTED, True, False, False, False),
    F.IN_FLIGHT_BUDGET: (B.SCOPE, K.THROTTLED, True, True, False, False),
    F.KEY_BUDGET: (B.KEY, K.EXHAUSTED, True, False, False, False),
    F.KEY_INVALID: (B.KEY, K.INVALID, True, False, False, True),
    F.ACCOUNT_DISABLED: (B.KEY, K.INVALID, True, False, False, True),
    F.MODEL_UNAVAILABLE: (B.KEY_MODEL, None, True, False, False, False),
    F.REGION_BLOCKED: (B.PROVIDER, None, True, False, False, False),
    F.IP_NOT_AUTHORIZED: (B.SCOPE, K.EXHAUSTED, True, False, False, False),
    F.OVERLOADED: (B.PROVIDER, None, True, True, True, False),
    F.SERVER_ERROR: (B.PROVIDER, None, True, True, True, False),
    F.UNREACHABLE: (B.PROVIDER, None, True, True, False, False),
    F.NETWORK: (B.PROVIDER, None, True, True, True, False),
    F.TIMEOUT: (B.PROVIDER, None, True, True, True, False),
    F.OUT_OF_TIME: (B.NOBODY, None, False, False, False, False),
    F.CONTEXT_LENGTH: (B.REQUEST, None, True, False, False, False),
    F.UNFIT_MODEL: (B.REQUEST, None, True, False, False, False),
    F.UNTRANSLATABLE: (B.REQUEST, None, True, False, False, False),
    F.UNEXPLAINED: (B.MODEL_IN_SCOPE, None, True, False, False, False),
    F.CONTENT_FILTER: (B.REQUEST, None, False, False, False, False),
    F.BAD_REQUEST: (B.REQUEST, None, False, False, False, False),
    F.NOT_FOUND: (B.NOBODY, None, True, False, False, False),
    F.CONFLICT: (B.NOBODY, None, True, True, True, False),
    F.MID_STREAM: (B.PROVIDER, None, False, False, False, False),
}


def _failure(kind=F.RATE_LIMITED, retry_after_s=None, opens_in_s=None):
    return Failure(kind, "", retry_after_s=retry_after_s, opens_in_s=opens_in_s)


def _wait(kind, streak, *, first_s=None, retry_after_s=None, opens_in_s=None):
    failure = _failure(kind, retry_after_s, opens_in_s)
    return wait_for(failure, CONSEQUENCES[kind], streak, first_s)


def test_every_class_has_a_consequence():
    assert set(FailureClass) == set(CONSEQUENCES)


@pytest.mark.parametrize("kind", FailureClass, ids=str)
def test_a_failure_is_blamed_on_what_failed(kind):
    row = CONSEQUENCES[kind]
    assert EXPECTED[kind] == (
        row.blame, row.key_state, row.try_next, row.same_key_retry, row.spends_retry, row.probe,
    )  # fmt: skip


@pytest.mark.parametrize("kind", FailureClass, ids=str)
def test_only_what_is_blamed_rests(kind):
    row = CONSEQUENCES[kind]
    rests = row.blame in (B.KEY, B.SCOPE, B.MODEL_IN_SCOPE, B.KEY_MODEL)
    assert rests == (row.cool_s > 0.0)
    assert row.cool_s <= row.longest_s
    assert rests or row.key_state is None


@pytest.mark.parametrize(
    ("kind", "waits"),
    [
        (F.RATE_LIMITED, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]),
        (F.SLOW_DOWN, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 120.0, 120.0]),
        (F.IN_FLIGHT_BUDGET, [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]),
        (F.RATE_LIMITED_DAY, [300.0, 600.0, 1200.0, 2400.0, HOUR_S, HOUR_S]),
        (F.QUOTA_BILLING, [900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 57600.0, DAY_S]),
        (F.ZERO_ALLOWANCE, [60.0, 480.0, 3840.0, 30720.0, DAY_S]),
        (F.MODEL_UNAVAILABLE, [5.0, 20.0, 80.0, 320.0, 1280.0, HOUR_S, HOUR_S]),
        (F.UNEXPLAINED, [5.0, 20.0, 80.0, 300.0, 300.0]),
        (F.KEY_INVALID, [math.inf, math.inf]),
        (F.UNREACHABLE, [0.0, 0.0]),
    ],
    ids=str,
)
def test_an_untold_wait_grows_to_its_cap(kind, waits):
    assert waits == [_wait(kind, streak) for streak in range(1, len(waits) + 1)]


@pytest.mark.parametrize("streak", [0, 1, 40, 10**9])
def test_any_streak_gives_a_wait(streak):
    assert 1.0 <= _wait(F.RATE_LIMITED, streak) <= 60.0


@pytest.mark.parametrize(
    ("retry_after_s", "opens_in_s", "wait_s"),
    [
        (0.006, None, 0.006),
        (20.0, None, 20.0),
        (3 * DAY_S, None, DAY_S),
        (None, 365 * DAY_S, DAY_S),
        (None, 500.0, 500.0),
        (20.0, 500.0, 500.0),
        (700.0, 500.0, 700.0),
        (20.0, 0.0, 20.0),
    ],
)
def test_a_told_wait_is_kept_to_a_day(retry_after_s, opens_in_s, wait_s):
    assert wait_s == _wait(F.RATE_LIMITED, 7, retry_after_s=retry_after_s, opens_in_s=opens_in_s)


@pytest.mark.parametrize(("retry_after_s", "opens_in_s"), [(0.0, None), (None, 0.0), (0.0, 0.0)])
def test_a_wait_that_is_over_tells_nothing(retry_after_s, opens_in_s):
    assert _wait(F.RATE_LIMITED, 3, retry_after_s=retry_after_s, opens_in_s=opens_in_s) == 4.0


@pytest.mark.parametrize(
    ("first_s", "streak", "wait_s"),
    [(60.0, 1, 60.0), (60.0, 3, 240.0), (2 * DAY_S, 1, 2 * DAY_S), (2 * DAY_S, 5, 2 * DAY_S)],
)
def test_an_operators_first_wait_takes_the_place_of_the_rows(first_s, streak, wait_s):
    assert wait_s == _wait(F.QUOTA_BILLING, streak, first_s=first_s)


@given(
    kind=st.sampled_from(FailureClass),
    told_s=st.none() | st.floats(0.0, 1e9),
    opens_in_s=st.none() | st.floats(0.0, 1e9),
    streak=st.integers(1, 10_000),
)
def test_no_wait_is_shorter_than_told_or_than_a_day(kind, told_s, opens_in_s, streak):
    wait_s = _wait(kind, streak, retry_after_s=told_s, opens_in_s=opens_in_s)
    assert wait_s >= min(DAY_S, max(told_s or 0.0, opens_in_s or 0.0))
    assert wait_s >= 0.0
