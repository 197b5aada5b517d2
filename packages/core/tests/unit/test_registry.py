"""What is told of an account goes to that account, and is kept when keys move."""

import asyncio
from typing import Any

import pytest

from apikeyrouter import Demand, KeyState
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension, ObservedLimit
from apikeyrouter.errors import KeyRegistrationError

pytestmark = pytest.mark.unit
BenchOf = Any
F = FailureClass
WAITS = Failure(F.RATE_LIMITED, "slow", 429, retry_after_s=30.0)


def test_refusal_that_names_its_account_rests_all_of_its_keys(bench_of: BenchOf) -> None:
    bench = bench_of(3)
    bench.attempt_on("k2").answered((), "org")
    bench.attempt_on("k1").fail(
        Failure(F.RATE_LIMITED, "slow", 429, retry_after_s=30.0, account="org")
    )
    assert bench.served_by() == {"k3"}
    bench.now += 30.1
    assert bench.served_by() == {"k1", "k2", "k3"}


def test_told_wait_goes_along_when_the_key_turns_out_to_be_of_an_account(bench_of: BenchOf) -> None:
    bench = bench_of(2)
    running, refused = bench.attempt_on("k1"), bench.attempt_on("k1")
    refused.fail(Failure(F.OVERLOADED, "busy", 529, retry_after_s=30.0))
    running.answered((), "org")
    running.settle(1, 1)
    assert bench.served_by() == {"k2"}


def test_limits_and_what_is_in_flight_go_along_with_the_last_key(bench_of: BenchOf) -> None:
    bench = bench_of(1, limits={"concurrency": 2})
    first, second = bench.attempt(), bench.attempt()
    told = ObservedLimit(Dimension.REQUESTS, 60.0, 10.0, period_s=MINUTE_S)
    first.answered((told,), "org")
    assert bench.served_by() == set()
    first.settle(1, 1)
    second.settle(1, 1)
    assert bench.served_by(times=20) == {"k1"}
    state = asyncio.run(bench.router.quota_awareness_engine.get_quota_state("k1"))
    left = {window.dimension: window.remaining for window in state.windows}
    assert left["requests"] <= 1.0


def test_limit_of_one_model_rests_that_model_alone(bench_of: BenchOf) -> None:
    bench = bench_of(1, per_model=True)
    bench.attempt(model="a").fail(Failure(F.RATE_LIMITED_DAY, "day", 429, retry_after_s=36000.0))
    assert (bench.served_by("a"), bench.served_by("b")) == (set(), {"k1"})
    assert bench.summary()["k1"]["state"] == "available"


@pytest.mark.parametrize("kind", [F.QUOTA_BILLING, F.IP_NOT_AUTHORIZED])
def test_failure_of_the_account_rests_all_of_its_models_and_keys(
    bench_of: BenchOf, kind: FailureClass
) -> None:
    bench = bench_of(2, per_model=True, scope="shared")
    for model in ("a", "b"):
        bench.served_by(model)
    bench.attempt(model="a").fail(Failure(kind, "no", 403))
    assert bench.served_by("a") | bench.served_by("b") == set()


@pytest.mark.parametrize("how", ["rotated", "by hand"])
def test_key_that_was_put_right_is_called_at_once(bench_of: BenchOf, how: str) -> None:
    bench = bench_of(1)
    bench.attempt().fail(Failure(F.QUOTA_BILLING, "empty", 402))
    assert bench.served_by() == set()
    if how == "rotated":
        asyncio.run(bench.router.rotate_key("k1", "sk-new"))
    else:
        manager = bench.router.key_manager
        asyncio.run(manager.update_key_state("k1", KeyState.RECOVERING))
        asyncio.run(manager.update_key_state("k1", KeyState.AVAILABLE))
    assert bench.served_by() == {"k1"}


def test_limits_wait_stays_when_a_key_is_rotated(bench_of: BenchOf) -> None:
    bench = bench_of(1)
    bench.attempt().fail(WAITS)
    asyncio.run(bench.router.rotate_key("k1", "sk-new"))
    assert bench.served_by() == set()


def test_request_too_large_for_an_account_is_not_walked_over_its_keys(bench_of: BenchOf) -> None:
    bench = bench_of(5, scope="shared")
    attempts = bench.router.attempts(
        Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
    )

    async def walk() -> int:
        calls = 0
        async for attempt in attempts:
            calls += 1
            attempt.fail(Failure(F.TOO_BIG_FOR_LIMIT, "too large", 429))
        return calls

    assert asyncio.run(walk()) == 1


def test_callers_own_deadline_opens_no_circuit_and_a_long_silence_does(bench_of: BenchOf) -> None:
    bench = bench_of(1)
    for _ in range(8):
        attempt = bench.attempt()
        bench.now += 0.1
        attempt.fail(attempt.out_of_time())
    assert bench.router.get_state_summary()["circuits"] == []
    slow = bench.attempt()
    bench.now += 61.0
    assert slow.out_of_time().kind is F.TIMEOUT


@pytest.mark.parametrize(
    ("limits", "named"), [({"tokens_per_minute": 5}, "tokens_per_minute"), ({"rpm": None}, "rpm")]
)
def test_limits_that_are_none_are_refused_with_their_key(
    bench_of: BenchOf, limits: dict[str, Any], named: str
) -> None:
    with pytest.raises(KeyRegistrationError, match=named):
        bench_of(1, limits=limits)


def test_names_of_models_that_nobody_asks_for_any_more_are_forgotten(bench_of: BenchOf) -> None:
    bench = bench_of(2, per_model=True)
    for number in range(1500):
        bench.served_by(f"guess-{number}", times=1)
        bench.served_by("used", times=1)
        bench.now += 1.0
    scopes = bench.router.get_state_summary()["scopes"]
    assert len(scopes) <= 2 * 1100
    assert any(scope["group"] == "used" for scope in scopes)
