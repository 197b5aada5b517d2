"""What is told of an account goes to that account, and is kept when keys move."""

import asyncio
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, KeyState
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter.domain.models.observation import MINUTE_S, Dimension, ObservedLimit
from apikeyrouter.errors import KeyRegistrationError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit
F = FailureClass
WAITS = Failure(F.RATE_LIMITED, "slow", 429, retry_after_s=30.0)


class House:
    """A router, and a clock in our hand."""

    def __init__(self, keys: int = 2, *, per_model: bool = False, **facts: Any) -> None:
        self.now = 1000.0
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: self.now)
        asyncio.run(self._furnish(keys, per_model, facts))

    async def _furnish(self, keys: int, per_model: bool, facts: dict[str, Any]) -> None:
        adapter = OpenAIAdapter("http://127.0.0.1:1/v1", per_model=per_model)
        await self.router.register_provider("p", adapter)
        for number in range(1, keys + 1):
            await self.router.register_key(f"sk-{number}", "p", {"id": f"k{number}", **facts})

    def attempt(self, model: str = "m") -> Attempt:
        demand = Demand(model=model, request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
        return asyncio.run(anext(aiter(self.router.attempts(demand))))

    def attempt_on(self, key: str, model: str = "m") -> Attempt:
        """Ask until *key* is chosen."""
        while (attempt := self.attempt(model)).slot.id != key:
            attempt.cancel(sent=False)
        return attempt

    def served_by(self, model: str = "m", times: int = 6) -> set[str]:
        """Return the keys that answer some requests; nobody when all are refused."""
        found = set()
        for _ in range(times):
            try:
                attempt = self.attempt(model)
            except Exception:  # noqa: BLE001 - refused: that is the answer
                continue
            found.add(attempt.slot.id)
            attempt.settle(1, 1)
        return found

    def summary(self) -> dict[str, dict[str, Any]]:
        return {key["id"]: key for key in self.router.get_state_summary()["keys"]}


def test_refusal_that_names_its_account_rests_all_of_its_keys() -> None:
    house = House(3)
    house.attempt_on("k2").answered((), "org")
    house.attempt_on("k1").fail(
        Failure(F.RATE_LIMITED, "slow", 429, retry_after_s=30.0, account="org")
    )
    assert house.served_by() == {"k3"}
    house.now += 30.1
    assert house.served_by() == {"k1", "k2", "k3"}


def test_told_wait_goes_along_when_the_key_turns_out_to_be_of_an_account() -> None:
    house = House(2)
    running, refused = house.attempt_on("k1"), house.attempt_on("k1")
    refused.fail(Failure(F.OVERLOADED, "busy", 529, retry_after_s=30.0))
    running.answered((), "org")
    running.settle(1, 1)
    assert house.served_by() == {"k2"}


def test_limits_and_what_is_in_flight_go_along_with_the_last_key() -> None:
    house = House(1, limits={"concurrency": 2})
    first, second = house.attempt(), house.attempt()
    told = ObservedLimit(Dimension.REQUESTS, 60.0, 10.0, period_s=MINUTE_S)
    first.answered((told,), "org")
    assert house.served_by() == set()
    first.settle(1, 1)
    second.settle(1, 1)
    assert house.served_by(times=20) == {"k1"}
    state = asyncio.run(house.router.quota_awareness_engine.get_quota_state("k1"))
    left = {window.dimension: window.remaining for window in state.windows}
    assert left["requests"] <= 1.0


def test_limit_of_one_model_rests_that_model_alone() -> None:
    house = House(1, per_model=True)
    house.attempt(model="a").fail(Failure(F.RATE_LIMITED_DAY, "day", 429, retry_after_s=36000.0))
    assert (house.served_by("a"), house.served_by("b")) == (set(), {"k1"})
    assert house.summary()["k1"]["state"] == "available"


@pytest.mark.parametrize("kind", [F.QUOTA_BILLING, F.IP_NOT_AUTHORIZED])
def test_failure_of_the_account_rests_all_of_its_models_and_keys(kind: FailureClass) -> None:
    house = House(2, per_model=True, scope="shared")
    for model in ("a", "b"):
        house.served_by(model)
    house.attempt(model="a").fail(Failure(kind, "no", 403))
    assert house.served_by("a") | house.served_by("b") == set()


@pytest.mark.parametrize("how", ["rotated", "by hand"])
def test_key_that_was_put_right_is_called_at_once(how: str) -> None:
    house = House(1)
    house.attempt().fail(Failure(F.QUOTA_BILLING, "empty", 402))
    assert house.served_by() == set()
    if how == "rotated":
        asyncio.run(house.router.rotate_key("k1", "sk-new"))
    else:
        manager = house.router.key_manager
        asyncio.run(manager.update_key_state("k1", KeyState.RECOVERING))
        asyncio.run(manager.update_key_state("k1", KeyState.AVAILABLE))
    assert house.served_by() == {"k1"}


def test_limits_wait_stays_when_a_key_is_rotated() -> None:
    house = House(1)
    house.attempt().fail(WAITS)
    asyncio.run(house.router.rotate_key("k1", "sk-new"))
    assert house.served_by() == set()


def test_request_too_large_for_an_account_is_not_walked_over_its_keys() -> None:
    house = House(5, scope="shared")
    attempts = house.router.attempts(
        Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
    )

    async def walk() -> int:
        calls = 0
        async for attempt in attempts:
            calls += 1
            attempt.fail(Failure(F.TOO_BIG_FOR_LIMIT, "too large", 429))
        return calls

    assert asyncio.run(walk()) == 1


def test_callers_own_deadline_opens_no_circuit_and_a_long_silence_does() -> None:
    house = House(1)
    for _ in range(8):
        attempt = house.attempt()
        house.now += 0.1
        attempt.fail(attempt.out_of_time())
    assert house.router.get_state_summary()["circuits"] == []
    slow = house.attempt()
    house.now += 61.0
    assert slow.out_of_time().kind is F.TIMEOUT


@pytest.mark.parametrize(
    ("limits", "named"), [({"tokens_per_minute": 5}, "tokens_per_minute"), ({"rpm": None}, "rpm")]
)
def test_limits_that_are_none_are_refused_with_their_key(
    limits: dict[str, Any], named: str
) -> None:
    with pytest.raises(KeyRegistrationError, match=named):
        House(1, limits=limits)


def test_names_of_models_that_nobody_asks_for_any_more_are_forgotten() -> None:
    house = House(2, per_model=True)
    for number in range(1500):
        house.served_by(f"guess-{number}", times=1)
        house.served_by("used", times=1)
        house.now += 1.0
    scopes = house.router.get_state_summary()["scopes"]
    assert len(scopes) <= 2 * 1100
    assert any(scope["group"] == "used" for scope in scopes)
