"""CPU of our proxy beside a bare pass-through: same machine, same run, in turns.

    .venv/bin/python benchmarks/overhead [--rounds 5] [--requests 3000]
        [--providers 2] [--clients 1] [--row plain --row large --row stream]
        [--dialect openai|anthropic|responses|gemini] [--by DIALECT] [--store memory://]

Prints the CPU time of each process per request of 250 bytes, per request of
300 KB and per streamed chunk, and the median ratio of the rounds; then the memory
at rest, and the time from start to the first answer. The proxy has two keys at
each provider, and asks clients for a token unless there are none. With `--by`, providers
speak another dialect than the clients: the pass-through is asked in the providers', the proxy
translates.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from dialects import SPOKEN, Spoken

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """What is measured: a body sent so often by so many at once; `per` units an answer."""

    title: str
    size: int
    share: float
    at_once: int
    per: int = 1
    streams: bool = False

    def asked_in(self, spoken: Spoken) -> tuple[str, bytes]:
        """Return where and what is asked in a dialect."""
        path = spoken.stream_path if self.streams else spoken.path
        return path, spoken.body(self.size, streams=self.streams)


ROWS = {
    "plain": Row("plain request, 250 B", 250, 1.0, 16),
    "large": Row("plain request, 300 KB", 300_000, 0.25, 16),
    "stream": Row("stream chunk", 250, 0.04, 32, per=202, streams=True),
}
TOKEN = "benchmark-token-0"
HEADERS = {
    "content-type": "application/json", "authorization": f"Bearer {TOKEN}",
    "anthropic-version": "2023-06-01",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of all threads, by the scheduler's nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def uvicorn_of(app: str, port: int, **env: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "critical",
        "--no-access-log", "--app-dir", str(HERE),
    ]  # fmt: skip
    return subprocess.Popen(command, env={**os.environ, **env})


async def until_up(url: str, spoken: Spoken) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(1000):
            try:
                async with session.post(
                    url + spoken.path, data=spoken.body(250), headers=HEADERS
                ) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.01)
    raise SystemExit(f"{url} did not come up")


async def load(url: str, body: bytes, count: int, at_once: int) -> None:
    left = count
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                async with session.post(url, data=body, headers=HEADERS) as answer:
                    await answer.read()
                    assert answer.status == 200, answer.status

        await asyncio.gather(*(client() for _ in range(at_once)))


def configuration(
    port: int, base_url: str, providers: int, clients: int, kind: str = "openai",
    store: str = "memory://", dialects: str = "",
) -> str:  # fmt: skip
    lines = ["version: 1", f"server: {{port: {port}}}", f"store: {store}", "providers:"]
    more = f", dialects: [{dialects}]" if dialects else ""
    lines += [
        f"  up{number}: {{kind: {kind}, base_url: '{base_url}', models: ['*']{more}}}"
        for number in range(providers)
    ]
    lines.append("keys:")
    lines += [
        f"  - {{provider: up{number // 2}, secret: sk-up-{number}}}"
        for number in range(providers * 2)
    ]
    lines.append("clients:" if clients else "")
    lines += [
        f"  - {{name: client-{number}, token: benchmark-token-{number}}}"
        for number in range(clients)
    ]
    return "\n".join(lines)


async def main(asked: argparse.Namespace) -> None:
    ports = [free_port() for _ in range(3)]
    up, bare, ours = (f"http://127.0.0.1:{port}" for port in ports)
    client, provider = SPOKEN[asked.dialect], SPOKEN[asked.by or asked.dialect]
    folder = Path(tempfile.mkdtemp())
    config = folder / "config.yaml"
    base_url = f"{up}/v1" if provider.kind == "openai" else up
    store = asked.store or f"sqlite:///{folder}/router.db"
    dialects = "openai" if (asked.by or asked.dialect) == "openai" else ""
    config.write_text(
        configuration(
            ports[2], base_url, asked.providers, asked.clients, provider.kind, store, dialects
        )
    )
    processes = [
        uvicorn_of("upstream:app", ports[0]),
        uvicorn_of("passthrough:app", ports[1], TARGET=up),
    ]
    try:
        await until_up(up, provider)
        await until_up(bare, provider)
        started = time.perf_counter()
        command = [str(Path(sys.executable).parent / "apikeyrouter"), "serve", "--config"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen([*command, str(config)], **quiet))  # noqa: ASYNC220
        await until_up(ours, client)
        first_s = time.perf_counter() - started
        rest_mb = memory_mb(processes[2].pid)
        for name in asked.row or ROWS:
            row = ROWS[name]
            sides = [
                (url, *row.asked_in(spoken), process.pid)
                for url, spoken, process in (
                    (bare, provider, processes[1]), (ours, client, processes[2])
                )
            ]  # fmt: skip
            await measure(row, sides, asked.rounds, asked.requests)
        print(f"start to first answer {first_s:.2f} s, memory at rest {rest_mb:.0f} MB")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


async def measure(
    row: Row, sides: list[tuple[str, str, bytes, int]], rounds: int, requests: int
) -> None:
    count = max(20, int(requests * row.share))
    for url, path, body, _ in sides:
        await load(url + path, body, count // 4, row.at_once)
    spent_us: dict[str, list[float]] = {url: [] for url, *_ in sides}
    for _ in range(rounds):
        for url, path, body, pid in sides:
            before = cpu_s(pid)
            await load(url + path, body, count, row.at_once)
            spent_us[url].append((cpu_s(pid) - before) / count / row.per * 1e6)
    theirs_us, ours_us = (spent_us[url] for url, *_ in sides)
    ratios = [ours / theirs for theirs, ours in zip(theirs_us, ours_us, strict=True)]
    print(
        f"{row.title}: bare pass-through {statistics.median(theirs_us):.1f} us, "
        f"ours {statistics.median(ours_us):.1f} us, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f} of {rounds} rounds)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--providers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=1, help="how many bear a token; 0: open")
    parser.add_argument("--dialect", choices=SPOKEN, default="openai", help="of the clients")
    parser.add_argument("--by", choices=SPOKEN, help="dialect of the providers, if another")
    parser.add_argument(
        "--store", default="", help="of the proxy; a SQLite file of its own if none"
    )
    parser.add_argument("--row", choices=ROWS, action="append", help="only this one; repeatable")
    asyncio.run(main(parser.parse_args()))
