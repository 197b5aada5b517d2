"""A provider tells what remains and nothing else: a ceiling, whose refill is measured."""

import heapq
import random
from dataclasses import dataclass, field

import pytest

from apikeyrouter.domain.accounts.limit_learning import LimitLearning
from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.ledger.algorithms import make_window
from apikeyrouter.domain.ledger.ledger import Ledger, Reservation, amounts_of
from apikeyrouter.domain.ledger.remaining_bucket import RemainingBucket
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Algorithm,
    Dimension,
    ObservedLimit,
)
from apikeyrouter.domain.quota_scope import Membership, QuotaScope

pytestmark = pytest.mark.unit
REQUESTS, TOKENS = Dimension.REQUESTS, Dimension.TOKENS


@dataclass
class Account:
    """One account of a provider that tells what remains, asked as often as is thought possible."""

    truth: Window
    latency_s: float = 0.2
    clients: int = 8
    amount: float = 1.0
    others_per_s: float = 0.0
    served: int = 0
    refused: int = 0
    now: float = 0.0
    at_most: list[tuple[float, int]] = field(default_factory=list)
    served_at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = Ledger()
        self.search = search = LimitSearch(self.ledger, emit=lambda _: None)
        book = AccountRegistry(
            self.ledger, search, clock=lambda: self.now, emit=lambda _: None,
            on_capacity=lambda _: None,
        )  # fmt: skip
        self.learning = LimitLearning(self.ledger, book, search, emit=lambda _: None)
        self.scope = QuotaScope("s", "p", Membership("a"))
        self.chance = random.Random(1)
        self._busy: list[tuple[float, int, Reservation, float]] = []
        self._others_at = 0.0
        self._blocked_until = 0.0
        self._number = 0

    @property
    def amounts(self) -> list[float]:
        tokens = self.amount if self.truth.dimension is TOKENS else 0.0
        return amounts_of(requests=1, tokens=tokens, concurrency=1)

    @property
    def bucket(self) -> Window:
        """The window that was learned."""
        (window,) = self.scope.account.windows
        return window

    def told(self, remaining: float) -> tuple[ObservedLimit, ...]:
        return (ObservedLimit(self.truth.dimension, remaining=float(int(remaining))),)

    def run(self, until: float, step_s: float = 0.05) -> None:
        """Let time pass; whoever may call does."""
        while self.now < until:
            self.now += step_s
            self._let_others_in()
            while self._busy and self._busy[0][0] <= self.now:
                self._answer(*heapq.heappop(self._busy)[2:])
            while len(self._busy) < self.clients and self._begin():
                pass

    def finish(self) -> None:
        """Await the answers of all calls under way."""
        clients, self.clients = self.clients, 0
        self.run(self.now + 1.0)
        self.clients = clients

    def _let_others_in(self) -> None:
        taken = self.others_per_s * (self.now - self._others_at)
        self._others_at = self.now
        self.truth.take(min(taken, max(0.0, self.truth.room(self.now))), self.now)

    def _begin(self) -> bool:
        if self.now < self._blocked_until:
            return False
        got = self.ledger.reserve(((self.scope.account, self.amounts),), self.now)
        if not isinstance(got, Reservation):
            return False
        if self.truth.room(self.now) < self.amount:
            self.ledger.cancel(got, self.now)
            told = self.told(self.truth.room(self.now))
            self.learning.learn(self.scope, told, self.now, hold=got.first)
            self.search.refused(self.scope, self.now, told=True, is_first=True)
            self.refused += 1
            self._blocked_until = self.now + 1.0
            return False
        self.truth.take(self.amount, self.now)
        self._number += 1
        ends_at = self.now + self.latency_s * self.chance.uniform(0.5, 1.5)
        heapq.heappush(self._busy, (ends_at, self._number, got, self.truth.room(self.now)))
        return True

    def _answer(self, got: Reservation, remaining: float) -> None:
        got.confirm()
        self.learning.learn(self.scope, self.told(remaining), self.now, hold=got.first)
        self.ledger.settle(got, [self.amounts], self.now)
        self.served += 1
        self.served_at.append(self.now)


def bucket_of(capacity: float, period_s: float, dimension: Dimension = REQUESTS) -> Window:
    return make_window(Algorithm.TOKEN_BUCKET, dimension, capacity, period_s, 0.0)


def test_never_more_in_flight_than_remains() -> None:
    account = Account(bucket_of(100, MINUTE_S))
    account.learning.learn(account.scope, account.told(3.0), 0.0)
    one = ((account.scope.account, amounts_of(requests=1)),)
    got = [account.ledger.reserve(one, 0.0) for _ in range(5)]
    assert 2 <= sum(isinstance(r, Reservation) for r in got) <= 3


