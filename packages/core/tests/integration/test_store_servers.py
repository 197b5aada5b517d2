"""Stores on real servers, by the promises of every store."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from store_changes_contract import *  # noqa: F403 - the suite
from store_contract import *  # noqa: F403 - the suite
from store_servers import mongo, postgres, valkey
from store_usage_contract import *  # noqa: F403 - the suite

from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.infrastructure.state_store.redis_store import RedisStateStore
from apikeyrouter.infrastructure.state_store.stores import store_at

pytestmark = pytest.mark.integration

SERVERS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "postgres": postgres,
    "valkey": valkey,
    "mongo": mongo,
}


@pytest.fixture(scope="module", params=list(SERVERS))
def address(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp(request.param)
        yield stack.enter_context(SERVERS[request.param](folder))


@pytest.fixture
async def store(address: str) -> AsyncIterator[StateStore]:
    made = await _empty_store(address)
    yield made
    await made.close()


async def _empty_store(address: str) -> StateStore:
    name = uuid.uuid4().hex[:12]
    if address.startswith("redis"):
        return RedisStateStore(address, prefix=name)
    if address.startswith("mongodb"):
        return store_at(address, mongodb_database=f"router-{name}")
    import asyncpg

    connection = await asyncpg.connect(address)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    return store_at(address.rpartition("/")[0] + f"/{name}")
