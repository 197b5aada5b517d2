"""The demo: simulated providers, the proxy, traffic, and a live table.

Everything talks real HTTP on loopback ports. The limits of the simulated
providers are told to nobody; the router learns them.
"""

import asyncio
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from apikeyrouter import ApiKeyRouter, RouterSettings
from apikeyrouter.infrastructure.config.model import (
    KeyConfig,
    ProviderConfig,
    RouterConfig,
    ServerConfig,
)
from apikeyrouter.service import DIRECT
from apikeyrouter_proxy.app import ProxyApp
from apikeyrouter_proxy.event_board import EventBoard
from apikeyrouter_proxy.serving import bind, server_for, url_of
from apikeyrouter_proxy.settings import ProxySettings
from apikeyrouter_simulator import RunningSimulator

CLIENTS = 12
_SUMMARY_TIMEOUT_S = 10.0
#: Longest wait for room; some scenarios have none for a minute.
_MAX_WAIT_S = 120.0
#: Sizes of what is asked: words of the prompt and output cap.
_SIZES = ((2, 24), (10, 24), (40, 60), (80, 24), (200, 120))


@dataclass(slots=True)
class Traffic:
    """What the clients sent and got."""

    sent: int = 0
    ok: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    waits_ms: list[float] = field(default_factory=list)
    by_key: Counter[str] = field(default_factory=Counter)

    def note(self, status: str, key: str | None, seconds: float) -> None:
        """Count one answered request."""
        if status == "200":
            self.ok += 1
            self.waits_ms.append(seconds * 1000.0)
            if key:
                self.by_key[key] += 1
        else:
            self.statuses[status] += 1

    def percentile(self, share: float) -> float:
        """Return the time within which that share of the answers came, in milliseconds."""
        if not self.waits_ms:
            return 0.0
        ordered = sorted(self.waits_ms)
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)


class Demo:
    """Simulator, proxy and traffic, for some seconds.

    Args:
        port: Of the proxy; 0 takes a free one.
        scenario: Name of a scenario that ships with the simulator, or a YAML file.

    Raises:
        ScenarioError: There is no such scenario, or it is wrong.
    """

    def __init__(self, *, port: int = 0, scenario: str = "demo") -> None:
        self._port = port
        self.traffic = Traffic()
        #: What the router tells of itself.
        self.board = EventBoard()
        self.router: ApiKeyRouter | None = None
        #: The server's, on which the router lives; `None` before it starts.
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = ""
        self.simulator = RunningSimulator(scenario)
        self.seconds_left = 0.0

    def run(self, seconds: float, *, watch: Any = None) -> dict[str, Any]:
        """Send traffic for *seconds*; call `watch(demo)` a few times a second; return the sums."""
        with self.simulator:
            router = ApiKeyRouter(config=RouterSettings(log_level="ERROR"))
            app = ProxyApp(_config_for(self.simulator), router, ProxySettings())
            self.router = app.router
            app.router.listeners.append(self.board.note)
            server = server_for(
                app, host="127.0.0.1", port=self._port, patience_s=5, on_started=self._note_loop
            )
            listener = bind("127.0.0.1", self._port)
            self.url = url_of(listener)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            try:
                while not server.started and thread.is_alive():
                    time.sleep(0.01)
                asyncio.run(self._send_for(seconds, watch))
            finally:
                server.should_exit = True
                thread.join()
            return self._sums()

    def summary(self) -> dict[str, Any]:
        """Return the router's state, taken on its own loop as long as that runs."""
        assert self.router is not None  # noqa: S101 - it runs
        if self._loop is None or self._loop.is_closed():
            return self.router.get_state_summary()
        return asyncio.run_coroutine_threadsafe(self._take_summary(), self._loop).result(
            timeout=_SUMMARY_TIMEOUT_S
        )

    async def _take_summary(self) -> dict[str, Any]:
        assert self.router is not None  # noqa: S101 - it runs
        return self.router.get_state_summary()

    def _note_loop(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def _send_for(self, seconds: float, watch: Any) -> None:
        ends_at = time.monotonic() + seconds
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            clients = [
                asyncio.create_task(self._client(session, number, ends_at))
                for number in range(CLIENTS)
            ]
            while not all(client.done() for client in clients):
                self.seconds_left = max(0.0, ends_at - time.monotonic())
                if watch is not None:
                    watch(self)
                await asyncio.sleep(0.25)
            await asyncio.gather(*clients)

    async def _client(self, session: aiohttp.ClientSession, number: int, ends_at: float) -> None:
        """Ask again as soon as there is an answer; every other client streams."""
        bodies = _bodies(_model_of(self.simulator), stream=bool(number % 2))
        chance = random.Random(number)  # noqa: S311 - repeatable, no secret
        while time.monotonic() < ends_at:
            self.traffic.sent += 1
            started = time.monotonic()
            try:
                async with session.post(
                    f"{self.url}/v1/chat/completions",
                    data=chance.choice(bodies),
                    headers={"content-type": "application/json"},
                ) as answer:
                    text = await answer.read()
                    status = str(answer.status)
                    if status == "200" and number % 2 and b"[DONE]" not in text[-64:]:
                        status = "stream cut"
                    key = answer.headers.get("x-key-used")
            except aiohttp.ClientError as error:
                status, key = type(error).__name__, None
            self.traffic.note(status, key, time.monotonic() - started)

    def _sums(self) -> dict[str, Any]:
        stats = self.simulator.stats()
        totals, traffic = stats["totals"], self.traffic
        return {
            "sent": traffic.sent,
            "ok": traffic.ok,
            "client_errors": traffic.sent - traffic.ok,
            "upstream_calls": totals["accepted"] + totals["refused"] + totals["failed"],
            "upstream_429": totals["refused"],
            "by_key": dict(sorted(traffic.by_key.items())),
            "p50_ms": traffic.percentile(0.50),
            "p95_ms": traffic.percentile(0.95),
        }


def _model_of(simulator: RunningSimulator) -> str:
    """Return a model that the simulated providers serve."""
    named = [m for facts in simulator.scenario.providers.values() for m in facts.models]
    return named[0] if named else "sim-small"


def _bodies(model: str, *, stream: bool) -> list[bytes]:
    """Write a request of every size."""
    requests = [
        {
            "model": model,
            "max_tokens": cap,
            "stream": stream,
            "messages": [{"role": "user", "content": "Hello! " * words}],
        }
        for words, cap in _SIZES
    ]
    return [json.dumps(request).encode() for request in requests]


def _config_for(simulator: RunningSimulator) -> RouterConfig:
    """Describe the simulated providers as an operator would, without any limit."""
    providers = simulator.scenario.providers
    return RouterConfig(
        server=ServerConfig(max_queue_wait=_MAX_WAIT_S),
        providers={
            name: ProviderConfig(kind="openai", base_url=simulator.base_url(name), proxy=DIRECT)
            for name in providers
        },
        keys=[
            KeyConfig.model_validate(
                {"id": key_name, "provider": name, "secret": key.secret or key_name}
            )
            for name, provider in providers.items()
            for key_name, key in provider.keys.items()
        ],
    )
