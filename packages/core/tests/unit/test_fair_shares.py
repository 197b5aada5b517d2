"""Equal keys get equal shares, weighted ones what their weight says, whatever the objective."""

import heapq
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, ProviderAdapter
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective
from apikeyrouter.errors import NoEligibleKeysError

pytestmark = pytest.mark.unit
#: Keys by provider.
LAYOUTS = {
    "2 of 2": (1, 1), "2 of 1": (2,), "5 of 5": (1,) * 5, "20 of 4": (1, 4, 5, 10),
    "20 of 20": (1,) * 20, "1 beside 40": (1, 40), "40 beside 40": (40, 40),
}  # fmt: skip
TOLD = {"rpm": 60_000, "tpm": 10_000_000}


class Uncalled(ProviderAdapter):
    """Is never called: what is looked at is the choice of a key."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        raise AssertionError

    def normalize_response(self, raw: Any) -> Any:
        raise AssertionError


class Fleet:
    """Keys of several providers, with so many calls in flight at once and the clock in our hand."""

    def __init__(
        self, layout: Iterable[int], *, in_flight: int = 1, latency_s: float = 0.5
    ) -> None:
        self.now = 1000.0
        self.in_flight = in_flight
        self.latency_s = latency_s
        self.jitter = 0.0
        self.objective: RoutingObjective | None = None
        self.layout = tuple(layout)
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: self.now)
        self.weight_by_key: dict[str, float] = {}
        self._chance = random.Random(7)
        self._running: list[tuple[float, int, Attempt]] = []
        self._number = 0

    async def furnish(self, *, weights: tuple[float, ...] = (1.0,), **facts: Any) -> "Fleet":
        for provider, keys in enumerate(self.layout):
            await self.router.register_provider(f"p{provider}", Uncalled())
            for _ in range(keys):
                weight = weights[len(self.weight_by_key) % len(weights)]
                await self.add(f"p{provider}", weight=weight, **facts)
        return self

    async def add(self, provider: str, *, weight: float = 1.0, **facts: Any) -> str:
        key = f"k{len(self.weight_by_key)}"
        self.weight_by_key[key] = weight
        await self.router.register_key(
            f"sk-{key}", provider, {"id": key, "weight": weight, **facts}
        )
        return key

    async def serve(self, requests: int) -> Counter[str]:
        """Begin so many calls, as each that ends makes place for one; count them by key."""
        served: Counter[str] = Counter()
        while requests:
            if len(self._running) >= self.in_flight:
                self._end_one()
            self._number += 1
            demand = Demand(
                model="m", request_id=f"r{self._number}", input_tokens=10, output_cap=10,
                max_wait=0.0, objective=self.objective,
            )  # fmt: skip
            try:
                attempt = await anext(aiter(self.router.attempts(demand)))
            except NoEligibleKeysError:
                self._end_one()
                continue
            requests -= 1
            served[attempt.slot.id] += 1
            takes_s = self.latency_s * (1.0 + self.jitter * self._chance.uniform(-1.0, 1.0))
            heapq.heappush(self._running, (self.now + takes_s, self._number, attempt))
        return served

    def _end_one(self) -> None:
        ends_at, _, attempt = heapq.heappop(self._running)
        self.now = max(self.now, ends_at)
        attempt.answered()
        attempt.settle(10, 5)

    def furthest(self, served: Mapping[str, int]) -> float:
        """Return how far the furthest key is from its share, as a part of it; 2 calls are none."""
        total, weights = sum(served.values()), sum(self.weight_by_key.values())
        shares = {key: total * weight / weights for key, weight in self.weight_by_key.items()}
        return max(max(0.0, abs(served.get(k, 0) - due) - 2.0) / due for k, due in shares.items())


@pytest.mark.parametrize("objective", list(ObjectiveType))
@pytest.mark.parametrize("in_flight", [1, 4, 16])
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_equal_keys_get_equal_shares(
    layout: str, in_flight: int, objective: ObjectiveType
) -> None:
    fleet = await Fleet(LAYOUTS[layout], in_flight=in_flight).furnish()
    fleet.objective = RoutingObjective(primary=objective)
    served = await fleet.serve(max(200, 20 * len(fleet.weight_by_key)))
    assert fleet.furthest(served) <= 0.1, served


@pytest.mark.parametrize("objective", list(ObjectiveType))
@pytest.mark.parametrize("layout", ["2 of 2", "20 of 4"])
async def test_two_thousand_from_sixty_four_at_once_are_shared(
    layout: str, objective: ObjectiveType
) -> None:
    fleet = await Fleet(LAYOUTS[layout], in_flight=64).furnish()
    fleet.objective = RoutingObjective(primary=objective)
    served = await fleet.serve(2000)
    assert fleet.furthest(served) <= 0.1, served


@pytest.mark.parametrize("layout", ["5 of 5", "20 of 4", "1 beside 40"])
@pytest.mark.parametrize("in_flight", [1, 16])
async def test_equal_keys_of_known_limits_get_equal_shares(layout: str, in_flight: int) -> None:
    fleet = await Fleet(LAYOUTS[layout], in_flight=in_flight).furnish(limits=TOLD)
    served = await fleet.serve(20 * len(fleet.weight_by_key))
    assert fleet.furthest(served) <= 0.1, served


@pytest.mark.parametrize("objective", list(ObjectiveType))
@pytest.mark.parametrize("in_flight", [1, 4, 16])
@pytest.mark.parametrize("layout", ["2 of 2", "2 of 1", "5 of 5", "20 of 4"])
async def test_weights_are_kept(layout: str, in_flight: int, objective: ObjectiveType) -> None:
    fleet = await Fleet(LAYOUTS[layout], in_flight=in_flight).furnish(weights=(1.0, 2.0, 4.0))
    fleet.objective = RoutingObjective(primary=objective)
    # At first few calls at once are let through to each.
    await fleet.serve(20 * len(fleet.weight_by_key))
    served = await fleet.serve(40 * len(fleet.weight_by_key))
    assert fleet.furthest(served) <= 0.1, served


@pytest.mark.parametrize("objective", list(ObjectiveType))
@pytest.mark.parametrize("in_flight", [1, 4])
async def test_one_key_beside_an_account_of_many_gets_its_share(
    in_flight: int, objective: ObjectiveType
) -> None:
    """The account's calls in flight are those of all of its keys."""
    fleet = await Fleet((), in_flight=in_flight).furnish()
    for provider, keys in (("one", 1), ("many", 20)):
        await fleet.router.register_provider(provider, Uncalled())
        for _ in range(keys):
            await fleet.add(provider, scope=f"account of {provider}")
    fleet.objective = RoutingObjective(primary=objective)
    # Of whom little is known, a call finds out.
    await fleet.serve(210)
    served = await fleet.serve(420)
    assert fleet.furthest(served) <= 0.1, served


