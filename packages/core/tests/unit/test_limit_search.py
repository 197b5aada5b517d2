"""Limits that nobody tells are found by refusals, few of them."""

from collections.abc import Callable
from functools import partial

import pytest

from apikeyrouter.domain.accounts.searching.doubt import GuessedMinute
from apikeyrouter.domain.accounts.searching.limit_search import (
    FIRST_CALLS,
    TRUSTED_CALLS,
    LimitSearch,
)
from apikeyrouter.domain.feed.events import LimitLearned
from apikeyrouter.domain.ledger.algorithms import make_window
from apikeyrouter.domain.ledger.ledger import (
    Ledger,
    Reservation,
    amounts_of,
)
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import MINUTE_S, Algorithm, Dimension, Provenance
from apikeyrouter.domain.quota_scope import Membership, QuotaScope

pytestmark = pytest.mark.unit
ONE = amounts_of(requests=1, concurrency=1)
TICK_S = 0.01


class Silent:
    """A scope under search before a provider that lets calls in or not, and says no more."""

    def __init__(self) -> None:
        self.events: list[LimitLearned] = []
        self.ledger = Ledger()
        self.pacing = LimitSearch(self.ledger, emit=self.events.append)
        self.scope = QuotaScope("s", "p", Membership("a"))
        self.served = self.refused = 0

    def call(self, now: float, lets_in: Callable[[float], bool]) -> bool:
        """Make one call if we may; tell whether we might."""
        if self.scope.cooldown.until > now:
            return False
        got = self.ledger.reserve(((self.scope.account, ONE),), now)
        if not isinstance(got, Reservation):
            return False
        if lets_in(now):
            self.ledger.settle(got, [ONE], now)
            self.scope.statistics.served += 1
            self.scope.statistics.refusals_in_row = 0
            self.served += 1
            self.scope.statistics.note_level(1, now)
            if self.scope.is_searched:
                self.pacing.answered(self.scope, now)
            return True
        self.ledger.cancel(got, now)
        self.refused += 1
        self.scope.statistics.refusals_in_row += 1
        believed_s = self.pacing.refused(self.scope, now, told=False, is_first=True)
        untold_s = min(60.0, 2.0 ** (self.scope.statistics.refusals_in_row - 1))
        self.scope.cooldown.until = now + (untold_s if believed_s is None else believed_s)
        return False

    def windows(self) -> dict[str, float]:
        return {window.name: window.capacity for window in self.scope.account.windows}


def limited(window: Window) -> Callable[[float], bool]:
    def lets_in(now: float) -> bool:
        if window.room(now) < 1.0:
            return False
        window.take(1.0, now)
        return True

    return lets_in


@pytest.mark.parametrize("algorithm", [Algorithm.TOKEN_BUCKET, Algorithm.FIXED, Algorithm.ROLLING])
@pytest.mark.parametrize("per_minute", [30, 600, 3000])
def test_search_closes_in_on_a_hidden_limit_and_costs_few_refusals(
    algorithm: Algorithm, per_minute: int
) -> None:
    silent, minutes = Silent(), 10
    silent.pacing.begin(silent.scope, 0.0)
    lets_in = limited(make_window(algorithm, Dimension.REQUESTS, per_minute, MINUTE_S, 0.0))
    for tick in range(int(minutes * MINUTE_S / TICK_S)):
        while silent.call(tick * TICK_S, lets_in):
            pass
    assert silent.served >= 0.88 * per_minute * minutes
    assert silent.refused <= max(12, 0.02 * silent.served)


def test_first_refusal_sets_the_pace_that_a_minute_of_a_full_bucket_would_have() -> None:
    silent = Silent()
    silent.scope.statistics.served = 0
    silent.pacing.begin(silent.scope, 0.0)
    silent.scope.statistics.served = 600
    silent.scope.statistics.note_level(1, 0.0)
    for _ in range(2):
        silent.pacing.refused(silent.scope, 0.0, told=False, is_first=True)
    (event,) = silent.events
    assert (event.before, event.provenance) == (None, "inferred")
    assert event.after == pytest.approx(0.95 * 600)


def test_few_calls_at_once_first_and_one_more_with_each_answer() -> None:
    silent = Silent()
    silent.pacing.begin(silent.scope, 0.0)
    assert silent.windows() == {"cautious calls at once": FIRST_CALLS}
    for _ in range(TRUSTED_CALLS - FIRST_CALLS):
        silent.pacing.answered(silent.scope, 0.0)
    assert silent.windows() == {"cautious calls at once": TRUSTED_CALLS}
    silent.pacing.answered(silent.scope, 0.0)
    assert (silent.windows(), silent.scope.is_searched) == ({}, True)


