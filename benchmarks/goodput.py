"""How much of what is possible gets through, with limits that nobody declared.

Six keys in three classes (one bound by tokens), strict buckets that start
full, 16 clients that ask again as soon as they are answered. Prints served /
possible, calls refused by the provider, and failures that clients saw:

    .venv/bin/python benchmarks/goodput.py --seconds 60 [--case NAME]
"""

import argparse
import asyncio
import time
from typing import Any

from apikeyrouter import ApiKeyRouter, ApiKeyRouterError, RequestIntent
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter_simulator import RunningSimulator

CLIENTS = 16
LIMITS = {
    "a1": {"rpm": 600},
    "a2": {"rpm": 600},
    "b1": {"rpm": 120},
    "b2": {"rpm": 120},
    "c1": {"rpm": 3000, "tpm": 12000},
    "c2": {"rpm": 3000, "tpm": 12000},
}
INTENT = RequestIntent.model_validate(
    {
        "model": "m",
        "messages": [{"role": "user", "content": "Say something about routing, please."}],
        "parameters": {"max_tokens": 40},
    }
)


def scenario(case: str, seconds: float) -> dict[str, Any]:
    scope_of = {name: name for name in LIMITS}
    if case == "shared":
        scope_of["a2"] = "a1"
    tells = {
        "silent": {"headers": "none"},
        "curt": {"headers": "none", "refusals": "wait"},
    }.get(case, {"refusals": "wait"})
    conditions: list[dict[str, Any]] = []
    if case == "third-party":
        conditions.append({"kind": "consume", "scope": "a1", "fraction": 0.3})
    if case == "halved":
        halves = {name: value / 2 for name, value in LIMITS["a1"].items()}
        conditions.append(
            {"kind": "limit", "scope": "a1", "limits": halves, "after_s": seconds / 2}
        )
    return {
        "providers": {
            "sim": {
                **tells,
                "reply": {"tokens": 40, "first_token_s": 0.01},
                "scopes": {name: {"limits": limits} for name, limits in LIMITS.items()},
                "keys": {n: {"secret": f"sk-{n}", "scope": scope_of[n]} for n in LIMITS},
            }
        },
        "conditions": conditions,
    }


def declared(case: str, name: str) -> dict[str, float]:
    factor = {"declared-double": 2.0, "declared-half": 0.5}.get(case)
    return {n: v * factor for n, v in LIMITS[name].items()} if factor else {}


CASES = (
    "hidden", "declared-double", "declared-half", "shared", "third-party", "halved", "restart",
    "curt", "silent",
)  # fmt: skip


async def drive(simulator: RunningSimulator, case: str, seconds: float) -> tuple[int, list[str]]:
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("sim", OpenAIAdapter(base_url=simulator.base_url()))
    for name in LIMITS:
        await router.register_key(f"sk-{name}", "sim", {"id": name, "limits": declared(case, name)})
    ends_at = time.monotonic() + seconds
    failures: list[str] = []
    served = 0

    async def client() -> None:
        nonlocal served
        while (left := ends_at - time.monotonic()) > 0:
            try:
                await asyncio.wait_for(router.route(INTENT), left)
                served += 1
            except TimeoutError:
                return
            except ApiKeyRouterError as error:
                failures.append(str(error)[:120])

    tasks = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    if case == "restart":
        await asyncio.sleep(seconds / 2)
        await asyncio.to_thread(simulator.stop)
        await asyncio.sleep(1.0)
        await asyncio.to_thread(simulator.start)
    await asyncio.gather(*tasks)
    await router.close()
    return served, failures


def run(case: str, seconds: float) -> dict[str, float]:
    with RunningSimulator(scenario(case, seconds)) as simulator:
        simulator.reset()
        _, failures = asyncio.run(drive(simulator, case, seconds))
        stats = simulator.stats()
    scopes = stats["scopes"].values()
    possible = sum(
        s["possible_requests"] for s in scopes if s["possible_requests"] and s["accepted"]
    )
    totals = stats["totals"]
    calls = totals["accepted"] + totals["refused"] + totals["failed"]
    for failure in failures[:3]:
        print("  ", failure)
    return {
        "share": totals["accepted"] / possible,
        "refused": totals["refused"] / calls,
        "failures": len(failures),
        "served": totals["accepted"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--case", choices=CASES)
    arguments = parser.parse_args()
    for name in [arguments.case] if arguments.case else CASES:
        got = run(name, arguments.seconds)
        print(
            f"{name:16} served/possible {got['share']:.4f}  refused {got['refused']:.4f}  "
            f"client failures {got['failures']:.0f}  served {got['served']:.0f}",
            flush=True,
        )