@pytest.mark.parametrize("layout", ["2 of 2", "2 of 1", "5 of 5", "20 of 4", "40 beside 40"])
@pytest.mark.parametrize("in_flight", [1, 8])
@pytest.mark.parametrize("change", ["new", "new provider", "rested", "rotated"])
async def test_key_that_comes_or_comes_back_takes_its_share_and_no_more(
    change: str, in_flight: int, layout: str
) -> None:
    fleet = await Fleet(LAYOUTS[layout], in_flight=in_flight).furnish()
    keys = len(fleet.weight_by_key)
    await fleet.serve(10 * keys)
    if change == "new":
        await fleet.add("p0")
    elif change == "new provider":
        await fleet.router.register_provider("later", Uncalled())
        await fleet.add("later")
    elif change == "rotated":
        await fleet.router.rotate_key("k0", "sk-another")
    else:
        await fleet.router.key_manager.update_key_state("k0", "throttled", cooldown_seconds=60)
        await fleet.serve(10 * keys)
        fleet.now += 60.0
    # The first turns tell most of a key that takes everything until it has caught up.
    served = await fleet.serve(10 * len(fleet.weight_by_key))
    assert fleet.furthest(served) <= 0.1, served


async def test_chance_in_latency_starves_nobody() -> None:
    """A key that was slow once is asked again, and a tenth more or less is no difference."""
    fleet = await Fleet((1,) * 5).furnish()
    fleet.objective, fleet.jitter = RoutingObjective(primary=ObjectiveType.LATENCY), 0.3
    served = await fleet.serve(2000)
    assert fleet.furthest(served) <= 0.1, served


async def test_faster_provider_is_preferred_and_the_slow_one_gets_another_chance() -> None:
    fleet = await Fleet((1, 1)).furnish()
    fleet.objective = RoutingObjective(primary=ObjectiveType.LATENCY)
    await fleet.serve(2)
    [slow] = fleet.router.key_manager.slot_by_id["k0"].candidates
    for _ in range(20):
        slow.health.note_success(5.0, fleet.now)
    served = await fleet.serve(100)
    assert served["k0"] == 0
    fleet.now += 600.0
    assert (await fleet.serve(20))["k0"] > 0


async def test_thousands_of_keys_come_in_one_by_one_and_share_alike() -> None:
    fleet = await Fleet((600, 300)).furnish()
    served = await fleet.serve(900)
    assert sum(served[key] == 1 for key in fleet.weight_by_key) >= 800
    served = await fleet.serve(1800)
    assert fleet.furthest(served) <= 0.1


@pytest.mark.parametrize(
    "facts", [{"priority": 1}, {"cost_rank": 0.0}], ids=lambda facts: str(facts)
)
async def test_best_of_thousands_is_found_at_once(facts: dict[str, Any]) -> None:
    fleet = await Fleet((300,)).furnish()
    best = await fleet.add("p0", **facts)
    fleet.objective = RoutingObjective(primary=ObjectiveType.COST)
    await fleet.serve(9)
    assert set(await fleet.serve(20)) == {best}
