"""How much of what is possible gets through, for every manner of provider, nothing declared.

One row a manner: six keys of a simulated provider whose limits nobody is told, clients that ask
again as soon as they are answered, prompts and answers of many sizes. Printed are

- goodput: served, as a share of what the provider would have given to an ideal client in that
  time, judged by the provider's own ledgers;
- refused: the share of all upstream calls that the provider refused;
- failures: requests that a client saw fail.

    .venv/bin/python benchmarks/goodput.py [--only remaining-only] [--seconds 40] [--clients 16]
        [--latency 0.05-3] [--scale 0.2] [--virtual [--every 60]] [--json]

With `--virtual` everything runs in one event loop whose clock jumps, without sockets: the same code
but the connections, in a tenth of the time.
"""

import argparse
import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import virtual_time
from load import prompt, sizes
from virtual_time import VirtualSimulator

from apikeyrouter import ApiKeyRouter, ApiKeyRouterError, RequestIntent
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.config.settings import RouterSettings
from apikeyrouter_simulator import RunningSimulator, Scenario
from apikeyrouter_simulator.control import goodput_data
from apikeyrouter_simulator.library import find
from apikeyrouter_simulator.scenario import Condition

_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        wanted: The least goodput.
        refused: The largest share of refused calls.
        changes: What changes in the middle, as a condition of the simulator.
        until: What is so until the middle.
        always: What is so all the time.
        declared: The operator's idea of every limit, as a factor of the true one.
        restarts: The provider is away for a second in the middle.
    """

    scenario: str
    wanted: float
    refused: float
    changes: Condition | None = None
    until: Condition | None = None
    always: Condition | None = None
    declared: float | None = None
    restarts: bool = False


TABLE: dict[str, Row] = {
    name: Row(name, wanted, refused)
    for name, wanted, refused in (
        ("full-headers", 0.99, 0.002),
        ("charged-for-cap", 0.98, 0.005),
        ("charged-then-settled", 0.98, 0.005),
        ("charged-when-done", 0.98, 0.002),
        ("remaining-only", 0.98, 0.005),
        ("shared-organization", 0.98, 0.007),
        ("retry-after-only", 0.97, 0.008),
        ("no-hint", 0.96, 0.008),
        ("sliding-minute", 0.96, 0.02),
        ("calls-at-once", 0.90, 0.02),
        ("used-by-others", 0.96, 0.01),
        ("fixed-minute", 0.98, 0.002),
        ("three-classes", 0.98, 0.005),
    )
}
_HALVED = Condition(kind="limit", factor=0.5)
_DOUBLED = Condition(kind="limit", factor=2.0)
_SPORADIC = Condition(kind="status", status=429, probability=0.02, retry_after_s=1)
_JOINED = Condition(kind="move", key="lab-b", to="a")
#: Not in the table; asked for by name.
FURTHER: dict[str, Row] = {
    "halved": Row("full-headers", 0.95, 0.01, changes=_HALVED),
    "doubled": Row("full-headers", 0.95, 0.01, changes=_DOUBLED),
    "no-hint-halved": Row("no-hint", 0.90, 0.03, changes=_HALVED),
    "no-hint-doubled": Row("no-hint", 0.90, 0.02, changes=_DOUBLED),
    "joined": Row("full-headers", 0.95, 0.02, changes=_JOINED),
    "parted": Row("full-headers", 0.95, 0.01, until=_JOINED),
    "no-hint-joined": Row("no-hint", 0.90, 0.03, changes=_JOINED),
    "no-hint-parted": Row("no-hint", 0.90, 0.02, until=_JOINED),
    "hidden-calls-at-once": Row("hidden-calls-at-once", 0.90, 0.02),
    "hidden-tokens": Row("hidden-tokens", 0.95, 0.02),
    "sporadic-429": Row("full-headers", 0.90, 0.01, always=_SPORADIC),
    "no-hint-sporadic-429": Row("no-hint", 0.80, 0.01, always=_SPORADIC),
    "declared-double": Row("full-headers", 0.97, 0.02, declared=2.0),
    "declared-half": Row("full-headers", 0.97, 0.01, declared=0.5),
    "restart": Row("full-headers", 0.93, 0.01, restarts=True),
}


@dataclass(frozen=True)
class Measured:
    """What came of one row."""

    row: str
    goodput: float
    refused: float
    failures: int
    served: int
    ideal: float
    wanted_goodput: float
    wanted_refused: float
    failed_with: list[str]
    by_period: list[str]

    @property
    def is_well(self) -> bool:
        """Whether it is within the wanted bounds."""
        return (
            self.goodput >= self.wanted_goodput
            and self.refused <= self.wanted_refused
            and not self.failures
        )

    def line(self) -> str:
        """Return the line of the table."""
        return (
            f"{self.row:22} goodput {self.goodput:6.3f} (>= {self.wanted_goodput:.2f})  "
            f"refused {self.refused:6.2%} (<= {self.wanted_refused:.1%})  "
            f"failures {self.failures:3}  served {self.served:5} of {self.ideal:7.1f}  "
            f"{'ok' if self.is_well else 'MISSED'}"
        )


@dataclass(frozen=True)
class Wishes:
    """How all rows run.

    Attributes:
        latency: Shortest and longest time to the first token; the scenario's if `None`.
        scale: Factor of every limit but those of calls at once.
        is_virtual: In virtual time, without sockets.
        every_s: Tell the figures of every so many seconds too (virtual time only).
    """

    seconds: float = 40.0
    clients: int = 16
    latency: tuple[float, float] | None = None
    scale: float = 1.0
    is_virtual: bool = False
    every_s: float | None = None


def scenario_of(row: Row, wishes: Wishes) -> Scenario:
    """Return the row's scenario, with its change and what is wished."""
    scenario = find(row.scenario)
    half_s = wishes.seconds / 2
    if row.changes:
        scenario.conditions.append(msgspec.structs.replace(row.changes, after_s=half_s))
    if row.always:
        scenario.conditions.append(row.always)
    if row.until:
        scenario.conditions.append(msgspec.structs.replace(row.until, for_s=half_s))
    if wishes.scale != 1.0:
        scale_limits(scenario, wishes.scale)
    if wishes.latency is not None:
        low, high = wishes.latency
        for provider in scenario.providers.values():
            provider.reply = msgspec.structs.replace(
                provider.reply,
                first_token_s=low * 3,
                first_token_spread=math.log(high / low) / 4,
                first_token_max_s=high,
            )
    return scenario


