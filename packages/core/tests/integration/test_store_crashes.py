"""Killed at any moment: what was acknowledged is there; a server that goes comes back."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from store_contract import a_key
from store_servers import free_port, mongo, postgres, valkey

from apikeyrouter.domain.interfaces.state_store import StateStoreError
from apikeyrouter.infrastructure.state_store.stores import store_at

pytestmark = pytest.mark.integration

#: Keeps keys one after the other and prints each id once it is acknowledged.
_WRITER = """
import asyncio, sys
from apikeyrouter import APIKey
from apikeyrouter.infrastructure.state_store.stores import store_at

async def write(first, store):
    for number in range(first, 100_000, 4):
        name = f"{sys.argv[2]}-{number}"
        await store.save_key(APIKey(id=name, provider_id="p", key_material="sealed"))
        print(name, flush=True)

async def main():
    store = store_at(sys.argv[1])
    await asyncio.gather(*(write(first, store) for first in range(4)))

asyncio.run(main())
"""


def _acknowledged_before_it_was_killed(url: str, run: int, lines: int) -> set[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, url, str(run)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    seen = {process.stdout.readline().strip() for _ in range(lines)}
    process.kill()
    seen |= {line.strip() for line in process.stdout if line.endswith("\n")}
    process.wait()
    process.stdout.close()
    return seen - {""}


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "valkey", "mongo"])
async def test_what_was_acknowledged_is_there_after_a_kill(kind: str, tmp_path: Path) -> None:
    servers: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
        "postgres": postgres, "valkey": valkey, "mongo": mongo,
    }  # fmt: skip
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path}/r.db"
        if kind in servers:
            url = stack.enter_context(servers[kind](tmp_path))
        acknowledged: set[str] = set()
        for run in range(3):
            acknowledged |= _acknowledged_before_it_was_killed(url, run, 20 + 30 * run)
            store = store_at(url)
            kept = {key.id for key in await store.list_keys()}
            await store.close()
            assert acknowledged <= kept
        assert len(acknowledged) >= 150


async def test_server_that_comes_back_is_used_again(tmp_path: Path) -> None:
    port = free_port()
    with valkey(tmp_path, port) as url:
        store = store_at(url)
        await store.save_key(a_key("before"))
    with pytest.raises(StateStoreError):
        await store.save_key(a_key("meanwhile"))
    with valkey(tmp_path, port):
        await store.save_key(a_key("after", 1))
        assert [key.id for key in await store.list_keys()] == ["before", "after"]
        await asyncio.gather(*(store.get_key("before") for _ in range(10)))
        await store.close()
