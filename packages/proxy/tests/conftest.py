"""What the service's tests share: simulated providers, an odd upstream, a running proxy."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from apikeyrouter import RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import ProxyApp, create_app
from apikeyrouter_proxy.serving import bind, server_for, url_of
from apikeyrouter_proxy.settings import ProxySettings
from apikeyrouter_simulator import RunningSimulator

SCENARIO = {
    "providers": {
        "sim": {
            "reply": {"tokens": 8},
            "models": ["small", "large"],
            "scopes": {
                "one": {"limits": {"rpm": 60000, "tpm": 100000000}},
                "two": {"limits": {"rpm": 60000, "tpm": 100000000}},
            },
            "keys": {
                "k1": {"secret": "sk-sim-1", "scope": "one"},
                "k2": {"secret": "sk-sim-2", "scope": "two"},
            },
        }
    }
}


class RunningProxy:
    """The service in a thread, on a free port, with these settings of the proxy."""

    def __init__(self, config: dict[str, Any], **settings: Any) -> None:
        self.app: ProxyApp = create_app(
            RouterConfig.model_validate(config),
            settings=RouterSettings(log_level="CRITICAL"),
            proxy_settings=ProxySettings(_env_file=None, **settings),
        )
        self.server = server_for(self.app, host="127.0.0.1", port=0, patience_s=2)
        listener = bind("127.0.0.1", 0)
        self.url = url_of(listener)
        self._thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        self._thread.start()
        while not self.server.started and self._thread.is_alive():
            time.sleep(0.005)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(10)


class RunningApp:
    """Any ASGI callable in a thread, on a free port."""

    def __init__(self, app: Any, host: str = "127.0.0.1") -> None:
        config = uvicorn.Config(app, host=host, port=0, log_level="critical", lifespan="off")
        self._server = uvicorn.Server(config)
        listener = config.bind_socket()
        self.url = url_of(listener)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)


@pytest.fixture(scope="session")
def _running() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
def simulator(_running: RunningSimulator) -> RunningSimulator:
    """The simulated providers, with full buckets and nothing counted."""
    _running.reset()
    return _running


def _starter() -> Iterator[Callable[..., Any]]:
    with ExitStack() as stack:

        def start(what: Any, **more: Any) -> Any:
            kind = RunningProxy if isinstance(what, dict) else RunningApp
            running = kind(what, **more)
            stack.callback(running.stop)
            return running

        yield start


#: Start services that stop with the test, or with the last one of a file.
serve = pytest.fixture(_starter)
serve_long = pytest.fixture(scope="module")(_starter)


def config_for(*base_urls: str, **more: Any) -> dict[str, Any]:
    """Describe one provider a URL, with a key of its own each."""
    return {
        "providers": {
            f"p{number}": {"kind": "openai", "base_url": url}
            for number, url in enumerate(base_urls, 1)
        },
        "keys": [
            {"id": f"key-{number}", "provider": f"p{number}", "secret": f"sk-sim-{number}"}
            for number in range(1, len(base_urls) + 1)
        ],
        **more,
    }


@pytest.fixture(name="config_for")
def _config_for() -> Callable[..., dict[str, Any]]:
    return config_for


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until


@pytest.fixture
def proxy(simulator: RunningSimulator, serve: Callable[..., Any]) -> RunningProxy:
    """The service before two keys of one simulated provider."""
    config = config_for(simulator.base_url())
    config["keys"].append({"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    running: RunningProxy = serve(config)
    return running


async def until(condition: Callable[[], bool], patience_s: float = 5.0) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + patience_s
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110 - a thread's doing
        await asyncio.sleep(0.01)
    assert condition()


@pytest.fixture
def manage(
    serve: Callable[..., Any],
    simulator: RunningSimulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., httpx2.Client]]:
    """Start services with a management key over one SQLite store; returns HTTP clients of them.

    Their clients have no key of their own; `client.running` stops the service.
    """
    with ExitStack() as stack:

        def start(
            key: str | None = "management-key-of-the-tests",
            config: dict[str, Any] | None = None,
            **settings: Any,
        ) -> httpx2.Client:
            if key is not None:
                monkeypatch.setenv("APIKEYROUTER_MANAGEMENT_API_KEY", key)
            facts = config_for(simulator.base_url(), store=f"sqlite:///{tmp_path}/router.db")
            running = serve({**facts, **(config or {})}, **settings)
            client = stack.enter_context(httpx2.Client(base_url=running.url, timeout=10))
            client.running = running
            return client

        yield start