def test_calls_at_once_fall_to_what_was_let_in_and_come_back_one_by_one() -> None:
    silent = Silent()
    silent.pacing.begin(silent.scope, 0.0)
    for _ in range(6 - FIRST_CALLS):
        silent.pacing.answered(silent.scope, 0.0)
    holds = [silent.ledger.reserve(((silent.scope.account, ONE),), 0.0) for _ in range(6)]
    silent.ledger.cancel(holds.pop(), 0.0)
    silent.ledger.cancel(holds.pop(), 0.0)
    silent.pacing.refused(silent.scope, 0.0, told=False, is_first=True)
    assert silent.windows()["cautious calls at once"] == 4.0
    silent.pacing.answered(silent.scope, 5.0)
    assert silent.windows()["cautious calls at once"] == 4.0
    silent.pacing.answered(silent.scope, 21.0)
    silent.pacing.answered(silent.scope, 22.0)
    assert silent.windows()["cautious calls at once"] == 5.0


def test_refusal_that_a_known_limit_explains_or_that_tells_figures_changes_no_pace() -> None:
    silent = Silent()
    known = make_window(
        Algorithm.TOKEN_BUCKET, Dimension.REQUESTS, 10, 60.0, 0.0, provenance=Provenance.HEADER
    )
    known.take(10, 0.0)
    silent.scope.account.windows.append(known)
    silent.scope.statistics.served = 10
    silent.pacing.refused(silent.scope, 0.0, told=False, is_first=True)
    silent.pacing.refused(silent.scope, 1.0, told=True, is_first=True)
    assert silent.windows() == {"requests per minute": 10.0}


def test_one_unexplained_refusal_may_be_chance_and_the_second_in_a_row_counts() -> None:
    silent = Silent()
    silent.scope.account.windows.append(
        make_window(
            Algorithm.TOKEN_BUCKET, Dimension.TOKENS, 1e6, 60.0, 0.0, provenance=Provenance.HEADER
        )
    )
    for at, let_in, guess in (
        (10.0, 50, "trying calls at once"),
        (20.0, 50, "trying calls at once"),
        (20.5, 0, "paced requests"),
    ):
        silent.scope.statistics.served += let_in
        silent.scope.statistics.note_level(1, at)
        silent.pacing.refused(silent.scope, at, told=False, is_first=True)
        assert set(silent.windows()) == {"tokens per minute", guess}


def test_asked_to_slow_down_it_halves_and_grows_back_and_goes() -> None:
    silent = Silent()
    window = make_window(
        Algorithm.TOKEN_BUCKET, Dimension.REQUESTS, 6000, 60.0, 0.0, provenance=Provenance.HEADER
    )
    silent.scope.account.windows.append(window)
    for second in range(30):
        window.take(10, float(second + 1))
    silent.pacing.slowed(silent.scope, 30.0)
    (event,) = silent.events
    assert event.after == pytest.approx(300.0, rel=0.05)
    rates, now = [], 30.0
    while silent.scope.is_searched and now < 300.0:
        now += 0.05
        while isinstance(
            got := silent.ledger.reserve(((silent.scope.account, ONE),), now), Reservation
        ):
            silent.ledger.settle(got, [ONE], now)
            silent.pacing.answered(silent.scope, now)
            if not silent.scope.is_searched:
                break
        rates.append(silent.scope.account.windows[-1].rate)
    assert not silent.scope.is_searched
    assert 20.0 < now - 30.0 < 90.0
    assert rates == sorted(rates)


def test_what_the_provider_tells_takes_the_place_of_what_was_guessed() -> None:
    silent = Silent()
    silent.pacing.begin(silent.scope, 0.0)
    silent.scope.statistics.served = 60
    silent.scope.statistics.note_level(1, 0.0)
    for _ in range(2):
        silent.pacing.refused(silent.scope, 1.0, told=False, is_first=True)
    assert "paced requests" in silent.windows()
    silent.pacing.told(silent.scope)
    assert "paced requests" not in silent.windows()


def test_refusal_after_a_few_calls_may_be_chance_and_is_soon_forgotten() -> None:
    silent = Silent()
    silent.pacing.begin(silent.scope, 0.0)
    free = limited(make_window(Algorithm.TOKEN_BUCKET, Dimension.REQUESTS, 6000, MINUTE_S, 0.0))
    refusals = [False, True, True]

    def others_were_there_first(now: float) -> bool:
        return not (refusals and refusals.pop(0)) and free(now)

    for tick in range(int(60.0 / TICK_S)):
        silent.call(tick * TICK_S, others_were_there_first)
    served = silent.served
    for tick in range(int(60.0 / TICK_S), int(120.0 / TICK_S)):
        silent.call(tick * TICK_S, others_were_there_first)
    assert silent.served - served > 1000


