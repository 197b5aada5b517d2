"""The proxy under everything that goes wrong at once, for minutes.

Four keys of two providers serve three models to 50 clients, plain and streamed. Meanwhile calls are
refused, cut, stalled and slowed at random, clients leave midway, and the providers restart. Every
request bears a nonce that the provider repeats. In the end

- every answer belongs to its asker,
- no hold is left and nobody waits,
- the memory of the proxy has not grown since the first fifth of the time.

    .venv/bin/python benchmarks/chaos.py [--seconds 300] [--clients 50] [--json]

The exit status is 1 if any of these does not hold.
"""

import argparse
import asyncio
import json
import random
import re
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from load import prompt, sizes
from proxy_process import Proxy

from apikeyrouter_simulator import RunningSimulator

MODELS = ("small", "medium", "large")
#: The proxy may keep so much more at the end than after the first fifth.
MEMORY_MB = 8.0
_NONCE = re.compile(r"nonce-[0-9a-f]{32}")
_REPLY = {
    "tokens": 40, "tokens_spread": 0.7, "first_token_s": 0.05, "first_token_spread": 1.0,
    "first_token_max_s": 3.0, "tokens_per_s": 400.0, "echoes": True,
}  # fmt: skip
SCENARIO: dict[str, Any] = {
    "seed": 3,
    "providers": {
        "ash": {
            "models": list(MODELS),
            "reply": _REPLY,
            "scopes": {
                "a1": {"limits": {"rpm": 3000, "tpm": 600_000}},
                "a2": {"limits": {"rpm": 1500, "concurrency": 20}},
            },
            "keys": {name: {"scope": name, "secret": f"sk-{name}"} for name in ("a1", "a2")},
        },
        "beech": {
            "models": list(MODELS),
            "headers": "none",
            "reply": _REPLY,
            "scopes": {
                "b1": {"limits": {"rpm": 2000}, "algorithm": "rolling"},
                "b2": {"limits": {"concurrency": 15}},
            },
            "keys": {name: {"scope": name, "secret": f"sk-{name}"} for name in ("b1", "b2")},
        },
    },
    "conditions": [
        {"kind": "status", "status": 429, "probability": 0.02, "retry_after_s": 1},
        {"kind": "status", "status": 500, "probability": 0.02},
        {"kind": "status", "status": 503, "probability": 0.01},
        {"kind": "status", "status": 404, "probability": 0.001},
        {"kind": "cut", "probability": 0.02, "chunks": -1},
        {"kind": "cut", "probability": 0.02, "chunks": 3},
        {"kind": "stall", "probability": 0.005, "chunks": 2},
        {"kind": "slow_first_token", "probability": 0.01, "seconds": 4.0},
        {"kind": "no_finish", "probability": 0.005},
    ],
}


@dataclass
class Tally:
    """What the clients saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    strangers: int = 0
    unreadable: int = 0


async def client(session: aiohttp.ClientSession, url: str, ends_at: float, tally: Tally) -> None:
    """Ask, sometimes leave, and look whose answer comes."""
    chance = random.Random()
    requests = sizes(chance.randrange(1_000_000))
    while time.monotonic() < ends_at:
        nonce = f"nonce-{uuid.uuid4().hex}"
        characters, cap = next(requests)
        request = {
            "model": chance.choice(MODELS),
            "max_tokens": cap,
            "stream": chance.random() < 0.5,
            "messages": [{"role": "user", "content": f"{prompt(characters)} {nonce}"}],
        }
        patience_s = chance.uniform(0.0, 0.6) if chance.random() < 0.1 else 60.0
        try:
            async with asyncio.timeout(patience_s):
                await ask(session, url, request, nonce, tally)
        except TimeoutError:
            tally.outcomes["left" if patience_s < 60.0 else "60 s without an end"] += 1
        except aiohttp.ClientError as error:
            tally.outcomes[type(error).__name__] += 1


async def ask(
    session: aiohttp.ClientSession, url: str, request: dict[str, Any], nonce: str, tally: Tally
) -> None:
    """Ask once, and judge the answer."""
    async with session.post(f"{url}/v1/chat/completions", json=request) as answer:
        text = (await answer.read()).decode()
    if set(_NONCE.findall(text)) - {nonce}:
        tally.strangers += 1
    if answer.status != 200:
        tally.outcomes[str(answer.status)] += 1
        tally.unreadable += not is_error(text)
    elif nonce not in text or (request["stream"] and "[DONE]" not in text[-64:]):
        tally.outcomes["broken off"] += 1
    else:
        tally.outcomes["served"] += 1


def is_error(text: str) -> bool:
    """Tell whether it is an error as clients read it."""
    try:
        return bool(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return False


async def restart(simulator: RunningSimulator, ends_at: float, every_s: float) -> None:
    """Take the providers away for a moment, again and again."""
    while time.monotonic() + every_s < ends_at:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(simulator.stop)
        await asyncio.sleep(0.7)
        await asyncio.to_thread(simulator.start)


async def drive(
    simulator: RunningSimulator, proxy: Proxy, seconds: float, clients: int
) -> tuple[Tally, list[float]]:
    """Let it all happen; return what clients saw, and the memory of the proxy over time."""
    tally, memory_mb = Tally(), []
    ends_at = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        tasks = [
            asyncio.create_task(client(session, proxy.url, ends_at, tally)) for _ in range(clients)
        ]
        tasks.append(asyncio.create_task(restart(simulator, ends_at, max(5.0, seconds / 8))))
        while not all(task.done() for task in tasks):
            memory_mb.append(proxy.memory_mb())
            await asyncio.wait(tasks, timeout=seconds / 50)
        await asyncio.gather(*tasks)
    return tally, memory_mb


def main() -> None:
    """Run, report, and fail if anything does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with RunningSimulator(SCENARIO) as simulator, Proxy.over(simulator) as proxy:
        tally, memory_mb = asyncio.run(drive(simulator, proxy, asked.seconds, asked.clients))
        share = simulator.goodput(clients=asked.clients)["share"]
        state = proxy.state_at_rest()
    grown_mb = max(memory_mb[-5:]) - max(memory_mb[: max(1, len(memory_mb) // 5)])
    report = {
        "share of the ideal served": round(share, 3),
        "outcomes": dict(tally.outcomes.most_common()),
        "answers of others": tally.strangers,
        "errors that are no JSON": tally.unreadable,
        "holds left": state["open_reservations"],
        "in flight": sum(key["in_flight"] for key in state["keys"]),
        "waiting": state["waiting"],
        "memory grown, MB": round(grown_mb, 1),
    }
    bad = {name: value for name, value in list(report.items())[2:] if value}
    if report["memory grown, MB"] <= MEMORY_MB:
        bad.pop("memory grown, MB", None)
    if asked.json:
        print(json.dumps(report | {"ok": not bad}))
    else:
        for name, value in report.items():
            print(f"{name:26} {value}")
        print("ok" if not bad else f"MISSED: {', '.join(bad)}")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
