"""What it costs to wait: a thousand requests at once before an exhausted pool.

Prints CPU per request, beside that of the same request when nobody has to wait,
and how memory grew:

    .venv/bin/python benchmarks/waiting.py [--requests 1000]
"""

import argparse
import asyncio
import resource
import time
from typing import Any

import uvloop

from apikeyrouter import ApiKeyRouter, Demand, ProviderAdapter
from apikeyrouter.domain.limits.observation import Dimension, ObservedLimit

#: What the key may do, and what its provider says is left of it when all ask.
CASES: dict[str, tuple[dict[str, float], ObservedLimit | None]] = {
    "nobody waits": ({"rpm": 1e9}, None),
    "4 calls at once": ({"concurrency": 4}, None),
    "500 requests a second": (
        {"rpm": 30_000},
        ObservedLimit(Dimension.REQUESTS, 30_000.0, 0.0, period_s=60.0),
    ),
    "tokens of 500 requests a second": (
        {"tpm": 600_000},
        ObservedLimit(Dimension.TOKENS, 600_000.0, 0.0, period_s=60.0),
    ),
}


class Nobody(ProviderAdapter):
    """Is never called: what is measured is the way to a key."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        raise NotImplementedError

    def normalize_response(self, raw: Any) -> Any:
        raise NotImplementedError


async def run(
    limits: dict[str, float], told: ObservedLimit | None, requests: int, clients: int
) -> tuple[float, float, int]:
    """Return CPU microseconds a request, seconds in all, and how many were served."""
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("p", Nobody())
    await router.register_key("sk-1", "p", {"id": "key", "limits": limits})
    served = 0

    async def one(name: str, client: str) -> None:
        nonlocal served
        demand = Demand(
            model="m", request_id=name, client=client, max_wait=60, input_tokens=10, output_cap=10
        )
        async for attempt in router.attempts(demand):
            await asyncio.sleep(0)
            attempt.settle(10, 10)
            served += 1

    await one("first", "")
    if told is not None:
        await router.quota_awareness_engine.handle_quota_response("key", limits=(told,))
    cpu, wall = time.process_time(), time.monotonic()
    await asyncio.gather(*(one(f"r{n}", f"c{n % clients}") for n in range(requests)))
    cpu_us = (time.process_time() - cpu) / requests * 1e6
    seconds = time.monotonic() - wall
    await router.close()
    return cpu_us, seconds, served - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=20)
    asked = parser.parse_args()
    for name, (limits, told) in CASES.items():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cpu_us, seconds, served = uvloop.run(run(limits, told, asked.requests, asked.clients))
        grew = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(
            f"{name:32} CPU {cpu_us:6.1f} us a request, {served} served in {seconds:.2f} s, "
            f"memory +{grew:.1f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