def test_after_a_told_wait_one_call_is_tried_and_one_more_with_every_end() -> None:
    silent = Silent()
    scope, ledger = silent.scope, silent.ledger

    def begun(now: float) -> list[Reservation]:
        holds: list[Reservation] = []
        while isinstance(got := ledger.reserve(((scope.account, ONE),), now), Reservation):
            holds.append(got)
            if len(holds) > 20:
                break
        return holds

    under_way = [ledger.reserve(((scope.account, ONE),), 0.0) for _ in range(9)]
    scope.statistics.served = 40
    scope.statistics.note_level(20, 0.0)
    silent.pacing.refused(scope, 0.0, told=False, is_first=True, waits=True)
    for number in range(1, 4):
        now = float(number)
        holds = begun(now)
        assert len(holds) == 2 ** (number - 1)
        for hold in holds:
            ledger.settle(hold, [ONE], now)
            scope.statistics.served += 1
            silent.pacing.answered(scope, now)
    assert len(begun(9.0)) > 20
    assert all(isinstance(hold, Reservation) for hold in under_way)


def test_calls_under_way_that_are_refused_too_are_not_taken_for_let_in() -> None:
    """Else a bucket that lets one in a second seems to let none in for as long as they count."""
    silent = Silent()
    scope, sibling = silent.scope, QuotaScope("t", "p", Membership("b"))
    for account in (scope, sibling):
        silent.pacing.answered(account, 0.0)
        account.statistics.served = 60
        account.statistics.note_level(20, 0.0)
    refused = partial(silent.pacing.refused, told=False, waits=True)
    for _ in range(2):
        refused(sibling, 1.0, is_first=True)
    burst = [silent.ledger.reserve(((scope.account, ONE),), 2.0) for _ in range(12)]
    for number, hold in enumerate(burst):
        assert isinstance(hold, Reservation)
        silent.ledger.cancel(hold, 2.0)
        refused(scope, 2.0, is_first=number == 0)
    assert "paced requests" in silent.windows()
    for second in range(3, 6):
        scope.statistics.served += 1
        silent.pacing.answered(scope, float(second))
    refused(scope, 5.5, is_first=True)
    assert "paced requests" in silent.windows()


@pytest.mark.parametrize(
    ("refused", "guess"),
    [(1, "trying calls at once"), (3, "trying calls at once"), (8, "trying calls at once"),
     (10, "paced requests"), (30, "paced requests")],
)  # fmt: skip
def test_many_of_the_calls_under_way_are_not_refused_by_chance(refused: int, guess: str) -> None:
    """Else all that wait are sent once more, and again, to an account that has nothing left."""
    silent = Silent()
    scope = silent.scope
    scope.statistics.served = 60
    scope.statistics.note_level(64, 1.0)
    silent.pacing.answered(scope, 1.0)
    burst = [silent.ledger.reserve(((scope.account, ONE),), 1.0) for _ in range(60)]
    for number, hold in enumerate(burst[:refused]):
        assert isinstance(hold, Reservation)
        silent.ledger.cancel(hold, 1.2)
        silent.pacing.refused(scope, 1.2, told=False, is_first=number == 0)
    assert set(silent.windows()) == {guess}


def guessed_minute(now: float) -> Silent:
    """Return an account that is taken to let in ten a minute, since two refusals at *now*."""
    silent = Silent()
    minute = GuessedMinute.of(
        silent.pacing._search(silent.scope, now).log, 10, 60.2, now, "guessed"
    )
    for _ in range(10):
        minute.take(1.0, now)
    silent.pacing._search(silent.scope, now).minute = minute
    silent.scope.account.windows.append(minute)
    silent.scope.is_searched = True
    return silent


def test_guess_that_was_wrong_is_refuted_within_seconds() -> None:
    """Else one unlucky refusal keeps an account, and its clients, waiting for a minute."""
    silent = guessed_minute(0.0)
    for tick in range(int(12.0 / TICK_S)):
        silent.call(tick * TICK_S, lambda _: True)
    assert silent.windows() == {}
    assert silent.served > 300


def test_guess_that_was_right_is_tried_ever_more_seldom() -> None:
    silent = guessed_minute(0.0)
    tried = []
    for tick in range(int(59.0 / TICK_S)):
        before = silent.refused
        silent.call(tick * TICK_S, lambda _: False)
        tried += [tick * TICK_S] * (silent.refused - before)
    assert [round(at) for at in tried] == [5, 20]
    assert silent.windows() == {"guessed requests per 60.2 s": 10}


def test_fresh_guess_refuses_nobody_who_could_wait() -> None:
    silent = guessed_minute(0.0)
    (minute,) = silent.scope.account.windows
    assert isinstance(minute, GuessedMinute)
    assert minute.units_by(30.0, 0.0) > 1e6
    for tick in range(int(59.0 / TICK_S)):
        silent.call(tick * TICK_S, lambda _: False)
    assert minute.units_by(59.5, 59.0) == 0.0
