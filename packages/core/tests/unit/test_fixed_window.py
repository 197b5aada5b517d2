"""A window that empties at an instant: when that is, and what a told instant changes."""

import math

import pytest

from apikeyrouter.domain.ledger.algorithms import Concurrent, FixedWindow, make_window
from apikeyrouter.domain.limits.observation import MINUTE_S, Algorithm, Dimension

pytestmark = pytest.mark.unit


def window(reset_at: float | None = 60.0, used: float = 5.0) -> FixedWindow:
    made = FixedWindow(Dimension.REQUESTS, 10, MINUTE_S, 0.0, reset_at=reset_at)
    if used:
        made.take(used, 0.0)
    return made


@pytest.mark.parametrize(
    ("told", "room"),
    [
        pytest.param(60.0, 5.0, id="the same"),
        pytest.param(20.0, 5.0, id="sooner"),
        pytest.param(89.0, 5.0, id="a little later"),
        pytest.param(91.0, 10.0, id="in the next period"),
    ],
)
def test_told_instant_is_taken_and_a_much_later_one_begins_a_period(
    told: float, room: float
) -> None:
    fixed = window()
    fixed.align(told, 10.0)
    assert (fixed.reset_at, fixed.room(10.0), fixed.resets_in(10.0)) == (told, room, told - 10.0)
    assert fixed.room(told) == 10.0


def test_told_instant_counts_for_a_window_that_has_not_begun() -> None:
    fixed = window(reset_at=None, used=0.0)
    assert (fixed.reset_at, fixed.resets_in(0.0)) == (math.inf, None)
    fixed.align(45.0, 0.0)
    fixed.take(4, 0.0)
    assert (fixed.room(44.9), fixed.room(45.0)) == (6.0, 10.0)


def test_told_instant_after_a_reset_nobody_noticed_keeps_nothing_of_the_period_before() -> None:
    fixed = window()
    fixed.align(121.0, 61.0)
    assert fixed.room(61.0) == 10.0


@pytest.mark.parametrize(
    ("returned_at", "room"),
    [(30.0, 7.0), (60.0, 7.0), (130.0, 7.0)],
    ids=["in its period", "in the next", "two periods on"],
)
def test_charge_is_given_back_to_the_period_that_it_was_taken_from(
    returned_at: float, room: float
) -> None:
    fixed = window(used=0.0)
    mark = fixed.take(5, 0.0)
    fixed.take(3, returned_at)
    fixed.give_back(5, mark, returned_at)
    assert fixed.room(returned_at) == room


@pytest.mark.parametrize(
    ("amount", "at", "fits_at"),
    [(5, 0.0, 0.0), (6, 0.0, 60.0), (10, 0.0, 60.0), (11, 0.0, math.inf), (6, 61.0, 61.0)],
)
def test_amount_fits_now_at_the_reset_or_never(amount: float, at: float, fits_at: float) -> None:
    assert window().fits_at(amount, at) == fits_at


@pytest.mark.parametrize(("by", "units"), [(59.0, 5.0), (60.0, 15.0), (119.0, 15.0), (120.0, 25.0)])
def test_units_by_an_instant_count_every_reset_until_then(by: float, units: float) -> None:
    assert window().units_by(by, 0.0) == units


def test_resets_go_on_period_by_period_though_nobody_reads() -> None:
    fixed = window()
    assert fixed.resets_in(250.0) == pytest.approx(50.0)


def test_calls_at_once_come_back_when_they_end() -> None:
    calls = Concurrent(Dimension.CONCURRENCY, 2, 0.0, 0.0)
    calls.take(1, 0.0)
    assert (calls.fits_at(1, 0.0), calls.fits_at(2, 0.0)) == (0.0, math.inf)
    calls.take(1, 0.0)
    assert (calls.room(1.0), calls.fits_at(1, 1.0)) == (0.0, math.inf)
    calls.give_back(1, None, 2.0)
    assert (calls.room(2.0), calls.fits_at(1, 2.0), calls.resets_in(2.0)) == (1.0, 2.0, None)


def test_charge_from_before_a_told_new_period_is_not_given_back_to_it() -> None:
    fixed = window(used=0.0)
    mark = fixed.take(5, 0.0)
    fixed.align(91.0, 10.0)
    fixed.take(3, 10.0)
    fixed.give_back(5, mark, 11.0)
    assert fixed.room(11.0) == 7.0


@pytest.mark.parametrize(
    ("reset_at", "at", "strain"),
    [
        (60.0, 0.0, 0.5),
        (60.0, 30.0, 0.25),
        (60.0, 54.0, 0.05),
        (60.0, 60.0, 0.0),
        (85.0, 10.0, 0.5),
    ],
    ids=["at its start", "half-way", "near its end", "after it", "longer than a period"],
)
def test_what_expires_soon_strains_less(reset_at: float, at: float, strain: float) -> None:
    fixed = window()
    fixed.align(reset_at, 0.0)
    assert fixed.strain(at) == pytest.approx(strain)


def test_full_window_is_strained_wholly_until_it_empties() -> None:
    assert window(used=10.0).strain(59.0) == 1.0


def test_rolling_window_gets_back_each_charge_a_period_after_it() -> None:
    rolling = make_window(Algorithm.ROLLING, Dimension.REQUESTS, 10, MINUTE_S, 0.0)
    assert rolling.resets_in(0.0) == 0.0
    rolling.take(4, 0.0)
    rolling.take(6, 20.0)
    assert [rolling.fits_at(amount, 30.0) for amount in (0, 4, 5, 10, 11)] == [
        30.0, 60.0, 80.0, 80.0, math.inf,
    ]  # fmt: skip
    assert (rolling.units_by(59.0, 30.0), rolling.units_by(60.0, 30.0)) == (0.0, 4.0)
    assert rolling.resets_in(30.0) == 50.0
    assert (rolling.room(60.0), rolling.room(80.0)) == (4.0, 10.0)


def test_charge_of_a_period_that_is_over_counts_as_nothing_returned() -> None:
    fixed = window(used=0.0)
    mark = fixed.take(5, 0.0)
    fixed.give_back(5, mark, 61.0)
    assert (fixed.returned, fixed.room(61.0)) == (0.0, 10.0)


def test_rolling_window_shrinks_from_its_oldest_charge_when_a_report_says_less() -> None:
    rolling = make_window(Algorithm.ROLLING, Dimension.REQUESTS, 10, MINUTE_S, 0.0)
    for at in (0.0, 10.0, 20.0):
        rolling.take(2, at)
    assert (rolling.charged, rolling.resets_in(20.0)) == (6.0, 60.0)
    rolling.observe(2.0, 3.0, since=0.0, age_s=0.0, now=20.0)
    assert (rolling.room(20.0), rolling.room(70.0), rolling.room(80.0)) == (7.0, 8.0, 10.0)
