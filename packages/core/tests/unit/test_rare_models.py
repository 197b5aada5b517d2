"""A model that few accounts have is found; one that nobody has costs two calls a request."""

import pytest

from apikeyrouter import Demand
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.errors import NoEligibleKeysError

from .test_fair_shares import Fleet

pytestmark = pytest.mark.unit
UNKNOWN = Failure(FailureClass.MODEL_UNAVAILABLE, "no such model", 404)


async def ask(fleet: Fleet, having: set[str], name: str) -> tuple[int, bool]:
    """Ask once for a model that only *having* have; return the calls it took, and success."""
    calls = 0
    demand = Demand(model="rare", request_id=name, input_tokens=1, output_cap=1, max_wait=0.0)
    try:
        async for attempt in fleet.router.attempts(demand):
            calls += 1
            if attempt.slot.id in having:
                attempt.settle(1, 1)
                return calls, True
            attempt.fail(UNKNOWN)
    except NoEligibleKeysError:
        pass
    return calls, False


@pytest.mark.parametrize(("keys", "had_by"), [(3, "k2"), (8, "k7"), (40, "k25")])
async def test_model_of_one_account_is_found_over_repeated_requests(keys: int, had_by: str) -> None:
    fleet = await Fleet((keys,)).furnish()
    for number in range(keys):
        calls, success = await ask(fleet, {had_by}, f"r{number}")
        assert calls <= 2
        if success:
            break
    assert success


async def test_model_that_nobody_has_costs_two_calls_at_most() -> None:
    fleet = await Fleet((40,)).furnish()
    for number in range(10):
        calls, success = await ask(fleet, set(), f"r{number}")
        assert calls <= 2
        assert not success


async def test_model_that_one_account_lacks_costs_it_one_call() -> None:
    """Its keys have the same models."""
    fleet = await Fleet((40,)).furnish(scope="one account")
    calls, success = await ask(fleet, set(), "r")
    assert calls <= 2
    assert not success
