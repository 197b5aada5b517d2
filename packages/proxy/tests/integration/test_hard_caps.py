"""A hard budget of the service holds on every store, however often it is killed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from store_servers import mongo, postgres, valkey

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
#: Requests at a tenth of a cent each that the budget has, and those that are under way at once.
CAP, CALLERS, KILLS = 1500, 8, 5
#: A block is a hundredth of the cap at most, and half of the next may be borrowed by then.
LOST_A_KILL = CAP * 0.015 + CALLERS
ENVIRON = {
    "APIKEYROUTER_ENCRYPTION_KEY": "a2V5LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5LWFiY2Q=",
    "SHUTDOWN_TIMEOUT_SECONDS": "5",
}
SERVERS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "postgres": postgres,
    "valkey": valkey,
    "mongo": mongo,
}


def write_config(folder: Path, base_url: str, store: str) -> None:
    (folder / "router.yaml").write_text(
        f"version: 1\nstore: {store}\nserver: {{port: 0, max_queue_wait: 0s}}\n"
        f"providers:\n  sim: {{kind: openai, base_url: '{base_url}', models: [small]}}\n"
        "keys: [{id: one, provider: sim, secret: sk-sim-1}]\n"
        "prices: [{provider: sim, per_request_usd: 0.001}]\n"
        f"budgets: [{{id: all, scope: global, limit_usd: {CAP / 1000}, period: total}}]\n"
    )


class Service:
    """A running service; it is killed when it has given as many answers as it should."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process, self.url = process, url
        self.answers = 0
        self.refusal = ""

    async def call(self, session: aiohttp.ClientSession, kill_after: float) -> None:
        """Make calls until one is refused, or nobody answers any more."""
        while True:
            try:
                async with session.post(f"{self.url}/v1/chat/completions", json=CHAT) as answer:
                    text = await answer.text()
            except (aiohttp.ClientError, ConnectionError):
                return
            if answer.status == 429:
                self.refusal = text
                return
            assert answer.status == 200, text
            self.answers += 1
            if self.answers == kill_after:
                self.process.kill()

    async def use(self, kill_after: float) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
            await asyncio.gather(*(self.call(session, kill_after) for _ in range(CALLERS)))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    env = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
    process = await asyncio.create_subprocess_exec(
        COMMAND, "serve", "--config", "router.yaml", cwd=folder, env={**env, **ENVIRON},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        first = (await process.stdout.readline()).decode()
        assert "listening on " in first, (await process.communicate())[1]
        yield Service(process, first.split("listening on ")[1].split()[0])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


@pytest.mark.parametrize("kind", ["sqlite", *SERVERS])
async def test_hard_budget_holds_however_often_the_service_is_killed(
    kind: str, tmp_path: Path, simulator: RunningSimulator
) -> None:
    with ExitStack() as stack:
        store = "sqlite:///router.db"
        if kind in SERVERS:
            store = stack.enter_context(SERVERS[kind](tmp_path))
        write_config(tmp_path, simulator.base_url(), store)
        for kill in range(KILLS):
            async with serving(tmp_path) as service:
                await service.use(kill_after=90 + 60 * kill)
        async with serving(tmp_path) as service:
            await service.use(kill_after=float("inf"))
    assert "budget 'all' has $0.00" in service.refusal
    assert CAP - KILLS * LOST_A_KILL <= simulator.stats()["totals"]["accepted"] <= CAP
