"""The proxy in a process of its own, so that its memory and CPU are its own."""

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Self

from apikeyrouter import ApiKeyRouter, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import ProxyApp
from apikeyrouter_proxy.serving import bind, server_for, url_of
from apikeyrouter_proxy.settings import ProxySettings
from apikeyrouter_simulator import RunningSimulator

_AT_REST_WITHIN_S = 15.0


class Proxy:
    """A running proxy, as a context manager.

    Args:
        config: As in a configuration file.
        settings: Of the router, as in the environment.
    """

    def __init__(
        self, config: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, dict(config), dict(settings or {})), daemon=True
        )
        self.url = ""

    @classmethod
    def over(cls, simulator: RunningSimulator, **settings: Any) -> Self:
        """Return a proxy before all providers and keys of a simulator, with no limit declared."""
        providers = simulator.scenario.providers
        config = {
            "providers": {
                name: {"kind": "openai", "base_url": simulator.base_url(name)} for name in providers
            },
            "keys": [
                {"id": key, "provider": name, "secret": facts.secret or key}
                for name, provider in providers.items()
                for key, facts in provider.keys.items()
            ],
        }
        return cls(config, settings)

    def __enter__(self) -> Self:
        self._process.start()
        self.url = self._pipe.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.send("stop")
        self._process.join(timeout=30.0)

    def state(self) -> dict[str, Any]:
        """Return the summary of the router."""
        self._pipe.send("state")
        state: dict[str, Any] = self._pipe.recv()
        return state

    def state_at_rest(self) -> dict[str, Any]:
        """Return the summary once nothing is held any more, or what it is after a while."""
        patience_ends_at = time.monotonic() + _AT_REST_WITHIN_S
        while (state := self.state())["open_reservations"]:
            if time.monotonic() > patience_ends_at:
                break
            time.sleep(0.25)
        return state

    def memory_mb(self) -> float:
        """Return the memory of the process that is really there."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100


def _serve(pipe: Connection, config: dict[str, Any], settings: dict[str, Any]) -> None:
    """Serve until told to stop, and answer questions meanwhile."""
    router = ApiKeyRouter(config=RouterSettings(log_level="CRITICAL", **settings))
    app = ProxyApp(RouterConfig.model_validate(config), router, ProxySettings())
    listener = bind("127.0.0.1", 0)
    loop_of: list[asyncio.AbstractEventLoop] = []
    server = server_for(
        app, host="127.0.0.1", port=0, patience_s=2,
        on_started=lambda: loop_of.append(asyncio.get_running_loop()),
    )  # fmt: skip
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not loop_of:
        time.sleep(0.01)
    pipe.send(url_of(listener))

    async def state() -> dict[str, Any]:
        return router.get_state_summary()

    while pipe.recv() != "stop":
        pipe.send(asyncio.run_coroutine_threadsafe(state(), loop_of[0]).result())
    server.should_exit = True
    thread.join()
