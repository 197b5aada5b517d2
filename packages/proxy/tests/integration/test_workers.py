"""Several worker processes on one socket: one service to whoever calls it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform == "win32", reason="POSIX")]

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
ENVIRON = {"APIKEYROUTER_ENCRYPTION_KEY": "a2V5LW9mLXRoZS10ZXN0cy0wMTIzNDU2Nzg5LWFiY2Q="}
TOKEN = {"Authorization": "Bearer token-of-team"}
KEY = "{id: one, provider: sim, secret: sk-sim-1}"
OTHER_KEY = "{id: two, provider: sim, secret: sk-sim-2}"


class Workers:
    """`serve` with several workers, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "router.yaml"
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def write(self, base_url: str, *keys: str, server: str = "", more: str = "") -> None:
        draft = self.folder / "draft.yaml"
        draft.write_text(
            f"version: 1\nserver: {{max_queue_wait: 0s, {server}}}\nproviders:\n"
            f"  sim: {{kind: openai, base_url: '{base_url}', models: [small]}}\n"
            f"keys: [{', '.join(keys)}]\n{more}"
        )
        draft.replace(self.file)

    def begin(self, workers: int = 3, *, patience_s: float = 5.0) -> None:
        env = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--config", self.file.name, "--port", "0", f"--workers={workers}"],
            cwd=self.folder, env={**env, **ENVIRON, "SHUTDOWN_TIMEOUT_SECONDS": str(patience_s)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def start(self, workers: int = 3, *, patience_s: float = 5.0) -> "Workers":
        self.begin(workers, patience_s=patience_s)
        assert self.process is not None
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert "listening on " in first, self.process.communicate()[1]
        assert f"by {workers} workers" in first
        self.url = first.split("listening on ")[1].split()[0]
        return self

    @property
    def children(self) -> list[int]:
        """The ids of what it has started: workers, and what they share."""
        assert self.process is not None
        own = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(number) for number in own.read_text().split()]

    @property
    def workers(self) -> list[int]:
        return [number for number in self.children if "workers.worker" in _command_of(number)]

    def ask(self, count: int, path: str = "/v1/chat/completions") -> list[int]:
        """Ask that often, each time by a connection of its own."""
        return [
            httpx2.post(self.url + path, json=CHAT, timeout=20, headers=TOKEN).status_code
            for _ in range(count)
        ]

    def wait(self) -> tuple[int, str]:
        assert self.process is not None
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


def _command_of(number: int) -> str:
    try:
        return Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path)
    yield made
    if made.process is not None and made.process.stdout is not None:
        if made.process.stdout.closed:
            return
        made.process.terminate()
        try:
            made.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            made.process.kill()
            made.process.communicate()


async def test_workers_keep_to_one_limit_together(
    service: Workers, simulator: RunningSimulator
) -> None:
    team = "{name: team, token: token-of-team, limits: {rph: 30}}"
    service.write(simulator.base_url("sim"), KEY, more=f"clients: [{team}]\n")
    service.start()
    statuses = await asyncio.to_thread(service.ask, 60)
    assert statuses.count(200) == 30
    assert statuses.count(429) == 30


async def test_worker_that_dies_is_replaced_and_no_connection_is_refused(
    service: Workers, simulator: RunningSimulator, until: Any
) -> None:
    service.write(simulator.base_url("sim"), OTHER_KEY)
    service.start()
    before = service.workers
    assert len(before) == 3
    for number in before:
        os.kill(number, signal.SIGKILL)
    # Nobody serves now; whoever connects waits.
    assert await asyncio.to_thread(service.ask, 10) == [200] * 10
    await until(lambda: len(service.workers) == 3, patience_s=20)
    assert not set(before) & set(service.workers)


async def test_all_workers_finish_what_runs_and_leave_nothing(
    service: Workers, upstream_that_waits: Any, until: Any
) -> None:
    service.write(f"{upstream_that_waits.url}/v1", OTHER_KEY)
    service.start()
    children = service.children
    assert len(children) == 4
    async with httpx2.AsyncClient(base_url=service.url, timeout=20) as client:
        asking = [
            asyncio.ensure_future(client.post("/v1/chat/completions", json=CHAT)) for _ in range(6)
        ]
        await until(lambda: upstream_that_waits.app.asked == 6)
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        await until(lambda: _refuses(service.url))
        upstream_that_waits.app.let_answer()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [200] * 6
    assert await asyncio.to_thread(service.wait) == (0, "")
    assert not [number for number in children if _command_of(number)]


