"""A provider that is too busy for one call beside others gets no more; an outage holds nothing."""

from typing import Any

import pytest

from apikeyrouter.domain.failures.circuit import LONGEST_PAUSE_S
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.errors import NoEligibleKeysError

pytestmark = pytest.mark.unit
BenchOf = Any
AMPLE = {"rpm": 1_000_000}
BUSY = Failure(FailureClass.OVERLOADED, "busy", 503)


def held_to(bench: Any) -> float | None:
    """Return how many calls at once the only account is held to; `None` if to none."""
    (scope,) = bench.router.get_state_summary()["scopes"]
    calls = [w["capacity"] for w in scope["windows"] if w["dimension"] == "concurrency"]
    return calls[0] if calls else None


def begin(bench: Any) -> Any:
    try:
        return bench.attempt()
    except NoEligibleKeysError:
        return None


def refuse_the_sixth(bench: Any) -> list[Any]:
    *running, sixth = (bench.attempt() for _ in range(6))
    sixth.fail(BUSY)
    return running


def test_no_more_than_those_under_way_are_let_in_beside_them(bench_of: BenchOf) -> None:
    bench = bench_of(1, limits=AMPLE)
    running = refuse_the_sixth(bench)
    assert (held_to(bench), begin(bench)) == (5.0, None)
    running.pop().settle(1, 1)
    assert begin(bench) is not None


@pytest.mark.parametrize(("beside", "spends"), [(0, True), (1, False)])
def test_it_costs_a_request_no_retry(bench_of: BenchOf, beside: int, spends: bool) -> None:
    bench = bench_of(1, limits=AMPLE)
    *_, last = (bench.attempt() for _ in range(beside + 1))
    assert last.fail(BUSY).spends_retry is spends


def test_as_many_as_were_let_in_of_late_are_not_what_a_provider_is_busy_with(
    bench_of: BenchOf,
) -> None:
    bench = bench_of(1, limits=AMPLE)
    running = [bench.attempt() for _ in range(6)]
    running.pop().settle(1, 1)
    assert running.pop().fail(BUSY).spends_retry
    assert held_to(bench) is None


def test_outage_that_begins_as_traffic_grows_holds_nothing_back(bench_of: BenchOf) -> None:
    bench = bench_of(1, limits=AMPLE)
    bench.served_by(times=20)
    for attempt in [bench.attempt() for _ in range(40)]:
        attempt.fail(BUSY)
    bench.now += LONGEST_PAUSE_S
    assert held_to(bench) is None


def test_more_are_let_in_rarely_while_it_stays_and_soon_when_it_passes(bench_of: BenchOf) -> None:
    bench = bench_of(1, limits=AMPLE)
    running, refused = refuse_the_sixth(bench), []
    for tick in range(1500):
        bench.now += 0.1
        running.pop(0).settle(1, 1)
        while (attempt := begin(bench)) is not None and len(running) < 100:
            if tick < 1000 and len(running) == 5:
                attempt.fail(BUSY)
                refused.append(tick)
            else:
                running.append(attempt)
    assert len(refused) <= 16
    assert held_to(bench) is None
