"""Many that wait, fairly."""

import asyncio
from itertools import pairwise

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.feed.events import RequestDequeued
from apikeyrouter.domain.limits.observation import Dimension, ObservedLimit
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration


async def furnished(simulator: RunningSimulator, limits: dict[str, float]) -> ApiKeyRouter:
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("sim", OpenAIAdapter(base_url=simulator.base_url()))
    await router.register_key("sk-sim-1", "sim", {"id": "key-1", "limits": limits})
    return router


async def take(router: ApiKeyRouter, demand: Demand, order: list[str]) -> None:
    async for attempt in router.attempts(demand):
        order.append(demand.client)
        await asyncio.sleep(0)
        attempt.settle()


async def test_a_thousand_waiting_are_all_served(simulator: RunningSimulator) -> None:
    async with await furnished(simulator, {"concurrency": 4}) as router:
        order: list[str] = []
        demands = [
            Demand(model="small", request_id=f"r{n}", client="heavy", max_wait=20)
            for n in range(1000)
        ]
        await asyncio.gather(*(take(router, demand, order) for demand in demands))
        assert len(order) == 1000
        summary = router.get_state_summary()
        assert (summary["waiting"], summary["open_reservations"]) == (0, 0)


async def test_the_clock_wakes_several_at_once(simulator: RunningSimulator) -> None:
    """A wake costs more than a decision: of a fast limit several are let in by one."""
    async with await furnished(simulator, {"rpm": 30_000}) as router:
        told = ObservedLimit(Dimension.REQUESTS, 30_000.0, 0.0, period_s=60.0)
        demands = [Demand(model="small", request_id=f"r{n}", max_wait=20) for n in range(100)]
        await take(router, Demand(model="small", request_id="first"), [])
        await router.quota_awareness_engine.handle_quota_response("key-1", limits=(told,))
        left_at: list[float] = []
        router.listeners.append(
            lambda event: left_at.append(event.at) if isinstance(event, RequestDequeued) else None
        )
        await asyncio.gather(*(take(router, demand, []) for demand in demands))
        wakes = 1 + sum(after - before > 0.001 for before, after in pairwise(sorted(left_at)))
        assert (len(left_at), wakes <= 40) == (100, True), wakes


async def test_light_client_waits_no_longer_than_its_share(simulator: RunningSimulator) -> None:
    async with await furnished(simulator, {"concurrency": 1}) as router:
        order: list[str] = []
        heavy = [
            Demand(model="small", request_id=f"h{n}", client="heavy", max_wait=20)
            for n in range(200)
        ]
        tasks = [asyncio.create_task(take(router, demand, order)) for demand in heavy]
        await asyncio.sleep(0.01)
        before = len(order)
        light = Demand(model="small", request_id="l", client="light", max_wait=20)
        await take(router, light, order)
        assert order.index("light") - before <= 4
        await asyncio.gather(*tasks)


async def test_ten_thousand_random_endings_hold_nothing(simulator: RunningSimulator) -> None:
    async with await furnished(simulator, {"concurrency": 50}) as router:

        async def end(number: int) -> None:
            demand = Demand(model="small", request_id=f"r{number}", max_wait=30)
            async for attempt in router.attempts(demand):
                if number % 3 == 0:
                    attempt.settle(5, 5)
                elif number % 3 == 1:
                    attempt.cancel(sent=number % 2 == 0)
                else:
                    try:
                        await asyncio.sleep(0)
                    except asyncio.CancelledError:
                        attempt.cancel()
                        raise
                    attempt.settle()

        tasks = [asyncio.create_task(end(number)) for number in range(10_000)]
        await asyncio.sleep(0.05)
        for task in tasks[::7]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        summary = router.get_state_summary()
        assert (summary["waiting"], summary["open_reservations"]) == (0, 0)
        assert all(key["in_flight"] == 0 for key in summary["keys"])


async def test_client_that_leaves_as_it_is_let_in_holds_nobody_up(
    simulator: RunningSimulator,
) -> None:
    """It is cancelled in the very turn of the loop in which its room comes."""
    async with await furnished(simulator, {"concurrency": 1}) as router:
        order: list[str] = []
        first = await anext(aiter(router.attempts(Demand(model="small", request_id="first"))))
        leaving, staying = (
            asyncio.create_task(
                take(router, Demand(model="small", request_id=name, client=name), order)
            )
            for name in ("leaving", "staying")
        )
        await asyncio.sleep(0.01)
        first.settle()
        leaving.cancel()
        await asyncio.wait_for(staying, 1.0)
        assert order == ["staying"]
        assert router.get_state_summary()["open_reservations"] == 0


async def test_attempt_that_its_caller_forgot_gives_back_what_it_held(
    simulator: RunningSimulator,
) -> None:
    async with await furnished(simulator, {"concurrency": 1}) as router:

        async def forgets() -> None:
            async for _ in router.attempts(Demand(model="small", request_id="r")):
                await asyncio.sleep(10)

        task = asyncio.create_task(forgets())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        del task
        assert router.get_state_summary()["open_reservations"] == 0


@pytest.mark.parametrize("change", ["objective", "account", "provider"])
async def test_who_waits_is_looked_at_again_when_the_operator_changes_something(
    simulator: RunningSimulator, change: str
) -> None:
    async with await furnished(simulator, {"concurrency": 1}) as router:
        order: list[str] = []
        first = await anext(aiter(router.attempts(Demand(model="small", request_id="first"))))
        waits = asyncio.create_task(
            take(router, Demand(model="small", request_id="r", max_wait=20), order)
        )
        await asyncio.sleep(0.01)
        if change == "objective":
            router.configure_objective("latency")
        elif change == "account":
            router.quota_awareness_engine.overrule_scope("key-1", "mine")
        else:
            adapter = OpenAIAdapter(base_url=simulator.base_url())
            await router.register_provider("sim", adapter, overwrite=True)
        first.settle()
        await asyncio.wait_for(waits, 1.0)


async def test_provider_that_recovers_is_not_blocked_by_errors_of_its_callers(
    simulator: RunningSimulator,
) -> None:
    """An error without a status, as a user's adapter raises it, ends a counted call too."""
    async with await furnished(simulator, {"rpm": 6000}) as router:
        for failure in [FailureClass.UNREACHABLE, None, *[FailureClass.BAD_REQUEST] * 8, None]:
            demand = Demand(model="small", request_id="r", max_wait=5)
            attempt = await anext(aiter(router.attempts(demand)))
            if failure is None:
                attempt.settle()
            else:
                attempt.fail(Failure(failure, "x"))
        assert router.get_state_summary()["circuits"] == []
