"""Decide + reserve over four windows + settle; and `route()` around an instant adapter."""

import asyncio
import time
from collections.abc import Callable

import pytest

from apikeyrouter import ApiKeyRouter, Demand, Message, RequestIntent
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.domain.routing.pending_request import PendingRequest

pytestmark = pytest.mark.benchmark
INTENT = RequestIntent(model="m0", messages=[Message(role="user", content="Hello!")])


def _decision_of(router: ApiKeyRouter, models: int) -> Callable[[], None]:
    """Return what decides and settles once, for one model after another."""
    engine, ledger = router.routing_engine, router.quota_awareness_engine.ledger
    demands = [
        Demand(model=f"m{number}", request_id="r", input_tokens=20, output_cap=20)
        for number in range(models)
    ]
    turn = 0

    def once() -> None:
        nonlocal turn
        # Neighbours are of different providers.
        turn = (turn + 101) % models
        demand = demands[turn]
        now = time.time()
        record = DecisionRecord(
            "r", demand.model, "", engine.routes.scorings.default.objective, now
        )
        route = engine.routes.route_for(demand)
        grant = engine.decide(route, PendingRequest(demand, record), now)
        ledger.settle(grant.reservation, [grant.pool.actual(grant.hold.amounts, 20, 10)], now)

    # Candidates are listed when a model is first asked for.
    for _ in range(2 * models + 200):
        once()
    return once


def test_decision_hardly_grows_with_keys(benchmark, p95, report, furnished) -> None:
    few = _decision_of(asyncio.run(furnished(10)), 10)
    same = _decision_of(asyncio.run(furnished(10_000)), 10)
    many = _decision_of(asyncio.run(furnished(10_000, models=1_000, providers=10)), 1_000)
    rounds = [(p95(few, 3000), p95(same, 3000), p95(many, 3000)) for _ in range(5)]
    few_us, same_us, many_us = (sorted(times)[2] for times in zip(*rounds, strict=True))
    report("decide + settle, 10 keys, p95", few_us)
    report("decide + settle, 10,000 keys, p95", same_us)
    report("decide + settle, 10,000 keys, 1,000 models, 10 providers, p95", many_us)
    print(f"many keys against few: {same_us / few_us:.2f} x, {many_us / few_us:.2f} x")
    benchmark.extra_info["ratio"] = round(many_us / few_us, 2)
    benchmark(many)


@pytest.mark.parametrize("keys", [10, 1_000])
async def test_route_around_an_instant_adapter(awaited_p95, report, furnished, keys: int) -> None:
    router = await furnished(keys)
    report(f"route(), {keys} keys, p95", await awaited_p95(lambda: router.route(INTENT), 4000))
    await router.close()
