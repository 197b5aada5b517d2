"""What the library's tests share: simulated providers, and bytes of our own, on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from apikeyrouter_simulator import RunningSimulator

pytest.register_assert_rewrite("store_contract", "store_changes_contract")

SCENARIO = {
    "providers": {
        "sim": {
            "models": ["small", "large"],
            "account_header": False,
            "reply": {"tokens": 8},
            "scopes": {
                "one": {"limits": {"rpm": 6000, "tpm": 1000000}},
                "two": {"limits": {"rpm": 6000, "tpm": 1000000}},
                "tight": {"limits": {"rpm": 60}},
            },
            "keys": {
                "k1": {"secret": "sk-sim-1", "scope": "one"},
                "k2": {"secret": "sk-sim-2", "scope": "two"},
                "k3": {"secret": "sk-sim-3", "scope": "tight"},
            },
        }
    }
}


@pytest.fixture(scope="session")
def _running() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as simulator:
        yield simulator


@pytest.fixture
def simulator(_running: RunningSimulator) -> RunningSimulator:
    _running.reset()
    return _running


@dataclass
class RawCall:
    """One request as it came, and the way to answer it byte by byte."""

    head: str
    body: bytes
    connection: int
    #: How many requests came over this connection before.
    before: int
    _writer: asyncio.StreamWriter

    async def write(self, *pieces: bytes) -> None:
        """Send each piece by itself."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        """Answer whole; `_` in the name of a header stands for `-`."""
        lines = {"content-type": "application/json", "content-length": str(len(body))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        await self.write(_head(status, lines) + body)

    async def stream(self, *pieces: bytes, kind: str = "text/event-stream", **headers: str) -> None:
        """Send the head and pieces of a stream that does not end yet."""
        lines = {"transfer-encoding": "chunked"} | ({"content-type": kind} if kind else {})
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        await self.write(_head(200, lines))
        await self.more(*pieces)

    async def more(self, *pieces: bytes) -> None:
        await self.write(*(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces))

    async def end(self) -> None:
        await self.write(b"0\r\n\r\n")

    def reset(self) -> None:
        """Drop the connection as a dead peer does."""
        self._writer.transport.abort()


class RawProvider:
    """A provider on a raw socket; each call is answered by *script*."""

    def __init__(self, script: Callable[[RawCall], Awaitable[object]], **server: Any) -> None:
        self._script = script
        self._options = server
        self.calls: list[RawCall] = []
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> "RawProvider":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **self._options)
        return self

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        connection, before = self._connections, 0
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            while not writer.transport.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                body = await reader.readexactly(_length_in(head))
                call = RawCall(head, body, connection, before, writer)
                before += 1
                self.calls.append(call)
                await self._script(call)
        writer.transport.abort()


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def _length_in(head: str) -> int:
    for line in head.lower().split("\r\n"):
        if line.startswith("content-length:"):
            return int(line.partition(":")[2])
    return 0


@pytest.fixture
async def provide() -> AsyncIterator[Callable[..., Awaitable[RawProvider]]]:
    """Start providers on raw sockets that stop with the test."""
    async with AsyncExitStack() as stack:

        async def start(
            script: Callable[[RawCall], Awaitable[object]], **server: Any
        ) -> RawProvider:
            provider = await RawProvider(script, **server).start()
            stack.push_async_callback(provider.stop)
            return provider

        yield start
