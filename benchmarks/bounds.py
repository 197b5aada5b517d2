"""What clients and configurations can make the proxy keep.

- 600 model names that no provider knows, asked of 500 keys: memory that grew, calls upstream for
  each name, CPU for each request.
- 10,000 keys of 10 providers: memory, and the time until the proxy answers.

    .venv/bin/python benchmarks/bounds.py [--only bogus|keys] [--json]
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from typing import Any

import aiohttp
from proxy_process import Proxy

from apikeyrouter_simulator import RunningSimulator

MODELS = ["small", "large"]
CLIENTS = 8


def scenario(providers: int, keys: int) -> dict[str, Any]:
    """Return providers with so many keys each; all keys have accounts of their own."""
    return {
        "providers": {
            f"p{provider}": {
                "models": MODELS,
                "scopes": {f"s{key}": {"limits": {"rpm": 6000}} for key in range(keys)},
                "keys": {
                    f"p{provider}-k{key}": {
                        "scope": f"s{key}",
                        "secret": f"sk-p{provider}-{key:05}",
                    }
                    for key in range(keys)
                },
            }
            for provider in range(providers)
        }
    }


async def ask(url: str, models: list[str]) -> Counter[str]:
    """Ask once of every model, a few at a time; count the statuses."""
    statuses: Counter[str] = Counter()
    names = iter(models)
    async with aiohttp.ClientSession() as session:

        async def client() -> None:
            for name in names:
                request = {"model": name, "messages": [{"role": "user", "content": "Hello!"}]}
                async with session.post(f"{url}/v1/chat/completions", json=request) as answer:
                    await answer.read()
                statuses[str(answer.status)] += 1

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return statuses


def bogus_models(keys: int = 500, names: int = 600) -> dict[str, Any]:
    """Ask for names that nobody knows."""
    with RunningSimulator(scenario(1, keys)) as simulator, Proxy.over(simulator) as proxy:
        asyncio.run(ask(proxy.url, MODELS * 100))
        before_mb, before_cpu = proxy.memory_mb(), proxy.cpu_s()
        before = simulator.stats()["keys"].values()
        calls, lists = (sum(key[n] for key in before) for n in ("failed", "listed"))
        began = time.monotonic()
        statuses = asyncio.run(ask(proxy.url, [f"bogus-{n}" for n in range(names)]))
        seconds = time.monotonic() - began
        after = simulator.stats()["keys"].values()
        calls, lists = (
            sum(key[n] for key in after) - was for n, was in (("failed", calls), ("listed", lists))
        )
        per_model = Counter(
            entry["model"] for entry in simulator.log() if entry["model"].startswith("bogus-")
        )
        return {
            "statuses": dict(statuses),
            "memory grown, MB": round(proxy.memory_mb() - before_mb, 1),
            "calls upstream for a name": round(calls / names, 2),
            "at most": max(per_model.values(), default=0),
            "model lists asked": lists,
            "CPU for a request, ms": round((proxy.cpu_s() - before_cpu) / names * 1000, 2),
            "seconds": round(seconds, 1),
        }


def many_keys(providers: int = 10, keys: int = 1000) -> dict[str, Any]:
    """Hold ten thousand keys."""
    with RunningSimulator(scenario(providers, keys)) as simulator:
        began = time.monotonic()
        with Proxy.over(simulator) as proxy:
            started_s = time.monotonic() - began
            started_mb = proxy.memory_mb()
            statuses = asyncio.run(ask(proxy.url, MODELS * 500))
            return {
                "statuses": dict(statuses),
                "seconds to start": round(started_s, 1),
                "memory at the start, MB": round(started_mb, 1),
                "memory after 1,000 requests, MB": round(proxy.memory_mb(), 1),
                "CPU in all, s": round(proxy.cpu_s(), 1),
            }


CASES = {
    "bogus": (
        bogus_models,
        {"memory grown, MB": 20.0, "at most": 2, "CPU for a request, ms": 5.0},
    ),
    "keys": (many_keys, {"memory after 1,000 requests, MB": 150.0}),
}


def main() -> None:
    """Run the cases, and say what is beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    for name in [asked.only] if asked.only else CASES:
        run, bounds = CASES[name]
        measured = run()
        if asked.json:
            print(json.dumps({"case": name, **measured}))
            continue
        print(name)
        for what, value in measured.items():
            bound = f"(<= {bounds[what]:g})" if what in bounds else ""
            missed = "MISSED" if what in bounds and value > bounds[what] else ""
            print(f"  {what:34} {value!s:30} {bound} {missed}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