def scale_limits(scenario: Scenario, scale: float) -> None:
    """Multiply every limit, and what others use of it."""
    for provider in scenario.providers.values():
        for scope in provider.scopes.values():
            scope.limits = {
                name: limit if name == "concurrency" else round(limit * scale)
                for name, limit in scope.capacities.items()
            }
    for condition in scenario.conditions:
        if condition.every_s:
            condition.every_s /= scale


def intents() -> Iterator[RequestIntent]:
    """Yield requests of many sizes."""
    for characters, cap in sizes():
        yield RequestIntent.model_validate(
            {
                "model": "sim-small",
                "messages": [{"role": "user", "content": prompt(characters)}],
                "parameters": {"max_tokens": cap},
            }
        )


async def start(simulator: RunningSimulator | VirtualSimulator, row: Row) -> ApiKeyRouter:
    """Return a router that knows providers and keys, and no limit that is not declared."""
    is_virtual = isinstance(simulator, VirtualSimulator)
    router = ApiKeyRouter(
        config=RouterSettings(
            log_level="CRITICAL", max_queue_wait_seconds=3600.0, request_timeout_seconds=3600.0
        ),
        clock=simulator.now if is_virtual else None,
    )
    transport = simulator if is_virtual else None
    for name, facts in simulator.scenario.providers.items():
        url = simulator.base_url(name)
        await router.register_provider(name, OpenAIAdapter(base_url=url, transport=transport))
        for key, key_facts in facts.keys.items():
            limits = {}
            if row.declared:
                true = facts.scopes[key_facts.scope].capacities
                limits = {n: value * row.declared for n, value in true.items()}
            secret = key_facts.secret or key
            await router.register_key(secret, name, {"id": key, "limits": limits})
    return router


async def ask_always(
    router: ApiKeyRouter, requests: Iterator[RequestIntent], failures: list[str]
) -> None:
    """Be one client, until cancelled."""
    while True:
        try:
            await router.route(next(requests))
        except ApiKeyRouterError as error:
            failures.append(str(error)[:160])
            await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Period:
    """What was served, could be served, and was refused since the start."""

    served: int = 0
    ideal: float = 0.0
    refused: int = 0

    def line_since(self, before: "Period") -> str:
        """Return a line of the figures since *before*."""
        served, refused = self.served - before.served, self.refused - before.refused
        ideal = self.ideal - before.ideal
        return (
            f"    goodput {served / ideal if ideal else 1.0:6.3f}  "
            f"refused {refused / max(1, served + refused):6.2%}  served {served:5}"
        )


