"""How the management API does with much to manage: ten thousand keys, ten million requests.

Prints how long `serve` takes to start over a store of so many keys and to list the first of them,
and what a page of requests and a day's sums cost in SQLite and in PostgreSQL (of whose programs
the path is named):

    .venv/bin/python benchmarks/management.py [--keys 10000] [--rows 10000000] [--folder /tmp]
        [--postgres /usr/lib/postgresql/17/bin]

All is made in a folder of its own, and deleted at the end: 3 GB for ten million requests.
"""

import argparse
import asyncio
import os
import resource
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from apikeyrouter import ApiKeyRouter, ProviderAdapter
from apikeyrouter.domain.interfaces.state_store import StateQuery, UsageQuery
from apikeyrouter.infrastructure.state_store.stores import store_at
from apikeyrouter.infrastructure.utils.encryption import EncryptionService

_MANAGER = "key-of-the-benchmark"
_TIMES = 20
_ROWS_A_DAY = 1_000_000
_HOUR_MICROS = 3_600_000_000
_FIRST_COLUMNS = (
    "moment, request_id, client, model, provider_id, key_id, endpoint, outcome, attempts, "
    "input_tokens, output_tokens, cached_tokens, cost_microusd, waited_ms, first_token_ms, total_ms"
)
_SUMS = (
    "COUNT(*), SUM(CASE WHEN outcome NOT IN ('ok', 'cancelled') THEN 1 ELSE 0 END), "
    "SUM(CASE WHEN outcome = 'cancelled' THEN 1 ELSE 0 END), SUM(input_tokens), "
    "SUM(output_tokens), 0, 0, 0"
)


class Nobody(ProviderAdapter):
    """Is never called."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        raise NotImplementedError

    def normalize_response(self, raw: Any) -> Any:
        raise NotImplementedError


async def store_keys(url: str, secret: str, count: int) -> None:
    """Have so many keys in a store, as the management API would add them."""
    config = {"log_level": "CRITICAL", "encryption_key": secret}
    router = ApiKeyRouter(store_at(url), config=config)
    await router.register_provider("p1", Nobody())
    await router.hydrate()
    for first in range(0, count, 256):
        await asyncio.gather(
            *(
                router.register_key(f"sk-of-the-benchmark-{n}", "p1", {"id": f"key-{n:05d}"})
                for n in range(first, min(count, first + 256))
            )
        )
    await router.close()


def measure_keys(folder: Path, count: int) -> None:
    """Start the service over *count* keys, and list the first of them."""
    secret, config = EncryptionService.generate_key(), folder / "router.yaml"
    config.write_text(
        f"version: 1\nstore: sqlite:///{folder}/keys.db\n"
        "providers:\n  p1: {kind: openai, base_url: 'http://127.0.0.1:9/v1'}\n"
    )
    asyncio.run(store_keys(f"sqlite:///{folder}/keys.db", secret, count))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        **os.environ,
        "APIKEYROUTER_ENCRYPTION_KEY": secret,
        "APIKEYROUTER_MANAGEMENT_API_KEY": _MANAGER,
    }
    command = [Path(sys.executable).parent / "apikeyrouter", "serve", "--config", config]
    begun = time.perf_counter()
    service = subprocess.Popen(
        [*command, "--port", str(port)], env=environ, cwd=folder, stdout=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, headers={"X-API-Key": _MANAGER}, timeout=60) as client:
            while not _answers(client):
                time.sleep(0.01)
            print(f"start with {count:,} keys: {time.perf_counter() - begun:.2f} s")
            client.get("/api/v1/keys")
            taken = [_ms_of(lambda: client.get("/api/v1/keys")) for _ in range(_TIMES)]
            print(f"first page of {count:,} keys: {_told(taken)}")
            page = client.get("/api/v1/keys").json()
            taken = [
                _ms_of(lambda: client.get("/api/v1/keys", params={"tag": "none"}))
                for _ in range(_TIMES)
            ]
            assert len(page["items"]) == min(100, count)
            print(f"a filter that none of {count:,} fits: {_told(taken)}")
    finally:
        service.terminate()
        service.wait(20)


def _answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/ready").status_code < 600
    except httpx2.HTTPError:
        return False


def _ms_of(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return 1000.0 * (time.perf_counter() - begun)


def _told(taken: list[float]) -> str:
    return f"{statistics.median(taken):.1f} ms (most {max(taken):.1f} of {len(taken)})"


def fill_statements(rows: int, series: str, now: int) -> list[str]:
    """Return what fills the tables of usage; *series* yields `n` from 1 to *rows*."""
    step, first = 86_400_000_000 // _ROWS_A_DAY, now - rows * 86_400_000_000 // _ROWS_A_DAY
    dims = "client, model, provider_id, key_id"
    return [
        f"INSERT INTO usage_rows ({_FIRST_COLUMNS}) "
        f"SELECT {first} + CAST(n AS BIGINT) * {step}, 'req-' || n, "
        "'client-' || (n % 50), 'model-' || (n % 20), "
        "'p' || (n % 5), 'key-' || (n % 200), 'chat', CASE WHEN n % 100 = 0 THEN 'rate_limited' "
        f"ELSE 'ok' END, 1, 900, 300, 0, NULL, 0, 400, 2000 FROM {series}",
        f"INSERT INTO usage_hours SELECT moment / {_HOUR_MICROS}, {dims}, {_SUMS} FROM usage_rows "
        f"GROUP BY moment / {_HOUR_MICROS}, {dims}",
        "INSERT INTO usage_days SELECT start - start % 24, client, model, provider_id, key_id, "
        "SUM(requests), SUM(failed), SUM(cancelled), SUM(input_tokens), SUM(output_tokens), 0, 0, "
        "0 FROM usage_hours GROUP BY start - start % 24, client, model, provider_id, key_id",
    ]


async def measure_rows(name: str, url: str, rows: int) -> None:
    """Ask a filled store for pages and sums."""
    store, now = store_at(url), datetime.now(UTC)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cases: dict[str, Callable[[], Awaitable[Any]]] = {
        "a page of requests": lambda: store.usage_page(UsageQuery(limit=101)),
        "of one client": lambda: store.usage_page(UsageQuery(limit=101, client="client-7")),
        "of those that failed": lambda: store.usage_page(UsageQuery(limit=101, outcome="failed")),
        "of a client that is not": lambda: store.usage_page(UsageQuery(limit=101, client="none")),
        "a day's sums": lambda: store.usage_sums(now - timedelta(days=1), now),
        "by client and model": lambda: store.usage_sums(
            now - timedelta(days=1), now, "hour", ("client", "model")
        ),
        "a page of decisions": lambda: store.query_state(StateQuery("RoutingDecision", limit=101)),
    }
    for case, call in cases.items():
        taken = []
        for _ in range(_TIMES):
            begun = time.perf_counter()
            await call()
            taken.append(1000.0 * (time.perf_counter() - begun))
        print(f"{name}, {rows:,} rows, {case}: {_told(taken)}", flush=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{name}: memory grew by {grown / 1024:.0f} MB at most")
    await store.close()


async def made(url: str) -> None:
    """Make a store's tables."""
    store = store_at(url)
    await store.open()
    await store.close()


