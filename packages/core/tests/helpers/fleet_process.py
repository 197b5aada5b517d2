"""A process of its own: clients that always ask, on a ledger that others share.

    python fleet_process.py BASE_URL LEDGER_URL SECONDS CLIENTS [LIMITS as JSON]

It says `ready`, begins when it reads a line, and prints what came of its requests.
"""

import asyncio
import json
import sys
import time

from apikeyrouter import ApiKeyRouter, RequestIntent
from apikeyrouter.errors import ApiKeyRouterError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.ledger_sharing import share_ledger


async def main() -> None:
    """Ask until the time is over."""
    base_url, ledger_url, seconds, clients, *rest = sys.argv[1:]
    limits = json.loads(rest[0]) if rest else {}
    router = ApiKeyRouter(config={"log_level": "CRITICAL", "max_queue_wait_seconds": 1000})
    await router.register_provider("sim", OpenAIAdapter(base_url=base_url))
    await router.register_key("sk-sim-1", "sim", {"id": "key-1", "limits": limits})
    if ledger_url != "local":
        await share_ledger(router, ledger_url, hold_ttl_s=2.0).start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    counts = {"ok": 0, "error": 0}
    ends_at = time.monotonic() + float(seconds)
    waits: list[float] = []

    async def ask() -> None:
        while time.monotonic() < ends_at:
            began_at = time.monotonic()
            intent = RequestIntent(
                model="small", messages=[{"role": "user", "content": "hello"}],
                parameters={"max_tokens": 5},
            )  # fmt: skip
            try:
                async with asyncio.timeout_at(
                    asyncio.get_running_loop().time() + max(0.0, ends_at - began_at)
                ):
                    await router.route(intent)
                counts["ok"] += 1
                waits.append(time.monotonic() - began_at)
            except TimeoutError:
                return
            except ApiKeyRouterError as error:
                counts["error"] += 1
                print(error, file=sys.stderr)

    cpu = time.process_time()
    await asyncio.gather(*(ask() for _ in range(int(clients))))
    cpu = time.process_time() - cpu
    await router.close()
    print(json.dumps({**counts, "cpu_s": cpu, "longest_s": max(waits, default=0.0)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
