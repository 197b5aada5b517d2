"""Minutes within seconds: an event loop whose clock jumps, and providers without sockets.

When nothing is ready to run, the loop's clock jumps to the next timer. Whatever takes its time from
the loop (sleeps, timeouts, the simulator, the router) then lives in that time. Nothing may wait
for a socket or a thread.
"""

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp

from apikeyrouter.domain.interfaces.wire import WireResponse
from apikeyrouter.infrastructure.adapters.transport import Transport
from apikeyrouter_simulator import Scenario, create_app
from apikeyrouter_simulator.app import Simulator

T = TypeVar("T")

#: Virtual time begins here, in seconds since the epoch.
EPOCH_S = 1_800_000_000.0
#: How long a message is on its way.
_WAY_S = 0.001


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self.now


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let time pass at once, if nothing is ready."""
        if timeout is None:
            raise RuntimeError("everybody waits for something that is not in virtual time")
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout > 0:
            self._loop.now += timeout
        return ready


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine in virtual time."""

    async def body() -> T:
        return await main()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(body())


class VirtualSimulator(Transport):
    """Simulated providers, and the transport that reaches them without a socket."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self.scenario = scenario
        self.app: Simulator = create_app(scenario, self.now)

    def now(self) -> float:
        """Return the virtual moment; the beginning of time outside of a loop."""
        try:
            return EPOCH_S + asyncio.get_running_loop().time()
        except RuntimeError:
            return EPOCH_S

    def base_url(self, provider: str) -> str:
        """Return the base URL of a provider."""
        return f"http://simulator/{provider}/v1"

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> WireResponse:
        """Ask the application itself.

        Raises:
            aiohttp.ClientError: It dropped the connection.
        """
        exchange = _Exchange(body)
        scope = {
            "type": "http",
            "method": method,
            "path": urlsplit(url).path,
            "query_string": b"",
            "headers": [(n.lower().encode(), v.encode()) for n, v in headers.items()],
        }
        await asyncio.sleep(_WAY_S)
        await self.app(scope, exchange.receive, exchange.send)
        await asyncio.sleep(_WAY_S)
        return exchange.response()


class _Exchange:
    """One request and its answer, as ASGI messages; also the connection that may be dropped."""

    def __init__(self, body: bytes) -> None:
        self._request = body
        self._is_sent = False
        self._is_dropped = False
        self._status = 0
        self._headers: dict[str, str] = {}
        self._raw: tuple[tuple[bytes, bytes], ...] = ()
        self._body = b""
        self.transport = self

    def abort(self) -> None:
        """Drop the connection."""
        self._is_dropped = True

    async def receive(self) -> dict[str, Any]:
        """Give the request, then nothing: the client stays."""
        if self._is_sent:
            await asyncio.get_running_loop().create_future()
        self._is_sent = True
        return {"type": "http.request", "body": self._request}

    async def send(self, message: Mapping[str, Any]) -> None:
        """Take a part of the answer."""
        if message["type"] == "http.response.start":
            self._status, self._raw = message["status"], tuple(message["headers"])
            self._headers = {n.decode(): v.decode() for n, v in self._raw}
        else:
            self._body += message["body"]

    def response(self) -> WireResponse:
        """Return the answer."""
        if self._is_dropped:
            raise aiohttp.ServerDisconnectedError

        async def read() -> bytes:
            return self._body

        async def chunks() -> AsyncIterator[bytes]:
            yield self._body

        return WireResponse(
            status=self._status,
            headers=self._headers,
            chunks=chunks(),
            read=read,
            close=lambda: None,
            raw_headers=self._raw,
            content_type=self._headers.get("content-type", ""),
        )