@dataclass(frozen=True)
class Counts:
    """What came of one run."""

    goodput: Mapping[str, Any]
    totals: Mapping[str, int]
    failures: list[str]
    periods: list[Period] = field(default_factory=list)


async def drive(simulator: RunningSimulator, row: Row, wishes: Wishes) -> Counts:
    """Ask providers behind sockets."""
    router = await start(simulator, row)
    simulator.reset()
    ends_at = time.monotonic() + wishes.seconds
    failures: list[str] = []
    async with asking(router, wishes.clients, failures):
        if row.restarts:
            await asyncio.sleep(wishes.seconds / 2)
            await asyncio.to_thread(simulator.stop)
            await asyncio.sleep(1.0)
            await asyncio.to_thread(simulator.start)
        await asyncio.sleep(ends_at - time.monotonic())
        goodput = await asyncio.to_thread(simulator.goodput, clients=wishes.clients)
        stats = await asyncio.to_thread(simulator.stats)
    return Counts(goodput, stats["totals"], failures)


async def drive_virtually(simulator: VirtualSimulator, row: Row, wishes: Wishes) -> Counts:
    """Ask providers in virtual time."""
    router = await start(simulator, row)
    world = simulator.app.world
    world.reset(simulator.now())
    failures: list[str] = []
    periods: list[Period] = []
    ends_at = simulator.now() + wishes.seconds
    async with asking(router, wishes.clients, failures):
        while (left_s := ends_at - simulator.now()) > _ROUNDING_S:
            await asyncio.sleep(min(left_s, wishes.every_s or left_s))
            goodput = world.goodput(simulator.now(), clients=wishes.clients)
            totals = world.stats(simulator.now())["totals"]
            periods.append(Period(goodput.served, goodput.ideal, totals["refused"]))
    return Counts(goodput_data(goodput), totals, failures, periods)


@asynccontextmanager
async def asking(router: ApiKeyRouter, clients: int, failures: list[str]) -> AsyncIterator[None]:
    """Have clients that ask always; close the router in the end."""
    requests = intents()
    tasks = [asyncio.create_task(ask_always(router, requests, failures)) for _ in range(clients)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await router.close()


def counts_of(row: Row, wishes: Wishes) -> Counts:
    """Run one row."""
    scenario = scenario_of(row, wishes)
    if wishes.is_virtual:
        simulator = VirtualSimulator(scenario)
        return virtual_time.run(lambda: drive_virtually(simulator, row, wishes))
    with RunningSimulator(scenario) as running:
        return asyncio.run(drive(running, row, wishes))


def measure(name: str, row: Row, wishes: Wishes) -> Measured:
    """Run one row, and judge it."""
    counts = counts_of(row, wishes)
    goodput, totals = counts.goodput, counts.totals
    calls = goodput["served"] + totals["refused"] + totals["failed"] + totals["cancelled"]
    return Measured(
        row=name,
        goodput=round(goodput["share"], 4),
        refused=round(totals["refused"] / max(1, calls), 4),
        failures=len(counts.failures),
        served=goodput["served"],
        ideal=round(goodput["ideal"] or 0.0, 1),
        wanted_goodput=row.wanted,
        wanted_refused=row.refused,
        failed_with=counts.failures[:3],
        by_period=[
            period.line_since(before)
            for before, period in pairwise([Period(), *counts.periods])
            if wishes.every_s
        ],
    )


def span(text: str) -> tuple[float, float]:
    """Read `0.05-3`: the shortest and the longest latency in seconds."""
    low, _, high = text.partition("-")
    return float(low), float(high or low)


def main() -> None:
    """Run the table, or the rows that were named."""
    known = TABLE | FURTHER
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=known, metavar="ROW")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--latency", type=span, help="shortest and longest, such as 0.05-3")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of every limit")
    parser.add_argument("--virtual", action="store_true", help="in virtual time, without sockets")
    parser.add_argument("--every", type=float, help="figures of every so many seconds too")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    wishes = Wishes(
        asked.seconds, asked.clients, asked.latency, asked.scale, asked.virtual, asked.every
    )
    for name in asked.only or TABLE:
        if known[name].restarts and wishes.is_virtual:
            continue
        measured = measure(name, known[name], wishes)
        if asked.json:
            print(json.dumps(asdict(measured) | {"ok": measured.is_well}), flush=True)
            continue
        print(measured.line(), flush=True)
        for line in (*measured.by_period, *measured.failed_with):
            print(line, flush=True)


if __name__ == "__main__":
    main()
