"""The three ways to count, by tables with a given clock."""

import math

import pytest

from apikeyrouter_simulator.quotas.windows import FixedWindow, RollingWindow, TokenBucket, Window

pytestmark = pytest.mark.unit


def bucket(limit: float = 60) -> Window:
    return TokenBucket(limit, 60.0, 0.0)


def fixed(limit: float = 60) -> Window:
    return FixedWindow(limit, 60.0, 0.0, 0.0)


def rolling(limit: float = 60) -> Window:
    return RollingWindow(limit, 60.0, 0.0)


@pytest.mark.parametrize("make", [bucket, fixed, rolling])
def test_full_limit_is_there_at_once_and_no_more(make) -> None:
    window = make()
    assert window.wait_s(60) == 0
    window.take(60)
    assert window.remaining == 0
    assert window.wait_s(1) > 0


@pytest.mark.parametrize(
    ("make", "at", "wait_s", "reset_s"),
    [
        pytest.param(bucket, 0, 10, 60, id="bucket refills one a second"),
        pytest.param(bucket, 4, 6, 56, id="bucket has refilled four"),
        pytest.param(bucket, 90, 0, 0, id="bucket is full again"),
        pytest.param(fixed, 4, 56, 56, id="fixed waits for the reset"),
        pytest.param(fixed, 60, 0, 60, id="fixed begins anew"),
        pytest.param(rolling, 4, 56, 56, id="rolling waits until the charge is old"),
        pytest.param(rolling, 60, 0, 0, id="rolling forgets what is a period old"),
    ],
)
def test_used_up_window_tells_the_wait_for_ten(make, at, wait_s, reset_s) -> None:
    window = make()
    window.take(60)
    window.advance(at)
    assert (wait_s, reset_s) == (pytest.approx(window.wait_s(10)), pytest.approx(window.reset_s()))


def test_rolling_window_gives_back_call_by_call() -> None:
    window = rolling()
    for second in (0, 20, 40):
        window.advance(second)
        window.take(20)
    window.advance(61)
    assert window.remaining == 20
    assert window.wait_s(40) == 19


@pytest.mark.parametrize("make", [bucket, fixed, rolling])
def test_more_than_the_limit_never_fits(make) -> None:
    assert make().wait_s(61) == math.inf


@pytest.mark.parametrize("make", [bucket, fixed, rolling])
def test_settlement_gives_back_what_was_not_used(make) -> None:
    window = make()
    charge = window.take(50)
    window.settle(charge, 10)
    assert window.remaining == 50


@pytest.mark.parametrize("make", [fixed, rolling])
def test_settlement_after_its_period_changes_nothing(make) -> None:
    window = make()
    charge = window.take(50)
    window.advance(61)
    window.take(5)
    window.settle(charge, 10)
    assert window.used == 5


@pytest.mark.parametrize("make", [bucket, fixed, rolling])
def test_moment_before_the_last_one_counts_as_the_last(make) -> None:
    window = make()
    window.advance(30)
    window.take(10)
    window.advance(10)
    assert (window.at, window.used) == (30, 10)


@pytest.mark.parametrize(("make", "possible"), [(bucket, 60 + 90), (fixed, 120), (rolling, 120)])
def test_possible_is_the_start_and_all_that_came_since(make, possible) -> None:
    window = make()
    window.advance(90)
    assert window.possible == pytest.approx(possible)


@pytest.mark.parametrize(("make", "taken"), [(bucket, 30), (fixed, 30), (rolling, 30)])
def test_what_another_user_takes_is_not_possible(make, taken) -> None:
    window = make()
    window.outside_per_s = 1.0
    window.advance(30)
    assert window.outside == pytest.approx(taken)
    assert window.used == pytest.approx(0 if make is bucket else taken)


def test_greedy_other_user_leaves_only_what_it_could_not_take() -> None:
    window = bucket()
    window.outside_per_s = 4.0
    window.advance(60)
    assert (pytest.approx(window.used), pytest.approx(window.outside)) == (60, 120)
    assert window.possible == pytest.approx(0)


def test_raised_limit_is_there_at_once_and_refills_faster() -> None:
    window = bucket()
    window.take(60)
    window.change(120)
    assert window.remaining == 60
    window.take(60)
    window.advance(1)
    assert window.remaining == pytest.approx(2)
    assert window.possible == pytest.approx(122)


def test_lowered_limit_makes_what_is_used_weigh_more() -> None:
    window = bucket()
    window.take(60)
    window.change(30)
    window.advance(60)
    assert window.remaining == pytest.approx(0)


def test_limit_lowered_and_raised_again_gives_nothing_twice() -> None:
    window = bucket()
    window.change(30)
    window.change(60)
    assert window.possible == 60


def test_window_that_begins_used_could_never_give_that() -> None:
    window = bucket()
    window.begin_with(40)
    assert (window.remaining, window.possible) == (20, 20)


@pytest.mark.parametrize("make", [bucket, fixed, rolling])
def test_other_user_takes_at_once_only_what_is_there(make) -> None:
    window = make()
    window.take(50)
    window.take_outside(30)
    assert (window.used, window.outside) == (60, 10)
