"""Calls that fail together are one failure, and nobody rests where nobody answers."""

from typing import Any

import pytest

from apikeyrouter.domain.failures.circuit import FIRST_PAUSE_S, LONGEST_PAUSE_S, Circuit
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.limits.observation import DAY_S

pytestmark = pytest.mark.unit
BenchOf = Any
F = FailureClass
AMPLE = {"rpm": 1_000_000}
BROKEN = Failure(F.SERVER_ERROR, "oops", 500)


def rests(bench: Any) -> dict[str, float]:
    """Return the seconds that each account rests, without those that do not."""
    scopes = bench.router.get_state_summary()["scopes"]
    return {scope["id"]: round(s, 3) for scope in scopes if (s := scope["wakes_in_s"])}


@pytest.mark.parametrize("keys", [1, 2, 5])
def test_blip_rests_no_account_and_is_over_a_moment_later(bench_of: BenchOf, keys: int) -> None:
    bench = bench_of(keys, limits=AMPLE)
    bench.served_by(times=20)
    running = [bench.attempt() for _ in range(60)]
    for attempt in running:
        bench.now += 0.005
        attempt.fail(BROKEN)
    assert rests(bench) == {}
    bench.now += FIRST_PAUSE_S
    assert bench.served_by(times=40) == {f"k{number}" for number in range(1, keys + 1)}


def test_account_that_fails_while_another_answers_rests_longer_each_time(bench_of: BenchOf) -> None:
    bench = bench_of(2, limits=AMPLE)
    waits = []
    for _ in range(6):
        for attempt in bench.attempts_on("k1", 4):
            bench.now += 0.001
            attempt.fail(BROKEN)
        waits.append(sum(rests(bench).values()))
        bench.now += 0.001
        bench.attempt_on("k2").settle(1, 1)
        bench.now += waits[-1]
    assert waits == [0.0, 0.0, 0.5, 1.0, 2.0, 4.0]


def test_no_account_rests_while_none_answers(bench_of: BenchOf) -> None:
    bench = bench_of(2, limits=AMPLE)
    for _ in range(30):
        bench.attempt().fail(BROKEN)
        bench.now += LONGEST_PAUSE_S
    assert rests(bench) == {}


def test_answer_ends_the_row(bench_of: BenchOf) -> None:
    bench = bench_of(2, limits=AMPLE)
    for _ in range(8):
        bench.attempt_on("k1").fail(BROKEN)
        bench.now += 0.1
        bench.attempt_on("k2").settle(1, 1)
        bench.attempt_on("k1").settle(1, 1)
    assert rests(bench) == {}


def test_calls_from_before_an_opening_let_no_circuit_rest_for_longer() -> None:
    circuit = Circuit()
    for number in range(5):
        circuit.note_failure(10.0 + number / 10, began_at=9.0)
    assert circuit.cooldown.until == 10.4 + FIRST_PAUSE_S
    circuit.note_call(10.7)
    for number in range(50):
        assert not circuit.note_failure(10.7 + number, began_at=10.1)
    assert circuit.cooldown.until == 10.4 + FIRST_PAUSE_S
    assert circuit.blocked_until(10.8) > 10.8  # the probe is still on its way
    circuit.note_success()
    for _ in range(50):
        assert not circuit.note_failure(62.0, began_at=10.1)
    assert not circuit.is_open
    for _ in range(5):
        circuit.note_failure(63.0, began_at=62.0)
    assert circuit.is_open
    assert circuit.pause_s < LONGEST_PAUSE_S


def test_calls_that_are_refused_together_are_refused_once(bench_of: BenchOf) -> None:
    bench = bench_of(1, limits=AMPLE)
    running = bench.attempts_on("k1", 20)
    for attempt in running:
        bench.now += 0.1
        attempt.fail(Failure(F.KEY_BUDGET, "over", 402))
    cooldown = bench.router.key_manager.slot("k1").cooldown.until
    assert cooldown - bench.now == pytest.approx(15 * 60.0)


@pytest.mark.parametrize(
    ("kind", "waits"),
    [(F.RATE_LIMITED, [0.75, 6.0, 12.0]), (F.IN_FLIGHT_BUDGET, [6.0, 12.0, 24.0])],
)
def test_untold_rests_grow_from_what_the_operator_has_set_and_one_may_be_chance(
    bench_of: BenchOf, kind: FailureClass, waits: list[float]
) -> None:
    bench = bench_of(1, settings={"default_cooldown_seconds": 3.0}, limits=AMPLE)
    seen = []
    for _ in waits:
        bench.attempt().fail(Failure(kind, "slow", 429))
        seen.append(rests(bench)["p/k1"])
        bench.now += seen[-1]
    assert seen == pytest.approx(waits)


@pytest.mark.parametrize("kind", [F.RATE_LIMITED, F.OVERLOADED])
def test_told_year_is_kept_to_a_day(bench_of: BenchOf, kind: FailureClass) -> None:
    bench = bench_of(1, limits=AMPLE)
    bench.attempt().fail(Failure(kind, "later", 429, retry_after_s=365 * DAY_S))
    assert rests(bench) == {"p/k1": DAY_S}
    bench.now += DAY_S
    assert bench.served_by() == {"k1"}