async def test_one_interrupt_from_the_terminal_is_one(
    service: Workers, upstream_that_waits: Any, until: Any
) -> None:
    service.write(f"{upstream_that_waits.url}/v1", OTHER_KEY)
    service.start()
    async with httpx2.AsyncClient(base_url=service.url, timeout=20) as client:
        asking = asyncio.ensure_future(client.post("/v1/chat/completions", json=CHAT))
        await until(lambda: upstream_that_waits.app.asked == 1)
        assert service.process is not None
        # What a terminal does: the whole group is told at once.
        os.killpg(service.process.pid, signal.SIGINT)
        await until(lambda: _refuses(service.url))
        upstream_that_waits.app.let_answer()
        assert (await asking).status_code == 200
    assert await asyncio.to_thread(service.wait) == (0, "")


async def test_nothing_outlives_a_supervisor_that_is_killed(
    service: Workers, simulator: RunningSimulator, until: Any
) -> None:
    service.write(simulator.base_url("sim"), OTHER_KEY)
    service.start()
    children = service.children
    assert service.process is not None
    service.process.kill()
    await until(lambda: not any(_command_of(number) for number in children), patience_s=20)


async def test_changed_file_is_taken_up_by_every_worker(
    service: Workers, simulator: RunningSimulator, until: Any
) -> None:
    service.write(simulator.base_url("sim"), KEY)
    service.start()
    service.write(
        simulator.base_url("sim"), KEY, OTHER_KEY,
        more="clients: [{name: team, token: token-of-team}]\n",
    )  # fmt: skip
    assert service.process is not None
    service.process.send_signal(signal.SIGHUP)
    await until(lambda: not _serves_strangers(service.url, 9), patience_s=20)
    answers = [httpx2.get(service.url + "/ready", timeout=20).json() for _ in range(9)]
    assert answers == [{"status": "ready", "keys": 2, "usable": 2}] * 9


async def test_ledger_of_the_workers_comes_back_when_it_is_killed(
    service: Workers, simulator: RunningSimulator, until: Any
) -> None:
    service.write(simulator.base_url("sim"), OTHER_KEY)
    service.start()
    (valkey,) = set(service.children) - set(service.workers)
    os.kill(valkey, signal.SIGKILL)
    assert await asyncio.to_thread(service.ask, 9) == [200] * 9
    await until(lambda: len(service.children) == 4, patience_s=20)


def test_what_keeps_workers_from_starting_is_told_once(service: Workers) -> None:
    service.write("http://127.0.0.1:1/v1", KEY, more="store: postgresql://u:pa55@127.0.0.1:1/d\n")
    service.begin()
    status, said = service.wait()
    assert status == 1
    assert said.count("postgresql://127.0.0.1:1/d") == 1
    assert "Traceback" not in said
    assert "pa55" not in said


def test_address_in_use_is_told(service: Workers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service.write("http://127.0.0.1:1/v1", KEY, server=f"port: {port}, workers: 2")
        done = subprocess.run(
            [COMMAND, "serve", "--config", service.file.name], cwd=service.folder,
            capture_output=True, text=True, timeout=30, check=False,
            env={name: value for name, value in os.environ.items() if name != "PORT"},
        )  # fmt: skip
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert done.stdout == ""


class _WaitingUpstream:
    """Answers only when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._may_answer = asyncio.Event()

    def let_answer(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._may_answer.set)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        if scope["path"] == "/v1/chat/completions":
            self.asked += 1
            await self._may_answer.wait()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"choices":[{"message":{}}]}'})


@pytest.fixture
def upstream_that_waits(serve: Callable[..., Any]) -> Any:
    app = _WaitingUpstream()
    running = serve(app)
    running.app = app
    return running


def _serves_strangers(url: str, times: int) -> bool:
    path = "/v1/chat/completions"
    return any(
        httpx2.post(url + path, json=CHAT, timeout=20).status_code != 401 for _ in range(times)
    )


def _refuses(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return True
    return False