def test_nothing_remains_though_nothing_is_known_to_be_used() -> None:
    account = Account(bucket_of(100, MINUTE_S))
    account.learning.learn(account.scope, account.told(0.0), 0.0)
    lack = account.ledger.reserve(((account.scope.account, amounts_of(requests=1)),), 0.0)
    assert not isinstance(lack, Reservation)
    assert lack.fits_at - account.now <= MINUTE_S


@pytest.mark.parametrize(
    ("capacity", "period_s", "run_s"),
    [
        (20, 1.0, 30.0),
        (10, MINUTE_S, 400.0),
        (300, MINUTE_S, 180.0),
        (6000, MINUTE_S, 180.0),
        (7200, HOUR_S, 1200.0),
        (86_400, DAY_S, 600.0),
    ],
)
def test_refill_is_measured(capacity: float, period_s: float, run_s: float) -> None:
    truth = bucket_of(capacity, period_s)
    truth.take(0.9 * capacity, 0.0)
    account = Account(truth, clients=40)
    account.run(run_s)
    per_s = capacity / period_s
    possible = 0.1 * capacity + per_s * run_s
    assert account.served >= 0.9 * possible
    assert account.refused <= max(4, 0.015 * account.served)


def test_tokens_as_well_as_requests() -> None:
    account = Account(bucket_of(60_000, MINUTE_S, TOKENS), amount=500.0)
    account.run(180.0)
    assert account.served >= 0.95 * (60_000 + 3 * 60_000) / 500
    assert account.refused <= 2


def test_capacity_is_at_least_the_largest_remainder_seen() -> None:
    account = Account(bucket_of(100, MINUTE_S))
    largest = 0.0
    for number, remaining in enumerate((5.0, 3.0, 40.0, 12.0, 77.0, 0.0)):
        account.learning.learn(account.scope, account.told(remaining), 2.0 * number)
        largest = max(largest, remaining)
        assert account.bucket.capacity >= largest
        assert account.bucket.room(2.0 * number) <= remaining + 1.0


@pytest.mark.parametrize("period_s", [MINUTE_S, 10 * MINUTE_S], ids=["usual", "unusual"])
def test_calls_go_on_soon_after_a_window_that_ends_at_an_instant(period_s: float) -> None:
    truth = make_window(Algorithm.FIXED, REQUESTS, 60, period_s, 0.0, reset_at=period_s)
    account = Account(truth)
    account.run(2.2 * period_s)
    for ends_at in (period_s, 2 * period_s):
        (first, *_) = (at for at in account.served_at if at > ends_at)
        assert first - ends_at <= 20.0
    assert account.served >= 170
    assert account.refused <= max(6, 2.2 * period_s / 4.0)


def test_window_that_was_seen_to_end_twice_is_not_probed_any_more() -> None:
    truth = make_window(Algorithm.FIXED, REQUESTS, 60, MINUTE_S, 0.0, reset_at=30.0)
    account = Account(truth)
    account.run(200.0)
    served, refused = account.served, account.refused
    account.run(500.0)
    assert account.served - served == 5 * 60
    assert account.refused - refused <= 2
    assert account.bucket.algorithm is Algorithm.FIXED


def test_bursts_with_pauses_are_no_windows_that_end() -> None:
    truth = bucket_of(300, MINUTE_S)
    account = Account(truth)
    account.run(6.0)
    account.finish()
    for minute in range(1, 8):
        account.now = 60.0 * minute
        account.run(60.0 * minute + 6.0)
        account.finish()
    assert isinstance(account.bucket, RemainingBucket)


def test_somebody_else_uses_half_of_it() -> None:
    account = Account(bucket_of(300, MINUTE_S), others_per_s=2.5)
    account.run(240.0)
    possible = 300 + 2.5 * 240
    assert account.served >= 0.85 * possible
    assert account.refused <= 0.02 * account.served


@pytest.mark.parametrize("period_s", [None, MINUTE_S, DAY_S])
def test_reports_are_of_the_same_window_whatever_period_they_name(period_s: float | None) -> None:
    account = Account(bucket_of(300, MINUTE_S))
    for second in range(60):
        told = ObservedLimit(REQUESTS, remaining=float(100 - second % 7), period_s=period_s)
        account.learning.learn(account.scope, (told,), float(second))
    assert len(account.scope.account.windows) == 1


def test_limit_that_is_told_after_all_takes_its_place() -> None:
    account = Account(bucket_of(300, MINUTE_S))
    account.run(10.0)
    full = ObservedLimit(REQUESTS, 300.0, remaining=account.truth.room(10.0), period_s=MINUTE_S)
    account.learning.learn(account.scope, (full,), account.now)
    assert not isinstance(account.bucket, RemainingBucket)
    assert (account.bucket.capacity, account.bucket.period_s) == (300.0, MINUTE_S)
    assert account.bucket.room(account.now) <= account.truth.room(account.now) + 1.0
    assert account.bucket.name == "requests per minute"
