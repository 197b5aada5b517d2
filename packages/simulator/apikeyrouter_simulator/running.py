"""A simulator that runs in a thread of this process, for tests and demos."""

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import uvicorn

from apikeyrouter_simulator import library
from apikeyrouter_simulator.app import Simulator, create_app
from apikeyrouter_simulator.scenario import Scenario

_START_PATIENCE_S = 10.0


def server_for(app: Simulator, *, log_level: str = "critical") -> uvicorn.Server:
    """Return a server that does as little as possible around *app*."""
    config = uvicorn.Config(
        app, log_level=log_level, access_log=False, lifespan="off", timeout_keep_alive=75,
        server_header=False, date_header=False, timeout_graceful_shutdown=1, ws="wsproto",
    )  # fmt: skip
    return uvicorn.Server(config)


class RunningSimulator:
    """Simulated providers on a loopback port, as a context manager.

    Args:
        scenario: A scenario, the name of one that ships with the package, a path, plain data, or
            `None` for the demo's.
        port: 0 takes a free one.

    Attributes:
        url: Where it listens, without a path.
    """

    def __init__(
        self,
        scenario: Scenario | str | Path | Mapping[str, Any] | None = None,
        *,
        port: int = 0,
    ) -> None:
        if scenario is None:
            scenario = library.find("demo")
        elif isinstance(scenario, Mapping):
            scenario = Scenario.from_dict(scenario)
        elif isinstance(scenario, str | Path):
            scenario = library.find(scenario)
        self.scenario = scenario
        self.app = create_app(scenario)
        self._port = port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._port}"

    def base_url(self, provider: str | None = None) -> str:
        """Return the base URL of a provider, the first one's if `None`."""
        return f"{self.url}/{provider}/v1" if provider else f"{self.url}/v1"

    def start(self) -> None:
        """Listen; after a stop on the same port again, with all that was counted."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._server = server = server_for(self.app)
        self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_PATIENCE_S
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self) -> None:
        """Stop listening; open connections are dropped."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(timeout=5.0)
        self._server = self._thread = None

    def stats(self) -> dict[str, Any]:
        """Return what was served."""
        data = self.control("GET", "stats")
        assert isinstance(data, dict)  # noqa: S101 - so it is made
        return data

    def log(self) -> list[dict[str, Any]]:
        """Return the latest calls: when, by which key, of which model, with what status."""
        data = self.control("GET", "log?limit=10000")
        assert isinstance(data, list)  # noqa: S101 - so it is made
        return data

    def goodput(self, *, clients: int | None = None) -> dict[str, Any]:
        """Return what was served beside what an ideal user, of so many clients, would have got."""
        data = self.control("GET", f"goodput?clients={clients}" if clients else "goodput")
        assert isinstance(data, dict)  # noqa: S101 - so it is made
        return data

    def reset(self) -> None:
        """Begin anew: full buckets, empty counts."""
        self.control("POST", "reset")

    def condition(self, **fields: Any) -> int:
        """Let something happen; return its number."""
        data = self.control("POST", "conditions", fields)
        assert isinstance(data, dict)  # noqa: S101 - so it is made
        return int(data["id"])

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask the control endpoint.

        Raises:
            urllib.error.HTTPError: It refused; the body says why.
        """
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            f"{self.url}/_control/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
        )
        with urllib.request.urlopen(request, timeout=10.0) as answer:  # noqa: S310 - as above
            return json.load(answer)
