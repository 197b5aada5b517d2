"""Each window against a brute-force oracle over random histories."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.domain.ledger.algorithms import make_window
from apikeyrouter.domain.ledger.ledger import (
    Ledger,
    LedgerAccount,
    Reservation,
    Shortfall,
    amounts_of,
)
from apikeyrouter.domain.ledger.window import EPSILON, Window
from apikeyrouter.domain.limits.observation import Algorithm, Dimension

pytestmark = pytest.mark.unit
CAPACITY, PERIOD = 20.0, 10.0
STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 4.0, allow_nan=False),  # seconds passed
        st.integers(1, 12),  # asked
        st.one_of(st.none(), st.integers(0, 12)),  # really used, `None` stays charged
    ),
    max_size=60,
)


class BucketOracle:
    """A bucket that refills in tiny steps; a correction changes the level, never below empty."""

    def __init__(self) -> None:
        self.level, self.at = CAPACITY, 0.0

    def room(self, now: float) -> float:
        self.level = min(CAPACITY, self.level + (now - self.at) * CAPACITY / PERIOD)
        self.at = now
        return self.level

    def take(self, amount: float, now: float) -> None:
        self.level -= amount


class FixedOracle:
    """Counts charges since the last multiple of the period after the first charge."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.charges: list[tuple[int, float]] = []

    def epoch(self, now: float) -> int:
        return 0 if self.first is None else math.floor((now - self.first) / PERIOD + 1e-12)

    def room(self, now: float) -> float:
        epoch = self.epoch(now)
        return CAPACITY - sum(amount for e, amount in self.charges if e == epoch)

    def take(self, amount: float, now: float) -> None:
        if self.first is None:
            self.first = now
        self.charges.append((self.epoch(now), amount))


class RollingOracle:
    """Counts the charges of the period just past."""

    def __init__(self) -> None:
        self.charges: list[tuple[float, float]] = []

    def room(self, now: float) -> float:
        return CAPACITY - sum(amount for at, amount in self.charges if at > now - PERIOD)

    def take(self, amount: float, now: float) -> None:
        self.charges.append((now, amount))


ORACLES = {
    Algorithm.TOKEN_BUCKET: BucketOracle,
    Algorithm.FIXED: FixedOracle,
    Algorithm.ROLLING: RollingOracle,
}


def window_of(algorithm: Algorithm) -> Window:
    return make_window(algorithm, Dimension.TOKENS, CAPACITY, PERIOD, 0.0)


@pytest.mark.parametrize("algorithm", ORACLES)
@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_room_is_what_the_oracle_says(algorithm: Algorithm, steps: list[tuple]) -> None:
    window, oracle, now = window_of(algorithm), ORACLES[algorithm](), 0.0
    for passed, asked, _ in steps:
        now += passed
        assert window.room(now) == pytest.approx(oracle.room(now), abs=1e-4)
        if asked <= window.room(now):
            window.take(asked, now)
            oracle.take(asked, now)


@pytest.mark.parametrize("algorithm", ORACLES)
@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_it_fits_at_the_instant_that_was_told_and_not_before(
    algorithm: Algorithm, steps: list[tuple]
) -> None:
    window, now = window_of(algorithm), 0.0
    for passed, asked, _ in steps:
        now += passed
        window.take(min(asked, max(0.0, window.room(now))), now)
        instant = window.fits_at(asked, now)
        assert instant < math.inf
        probe = window_copy(window, algorithm)
        if instant > now + 1e-3:
            assert probe.lacks(asked, instant - 1e-3)
        assert window_copy(window, algorithm).room(instant) + 1e-5 >= asked


def window_copy(window: Window, algorithm: Algorithm) -> Window:
    import copy

    return copy.deepcopy(window)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_returned_tokens_never_exceed_what_a_settled_bucket_has(steps: list[tuple]) -> None:
    """A bucket that corrects at the end admits nothing that an exact one would refuse.

    The exact one is charged what is really used from the beginning.
    """
    window, exact, now = window_of(Algorithm.TOKEN_BUCKET), BucketOracle(), 0.0
    for passed, asked, used in steps:
        now += passed
        if asked > window.room(now):
            continue
        assert exact.room(now) + 1e-4 >= window.room(now)
        actual = asked if used is None else min(asked, used)
        mark = window.take(asked, now)
        exact.take(actual, now)
        window.give_back(asked - actual, mark, now)
        assert window.room(now) == pytest.approx(exact.room(now), abs=1e-4)