def measure_sqlite(folder: Path, rows: int) -> None:
    """Fill a SQLite file, and ask it."""
    file = folder / "usage.db"
    asyncio.run(made(f"sqlite:///{file}"))
    series = (
        f"(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {rows}) "
        "SELECT n FROM c)"
    )
    begun = time.perf_counter()
    with sqlite3.connect(file) as connection:
        for pragma in ("journal_mode = WAL", "synchronous = OFF", "cache_size = -400000"):
            connection.execute(f"PRAGMA {pragma}")
        for statement in fill_statements(rows, series, int(time.time() * 1e6)):
            connection.execute(statement)
            connection.commit()
    connection.close()
    print(f"SQLite: filled in {time.perf_counter() - begun:.0f} s", flush=True)
    asyncio.run(measure_rows("SQLite", f"sqlite:///{file}", rows))


def measure_postgres(folder: Path, programs: Path, rows: int) -> None:
    """Start a server, fill it, and ask it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    account: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        folder.chmod(0o755)
        account = ["setpriv", "--reuid=nobody", "--clear-groups", "--inh-caps=-all", "--"]
    data, quiet = folder / "data", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    init = [*account, str(programs / "initdb"), "-D", str(data), "-U", "router", "-A", "trust"]
    subprocess.run(init, check=True, cwd=folder, **quiet)  # type: ignore[call-overload]
    run = [str(programs / "postgres"), "-D", str(data), "-p", port, "-k", str(folder)]
    tuned = ["-c", "fsync=off", "-c", "max_wal_size=8GB", "-c", "maintenance_work_mem=512MB"]
    server = subprocess.Popen([*account, *run, *tuned], cwd=folder, **quiet)  # type: ignore[call-overload]
    where = ["-h", "127.0.0.1", "-p", port, "-U", "router"]
    try:
        while subprocess.run([programs / "createdb", *where, "router"], **quiet).returncode:  # type: ignore[call-overload]
            time.sleep(0.2)
        url = f"postgresql://router@127.0.0.1:{port}/router"
        asyncio.run(made(url))
        begun = time.perf_counter()
        series = f"generate_series(1, {rows}) AS n"
        for statement in [*fill_statements(rows, series, int(time.time() * 1e6)), "ANALYZE"]:
            psql = [programs / "psql", *where, "-d", "router", "-q", "-c", statement]
            subprocess.run(psql, check=True)
        print(f"PostgreSQL: filled in {time.perf_counter() - begun:.0f} s", flush=True)
        asyncio.run(measure_rows("PostgreSQL", url, rows))
    finally:
        server.terminate()
        server.wait(60)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--postgres", type=Path)
    parser.add_argument("--only", choices=("keys", "sqlite", "postgres"))
    given = parser.parse_args()
    parts: dict[str, Callable[[Path], None]] = {
        "keys": lambda folder: measure_keys(folder, given.keys),
        "sqlite": lambda folder: measure_sqlite(folder, given.rows),
    }
    if given.postgres is not None:
        parts["postgres"] = lambda folder: measure_postgres(folder, given.postgres, given.rows)
    for name, measure in parts.items():
        if given.only in (None, name):
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                measure(Path(folder))


if __name__ == "__main__":
    main()
