"""Reserve over several accounts or over none; settle or cancel, once."""

import math

import pytest

from apikeyrouter.domain.ledger.algorithms import Concurrent, FixedWindow
from apikeyrouter.domain.ledger.ledger import (
    Ledger,
    LedgerAccount,
    Reservation,
    Shortfall,
    amounts_of,
)
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension

pytestmark = pytest.mark.unit


def account(name: str, *, calls: float = 100, tokens: float = 1000) -> LedgerAccount:
    """Return an account of 10 requests and *tokens* until second 60, and *calls* at once."""
    return LedgerAccount(
        name,
        [
            FixedWindow(Dimension.REQUESTS, 10, MINUTE_S, 0.0, reset_at=60.0),
            FixedWindow(Dimension.TOKENS, tokens, MINUTE_S, 0.0, reset_at=60.0),
            Concurrent(Dimension.CONCURRENCY, calls, 0.0, 0.0),
        ],
    )


def used(owner: LedgerAccount) -> list[float]:
    return [window.used for window in owner.windows]


def reserved(ledger: Ledger, *owners: LedgerAccount, tokens: float = 100) -> Reservation:
    amounts = amounts_of(requests=1, tokens=tokens, concurrency=1)
    made = ledger.reserve([(owner, amounts) for owner in owners], 0.0)
    assert isinstance(made, Reservation)
    return made


def test_amounts_are_by_dimension_and_nothing_else_is_asked() -> None:
    assert amounts_of(requests=1, input_tokens=7) == [1.0, 0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert amounts_of() == [0.0] * 8


def test_reservation_takes_from_every_account_at_once() -> None:
    ledger, provider, client = Ledger(), account("p"), account("c")
    made = reserved(ledger, provider, client)
    assert used(provider) == used(client) == [1.0, 100.0, 1.0]
    assert (made.first.account, ledger.open_count, client.in_flight) == (provider, 1, 1)


@pytest.mark.parametrize("short", ["p", "c"])
def test_what_one_account_lacks_is_taken_from_none_and_is_told(short: str) -> None:
    ledger = Ledger()
    owners = [account(name, tokens=99 if name == short else 1000) for name in ("p", "c")]
    amounts = amounts_of(requests=1, tokens=100, concurrency=1)
    lack = ledger.reserve([(owner, amounts) for owner in owners], 0.0)
    assert isinstance(lack, Shortfall)
    assert (lack.account_id, lack.asked, lack.left) == (short, 100.0, 99.0)
    assert (lack.fits_at, lack.for_calls, lack.may_come_back) == (math.inf, False, False)
    assert [used(owner) for owner in owners] == [[0.0, 0.0, 0.0]] * 2
    assert ledger.open_count == 0


def test_shortfall_tells_when_it_fits_and_what_it_waits_for() -> None:
    ledger, owner = Ledger(), account("p", calls=1)
    reserved(ledger, owner, tokens=950)
    tokens = owner.shortfall(amounts_of(tokens=51), 0.0)
    calls = owner.shortfall(amounts_of(concurrency=1), 0.0)
    assert tokens is not None
    assert calls is not None
    assert (tokens.fits_at, tokens.may_come_back, tokens.for_calls) == (60.0, True, False)
    assert (calls.fits_at, calls.for_calls) == (math.inf, True)
    assert owner.shortfall(amounts_of(tokens=50), 0.0) is None
    assert owner.shortfall(amounts_of(tokens=51), 60.0) is None


@pytest.mark.parametrize("asked", [0.5, 1.0, 2.0])
def test_any_amount_above_nothing_lacks_where_nothing_is_left(asked: float) -> None:
    ledger, owner = Ledger(), account("p")
    for _ in range(10):
        reserved(ledger, owner, tokens=1)
    assert owner.shortfall(amounts_of(requests=asked), 0.0) is not None
    assert owner.shortfall(amounts_of(tokens=5), 0.0) is None


@pytest.mark.parametrize(
    ("tokens", "after"), [(40, 40.0), (100, 100.0), (250, 250.0)], ids=["less", "same", "more"]
)
def test_settling_corrects_to_what_was_used_and_gives_the_call_back(
    tokens: float, after: float
) -> None:
    ledger, provider, client = Ledger(), account("p"), account("c")
    made = reserved(ledger, provider, client)
    actual = amounts_of(requests=1, tokens=tokens, concurrency=1)
    ledger.settle(made, [actual, amounts_of(requests=1, tokens=7)], 1.0)
    assert (used(provider), used(client)) == ([1.0, after, 0.0], [1.0, 7.0, 0.0])
    assert (ledger.open_count, provider.in_flight, provider.open) == (0, 0, set())


def test_kept_reservation_stays_charged_at_its_estimate() -> None:
    ledger, owner = Ledger(), account("p")
    ledger.keep(reserved(ledger, owner), 1.0)
    assert used(owner) == [1.0, 100.0, 0.0]


@pytest.mark.parametrize(
    ("counted", "left"),
    [
        ((), ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])),
        ((True, False), ([1.0, 0.0, 0.0], [0.0, 0.0, 0.0])),
        ((False, True), ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0])),
    ],
)
def test_cancelling_returns_all_but_the_requests_that_count(
    counted: tuple[bool, ...], left: tuple[list[float], list[float]]
) -> None:
    ledger, provider, client = Ledger(), account("p"), account("c")
    ledger.cancel(reserved(ledger, provider, client), 1.0, counted=counted)
    assert (used(provider), used(client)) == left
    assert ledger.open_count == 0


def test_reservation_ends_once() -> None:
    ledger, owner = Ledger(), account("p")
    made = reserved(ledger, owner)
    ledger.cancel(made, 1.0)
    with pytest.raises(RuntimeError, match="ends once"):
        ledger.keep(made, 2.0)
    assert (used(owner), ledger.open_count) == ([0.0, 0.0, 0.0], 0)


@pytest.mark.parametrize(("tokens", "told"), [(40, 1), (100, 1), (250, 1)])
def test_account_tells_once_that_something_came_back(tokens: float, told: int) -> None:
    """The place of the call does always."""
    ledger, owner, heard = Ledger(), account("p"), []
    owner.on_capacity = lambda: heard.append(1)
    ledger.settle(reserved(ledger, owner), [amounts_of(requests=1, tokens=tokens)], 1.0)
    assert len(heard) == told


def test_window_that_is_learned_meanwhile_is_charged_for_open_calls_but_the_one_that_told() -> None:
    ledger, owner = Ledger(), LedgerAccount("p")
    first, second = reserved(ledger, owner), reserved(ledger, owner, tokens=70)
    window = FixedWindow(Dimension.TOKENS, 1000, MINUTE_S, 0.0, reset_at=60.0)
    ledger.adopt(window, owner, 0.0, first.first)
    assert (window.used, owner.held(window)) == (70.0, 170.0)
    ledger.settle(second, [amounts_of(requests=1, tokens=30)], 1.0)
    assert window.used == 30.0


def test_calls_by_an_instant_are_those_of_the_scarcest_window() -> None:
    owner = account("p")
    amounts = amounts_of(requests=1, tokens=300)
    assert owner.calls_by(59.0, amounts, 0.0) == 3.0
    assert owner.calls_by(60.0, amounts, 0.0) == 6.0
    assert owner.calls_by(60.0, amounts_of(), 0.0) == math.inf