@settings(max_examples=200, deadline=None)
@given(
    endings=st.lists(
        st.tuples(st.floats(0, 3), st.sampled_from("scx"), st.integers(0, 9)), max_size=80
    )
)
def test_after_any_endings_nothing_is_held(endings: list[tuple[float, str, int]]) -> None:
    ledger, account, now = Ledger(), LedgerAccount("a"), 0.0
    for algorithm in Algorithm:
        dimension = Dimension.CONCURRENCY if algorithm is Algorithm.CONCURRENT else Dimension.TOKENS
        account.windows.append(make_window(algorithm, dimension, 50.0, PERIOD, 0.0))
    held: list[Reservation] = []
    amounts = amounts_of(requests=1, tokens=5, concurrency=1)
    for passed, ending, which in endings:
        now += passed
        got = ledger.reserve(((account, amounts),), now)
        if isinstance(got, Reservation):
            held.append(got)
        elif isinstance(got, Shortfall):
            assert got.fits_at > now - EPSILON
        if held and which % 2:
            _end(ledger, held.pop(which % len(held)), ending, now)
    for hold in held:
        _end(ledger, hold, "c", now)
    assert (ledger.open_count, account.in_flight, len(account.open)) == (0, 0, 0)
    assert all(abs(window.unconfirmed) < 1e-6 for window in account.windows)
    assert account.windows[-1].used == 0.0


def oracle_fits_at(oracle: object, asked: float, now: float) -> float:
    """Find the first instant at which the oracle has room, by asking it and nothing else."""
    import copy

    if oracle.room(now) + EPSILON >= asked:
        return now
    early, late = now, now + 3 * PERIOD
    while late - early > 1e-4:
        middle = (early + late) / 2.0
        if copy.deepcopy(oracle).room(middle) + EPSILON >= asked:
            late = middle
        else:
            early = middle
    return late


@pytest.mark.parametrize("algorithm", ORACLES)
@settings(max_examples=60, deadline=None)
@given(asks=st.lists(st.integers(1, 12), min_size=60, max_size=120))
def test_ledger_never_admits_what_the_oracle_refuses_and_wastes_less_than_one_percent(
    algorithm: Algorithm, asks: list[int]
) -> None:
    """Each asks for more as soon as it may; both take requests in order."""
    ledger, account, oracle = Ledger(), LedgerAccount("a"), ORACLES[algorithm]()
    account.windows.append(window_of(algorithm))
    best = ORACLES[algorithm]()
    now = best_now = 0.0
    for asked in asks:
        while isinstance(
            got := ledger.reserve(((account, amounts_of(tokens=asked)),), now), Shortfall
        ):
            assert now < got.fits_at < math.inf
            now = got.fits_at
        assert oracle.room(now) + 1e-3 >= asked
        oracle.take(asked, now)
        ledger.keep(got, now)
        best_now = oracle_fits_at(best, asked, best_now)
        best.take(asked, best_now)
    assert now <= best_now * 1.01 + 0.01


@settings(max_examples=500, deadline=None)
@given(
    used=st.floats(0.0, 1e6, allow_nan=False),
    asked=st.floats(1.0, 1e6, allow_nan=False),
    passed=st.floats(0.0, 1.0, allow_nan=False),
)
def test_what_does_not_fit_now_never_claims_to_fit_now(
    used: float, asked: float, passed: float
) -> None:
    """Of a large bucket the last bit of a float comes back in less than a clock can tell."""
    now = 1.8e9
    account = LedgerAccount("a")
    window = make_window(Algorithm.TOKEN_BUCKET, Dimension.TOKENS, 1e6, 60.0, now)
    account.windows.append(window)
    window.take(used, now)
    lack = account.shortfall(amounts_of(tokens=asked), now + passed)
    assert lack is None or lack.fits_at > now + passed
    room = window.room(now + passed)
    barely = account.shortfall(amounts_of(tokens=room), now + passed)
    assert barely is None or barely.fits_at > now + passed


def _end(ledger: Ledger, hold: Reservation, ending: str, now: float) -> None:
    if ending == "s":
        ledger.settle(hold, [amounts_of(requests=1, tokens=3)], now)
    else:
        ledger.cancel(hold, now, counted=[ending == "x"])
