"""Pools of more keys than are compared at once: who sleeps wakes, and nothing piles up."""

import pytest

from apikeyrouter import Demand
from apikeyrouter.errors import NoEligibleKeysError

from .test_fair_shares import Fleet

pytestmark = pytest.mark.unit


async def serve_all(fleet: Fleet) -> tuple[int, float | None]:
    """Serve until nobody has room; return how many, and when to come back."""
    served = 0
    demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
    while True:
        try:
            attempt = await anext(aiter(fleet.router.attempts(demand)))
        except NoEligibleKeysError as refused:
            return served, refused.retry_after
        attempt.settle(1, 1)
        served += 1


@pytest.mark.parametrize("keys", [20, 40])
async def test_keys_without_room_sleep_and_wake_at_their_instant(keys: int) -> None:
    fleet = await Fleet((keys,)).furnish(limits={"rpm": 60, "concurrency": 4})
    served, retry_after = await serve_all(fleet)
    assert served == pytest.approx(60 * keys, rel=0.05)
    assert retry_after is not None
    assert 0.0 < retry_after <= 1.1
    fleet.now += retry_after
    assert (await serve_all(fleet))[0] > 0
    fleet.now += 10.0
    assert (await serve_all(fleet))[0] == pytest.approx(10 * keys, rel=0.15)


async def test_filings_of_a_large_pool_do_not_pile_up() -> None:
    fleet = await Fleet((40,)).furnish()
    await fleet.serve(2000)
    [pool] = fleet.router.routes.pools()
    for ranking in pool._rankings.values():
        assert len(ranking._awake) <= 2 * 40 + 20
        assert len(ranking._asleep) <= 2 * 40 + 20
