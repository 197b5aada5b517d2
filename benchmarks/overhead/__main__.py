"""CPU of our proxy beside a bare pass-through: same machine, same run, in turns.

    .venv/bin/python benchmarks/overhead [--rounds 3] [--requests 3000]

Prints CPU time per plain request and per streamed chunk of each process, the
ratio, the memory at rest, and the time from start to the first answer.
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
from pathlib import Path

import aiohttp

HERE = Path(__file__).parent
BODY = (
    b'{"model":"m","messages":[{"role":"system","content":"You are a helpful assistant."},'
    b'{"role":"user","content":"' + b"Tell me something about routers. " * 4 + b'"}],'
    b'"temperature":0.7}'
)
STREAM = BODY[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
CHUNKS = 202


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


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


async def until_up(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(1000):
            try:
                async with session.post(url, data=BODY) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.01)
    raise SystemExit(f"{url} did not come up")


async def load(url: str, body: bytes, count: int, at_once: int) -> None:
    headers = {"content-type": "application/json", "authorization": "Bearer x"}
    left = count
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def client() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()
                    assert answer.status == 200, answer.status

        await asyncio.gather(*(client() for _ in range(at_once)))


async def main(rounds: int, requests: int) -> None:
    ports = [free_port() for _ in range(3)]
    up, bare, ours = (f"http://127.0.0.1:{port}/v1/chat/completions" for port in ports)
    config = Path(tempfile.mkdtemp()) / "config.yaml"
    config.write_text(
        f"version: 1\nserver: {{port: {ports[2]}}}\nproviders:\n"
        f"  up: {{kind: openai, base_url: 'http://127.0.0.1:{ports[0]}/v1', models: ['*']}}\n"
        "keys:\n  - {provider: up, secret: sk-up-1}\n  - {provider: up, secret: sk-up-2}\n"
    )
    processes = [
        uvicorn_of("upstream:app", ports[0]),
        uvicorn_of("passthrough:app", ports[1], TARGET=up),
    ]
    try:
        await until_up(up)
        await until_up(bare)
        started = time.perf_counter()
        command = [str(Path(sys.executable).parent / "apikeyrouter"), "serve", "--config"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen([*command, str(config)], **quiet))  # noqa: ASYNC220
        await until_up(ours)
        first_s = time.perf_counter() - started
        rest_mb = memory_mb(processes[2].pid)
        await measure(processes, bare, ours, rounds, requests)
        print(f"start to first answer {first_s:.2f} s, memory at rest {rest_mb:.0f} MB")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


async def measure(
    processes: list[subprocess.Popen[bytes]], bare: str, ours: str, rounds: int, requests: int
) -> None:
    streams = max(20, requests // 20)
    for name, body, count, at_once, per in (
        ("plain request", BODY, requests, 16, 1),
        ("stream chunk", STREAM, streams, 8, CHUNKS),
    ):
        for url in (bare, ours):
            await load(url, body, count // 4, at_once)
        spent: dict[str, list[float]] = {bare: [], ours: []}
        for _ in range(rounds):
            for url, process in ((bare, processes[1]), (ours, processes[2])):
                before = cpu_s(process.pid)
                await load(url, body, count, at_once)
                spent[url].append((cpu_s(process.pid) - before) / count / per * 1e6)
        theirs_us, ours_us = statistics.median(spent[bare]), statistics.median(spent[ours])
        print(
            f"{name}: bare pass-through {theirs_us:.1f} us, ours {ours_us:.1f} us, "
            f"ratio {ours_us / theirs_us:.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=3000)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.rounds, arguments.requests))
