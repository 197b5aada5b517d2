"""Stores that need no server, by the promises of every store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from store_changes_contract import *  # noqa: F403 - the suite
from store_contract import *  # noqa: F403 - the suite
from store_usage_contract import *  # noqa: F403 - the suite

from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.infrastructure.state_store.stores import store_at

pytestmark = pytest.mark.unit


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/router.db"}
    made = store_at(urls[request.param])
    yield made
    await made.close()
