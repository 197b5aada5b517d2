"""Decide + reserve over four windows + settle; and `route()` around an instant adapter."""

import asyncio
import time

import pytest

from apikeyrouter import Demand, Message, RequestIntent
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.domain.routing.request import Request

pytestmark = pytest.mark.benchmark
INTENT = RequestIntent(model="m", messages=[Message(role="user", content="Hello!")])


@pytest.mark.parametrize("keys", [10, 10_000])
def test_decide_reserve_settle(benchmark, p95, furnished, keys: int) -> None:
    router = asyncio.run(furnished(keys))
    engine, ledger = router.routing_engine, router.quota_awareness_engine.ledger
    demand = Demand(model="m", request_id="r", input_tokens=20, output_cap=20)
    route = engine.routes.route_for(demand)

    def once() -> None:
        now = time.time()
        record = DecisionRecord("r", "m", "", engine.routes.scorings.default.objective, now)
        grant = engine.decide(route, Request(demand, record), now)
        ledger.settle(grant.reservation, [grant.pool.actual(grant.hold.amounts, 20, 10)], now)

    for _ in range(200):
        once()
    benchmark.extra_info["p95_us"] = round(p95(once, 5000), 1)
    print(f"\ndecide + reserve + settle, {keys} keys: p95 {benchmark.extra_info['p95_us']} us")
    benchmark(once)


@pytest.mark.parametrize("keys", [10, 1_000])
def test_route_around_an_instant_adapter(benchmark, furnished, keys: int) -> None:
    async def timed(count: int) -> list[float]:
        router = await furnished(keys)
        times = []
        for _ in range(count):
            started = time.perf_counter()
            await router.route(INTENT)
            times.append(time.perf_counter() - started)
        await router.close()
        return sorted(times)

    times = benchmark.pedantic(lambda: asyncio.run(timed(2000)), rounds=2)
    benchmark.extra_info["p95_us"] = round(times[int(len(times) * 0.95)] * 1e6, 1)
    print(f"\nroute(), {keys} keys: p95 {benchmark.extra_info['p95_us']} us")
