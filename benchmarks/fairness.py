"""Whether equal keys get equal shares, and others what their weight says.

Keys of several providers serve 2,000 requests that come from 1 to 64 clients, under every
objective. Each key should get within 10 % of its share. Beside keys that are equal from start to
end there are weighted ones, and ones that are new, were rested, or got a new secret halfway: these
should get their share from then on, and no more.

    .venv/bin/python benchmarks/fairness.py [--requests 2000] [--only weights] [--all] [--json]
"""

import argparse
import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apikeyrouter import ApiKeyRouter, Demand, ProviderAdapter
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective

TOLERANCE = 0.10
CLIENTS = (1, 4, 16, 64)
#: Keys by provider.
LAYOUTS: Mapping[str, tuple[int, ...]] = {
    "2 of 2": (1, 1),
    "2 of 1": (2,),
    "5 of 5": (1, 1, 1, 1, 1),
    "5 of 3": (1, 2, 2),
    "20 of 4": (1, 4, 5, 10),
    "20 of 20": (1,) * 20,
}
WEIGHTS = (1.0, 2.0, 4.0, 1.0)
SITUATIONS = ("equal", "weights", "new", "rested", "rotated")


class NoProvider(ProviderAdapter):
    """Is never called: what is measured is the choice of a key."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        raise NotImplementedError

    def normalize_response(self, raw: Any) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Shares:
    """Who served how much, and how far that is from what was due."""

    situation: str
    layout: str
    objective: str
    clients: int
    deviation: float
    by_key: Mapping[str, int]

    @property
    def is_well(self) -> bool:
        """Whether every key got its share."""
        return self.deviation <= TOLERANCE

    def line(self) -> str:
        """Return the line of the table."""
        counts = sorted(self.by_key.values())
        return (
            f"{self.situation:8} {self.layout:9} {self.objective:12} {self.clients:3} clients  "
            f"least {counts[0]:5}  most {counts[-1]:5}  furthest from its share "
            f"{self.deviation:6.1%}  {'ok' if self.is_well else 'MISSED'}"
        )


class Bench:
    """A router with keys, and clients that use it."""

    def __init__(self, layout: str, objective: ObjectiveType, clients: int) -> None:
        self._layout = layout
        self._objective = RoutingObjective(primary=objective)
        self._clients = clients
        self._chance = random.Random(7)
        self._number = 0
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"})
        self.weight_by_key: dict[str, float] = {}

    async def furnish(self, weights: tuple[float, ...] = (1.0,)) -> None:
        """Register providers and keys."""
        for provider, keys in enumerate(LAYOUTS[self._layout]):
            await self.router.register_provider(f"p{provider}", NoProvider())
            for _ in range(keys):
                weight = weights[len(self.weight_by_key) % len(weights)]
                await self.add_key(f"p{provider}", weight)

    async def add_key(self, provider: str, weight: float = 1.0) -> None:
        """Register one more key."""
        key = f"k{len(self.weight_by_key)}"
        self.weight_by_key[key] = weight
        metadata = {"id": key, "weight": weight}
        await self.router.register_key(f"sk-secret-of-{key}", provider, metadata)

    async def serve(self, requests: int) -> Counter[str]:
        """Have so many requests served; count them by key."""
        served: Counter[str] = Counter()
        left = requests

        async def client(name: str) -> None:
            nonlocal left
            while left > 0:
                left -= 1
                self._number += 1
                demand = Demand(
                    model="m", request_id=f"r{self._number}", client=name, max_wait=60.0,
                    objective=self._objective, input_tokens=100, output_cap=100,
                )  # fmt: skip
                async for attempt in self.router.attempts(demand):
                    for _ in range(self._chance.randint(1, 4)):
                        await asyncio.sleep(0)
                    attempt.settle(100, 50)
                    served[attempt.slot.id] += 1

        await asyncio.gather(*(client(f"c{n}") for n in range(self._clients)))
        return served

    def deviation(self, served: Mapping[str, int]) -> float:
        """Return how far the furthest key is from its share, as a part of it."""
        total, weights = sum(served.values()), sum(self.weight_by_key.values())
        return max(
            abs(served.get(key, 0) / (total * weight / weights) - 1)
            for key, weight in self.weight_by_key.items()
        )


async def measure(
    situation: str, layout: str, objective: ObjectiveType, clients: int, requests: int
) -> Shares:
    """Measure one line."""
    bench = Bench(layout, objective, clients)
    async with bench.router:
        await bench.furnish(WEIGHTS if situation == "weights" else (1.0,))
        if situation in ("new", "rested", "rotated"):
            await bench.serve(requests // 2)
            await change(bench, situation, requests)
        served = await bench.serve(requests)
    by_key = {key: served.get(key, 0) for key in bench.weight_by_key}
    return Shares(
        situation, layout, objective.value, clients, round(bench.deviation(served), 4), by_key
    )


async def change(bench: Bench, situation: str, requests: int) -> None:
    """Bring in a new key, rest one for a while, or give one a new secret."""
    if situation == "new":
        await bench.add_key("p0")
    elif situation == "rotated":
        await bench.router.rotate_key("k0", "sk-another-secret-of-k0")
    else:
        rest_s = 0.5
        await bench.router.key_manager.update_key_state("k0", "throttled", cooldown_seconds=rest_s)
        if len(bench.weight_by_key) > 1:
            await bench.serve(requests // 4)
        await asyncio.sleep(rest_s)


def main() -> None:
    """Print the table; the objective that most use, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--only", choices=SITUATIONS, action="append")
    parser.add_argument("--all", action="store_true", help="changes under every objective too")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    missed = 0
    for situation in asked.only or SITUATIONS:
        every = asked.all or situation == "equal"
        objectives = list(ObjectiveType) if every else [ObjectiveType.FAIRNESS]
        for layout in LAYOUTS:
            for objective in objectives:
                for clients in CLIENTS if every else (1, 16):
                    shares = asyncio.run(
                        measure(situation, layout, objective, clients, asked.requests)
                    )
                    missed += not shares.is_well
                    print(json.dumps(vars(shares)) if asked.json else shares.line(), flush=True)
    print(f"{missed} missed" if not asked.json else json.dumps({"missed": missed}))


if __name__ == "__main__":
    main()
