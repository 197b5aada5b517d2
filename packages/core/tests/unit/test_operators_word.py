"""What an operator says of keys and names counts, and what providers and answers teach does too."""

from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, NoEligibleKeysError
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension, ObservedLimit
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit


class Bench:
    """A router over two providers, `p` and `q`, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        config = {"log_level": "CRITICAL", "max_queue_wait_seconds": 0.0}
        self.router = ApiKeyRouter(config=config, clock=lambda: self.now)

    async def add(self, key_id: str, provider: str = "p", **facts: Any) -> None:
        if provider not in self.router.routes.providers:
            await self.router.register_provider(provider, OpenAIAdapter("http://127.0.0.1:1/v1"))
        await self.router.register_key(f"sk-{key_id}", provider, {"id": key_id, **facts})

    async def ask(self, model: str = "m", **demand: Any) -> Attempt:
        return await anext(aiter(self.router.attempts(Demand(model, request_id="r", **demand))))

    async def serve(self, times: int, model: str = "m") -> list[tuple[str, str]]:
        """Serve requests one after the other; return who served which model, in turn."""
        served = []
        for _ in range(times):
            attempt = await self.ask(model)
            served.append((attempt.slot.id, attempt.model))
            attempt.settle(10, 10)
        return served

    async def fill(self, model: str = "m") -> list[tuple[str, str]]:
        """Begin requests until there is no room; return who took which model, in turn."""
        running: list[Attempt] = []
        for _ in range(500):
            try:
                running.append(await self.ask(model))
            except NoEligibleKeysError:
                break
        for attempt in running:
            attempt.cancel(sent=False)
        return [(attempt.slot.id, attempt.model) for attempt in running]

    async def serve_until_refused(self) -> int:
        """Serve requests one after the other until one is refused; return how many."""
        for served in range(500):
            try:
                await self.serve(1)
            except NoEligibleKeysError:
                return served
        return 500

    def window(self, dimension: str) -> dict[str, Any]:
        [window] = [
            window
            for scope in self.router.get_state_summary()["scopes"]
            for window in scope["windows"]
            if window["dimension"] == dimension
        ]
        return window


async def test_declared_quota_binds_at_once_and_is_kept() -> None:
    bench = Bench()
    await bench.add("k")
    await bench.serve(3)
    for most in (2, 5, 3):
        await bench.router.configure_quota("k", {"concurrency": most})
        assert len(await bench.fill()) == most
        kept = await bench.router.state_store.get_key("k")
        assert kept is not None
        assert kept.metadata["limits"] == {"concurrency": most}


async def test_quota_that_was_declared_for_another_limit_stays() -> None:
    bench = Bench()
    await bench.add("k", limits={"concurrency": 2})
    await bench.router.configure_quota("k", {"tpm": 1_000_000})
    assert len(await bench.fill()) == 2
    kept = await bench.router.state_store.get_key("k")
    assert kept is not None
    assert kept.metadata["limits"] == {"concurrency": 2, "tpm": 1_000_000}


@pytest.mark.parametrize("first", ["k1", "k2"])
@pytest.mark.parametrize(
    ("objective", "rank"), [("cost", "cost_rank"), ("quality", "quality_rank")]
)
async def test_rank_decides_whom_the_objective_prefers(
    objective: str, rank: str, first: str
) -> None:
    bench = Bench()
    for key in ("k1", "k2"):
        await bench.add(key, **{rank: 0.1 if key == first else 0.9})
    bench.router.configure_objective(objective)
    assert {key for key, _ in await bench.serve(8)} == {first}


async def test_key_of_unknown_rank_stands_between_the_cheap_and_the_dear() -> None:
    bench = Bench()
    await bench.add("dear", cost_rank=0.9, limits={"concurrency": 2})
    await bench.add("unknown", limits={"concurrency": 2})
    await bench.add("cheap", cost_rank=0.1, limits={"concurrency": 2})
    bench.router.configure_objective("cost")
    order = list(dict.fromkeys(key for key, _ in await bench.fill()))
    assert order == ["cheap", "unknown", "dear"]


@pytest.mark.parametrize("first", ["k1", "k2"])
@pytest.mark.parametrize("providers", [("p", "p"), ("p", "q")], ids=["one", "two providers"])
async def test_key_of_lower_priority_is_used_only_when_the_first_has_no_room(
    first: str, providers: tuple[str, str]
) -> None:
    bench = Bench()
    for key, provider in zip(("k1", "k2"), providers, strict=True):
        await bench.add(key, provider, priority=1 if key == first else 0, limits={"concurrency": 3})
    served = [key for key, _ in await bench.fill()]
    assert served == [first] * 3 + [key for key in ("k1", "k2") if key != first] * 3


@pytest.mark.parametrize("order", [("p", "q"), ("q", "p")])
async def test_targets_of_an_alias_are_tried_in_their_order(order: tuple[str, str]) -> None:
    bench = Bench()
    for provider in ("p", "q"):
        await bench.add(f"of-{provider}", provider, limits={"concurrency": 2})
    bench.router.routes.set_aliases({"fast": tuple((name, f"{name}-small") for name in order)})
    first, second = order
    assert await bench.fill("fast") == [
        (f"of-{first}", f"{first}-small"),
        (f"of-{first}", f"{first}-small"),
        (f"of-{second}", f"{second}-small"),
        (f"of-{second}", f"{second}-small"),
    ]


@pytest.mark.parametrize(
    ("limit", "dimension", "before", "after"),
    [("itpm", "input tokens", 100, 200), ("otpm", "output tokens", None, 30)],
)
async def test_sizes_are_learned_from_what_answers_used(
    limit: str, dimension: str, before: int | None, after: int
) -> None:
    """Twice as many tokens as estimated came in, and 30 went out."""
    bench = Bench()
    await bench.add("k", limits={limit: 1_000_000})
    held = []
    for _ in range(60):
        attempt = await bench.ask(input_tokens=100)
        held.append(bench.window(dimension)["used"])
        attempt.settle(200, 30)
        bench.now += 60.0
    assert held[0] == before or held[0] > 3 * after
    assert held[-1] == pytest.approx(after, rel=0.1)


@pytest.mark.parametrize("after", [30.0, 200.0], ids=["lowered", "raised"])
async def test_limit_that_a_provider_changes_is_followed(after: float) -> None:
    bench = Bench()
    await bench.add("k")

    def told(limit: float, left: float) -> tuple[ObservedLimit, ...]:
        return (ObservedLimit(Dimension.REQUESTS, limit, left, 1.0, MINUTE_S),)

    attempt = await bench.ask()
    attempt.answered(told(100.0, 99.0))
    attempt.settle()
    assert bench.window("requests")["capacity"] == 100.0
    bench.now += 10.0
    attempt = await bench.ask()
    attempt.answered(told(after, after - 1.0))
    attempt.settle()
    assert bench.window("requests")["capacity"] == after
    # Of limits that refill by themselves the last unit is left alone for a moment.
    assert await bench.serve_until_refused() in (after - 2, after - 1)
