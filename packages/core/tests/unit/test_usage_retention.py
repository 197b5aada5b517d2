"""What SQL stores count is kept for weeks as requests, for months as sums, and not for ever."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from store_usage_contract import a_request, keep

from apikeyrouter.domain.interfaces.state_store import UsageQuery
from apikeyrouter.infrastructure.state_store.record_store import TRIM_EVERY
from apikeyrouter.infrastructure.state_store.stores import store_at

pytestmark = pytest.mark.unit


async def test_old_requests_go_and_their_days_stay(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    store = store_at(f"sqlite:///{tmp_path / 'kept.db'}")
    ages = {1: 60.0, 2: 1000.0, 3: 0.0}
    records = [
        a_request(number, ended_at=(now - timedelta(days=days)).timestamp())
        for number, days in ages.items()
    ]
    await keep(store, *records)
    others = (a_request(number, ended_at=now.timestamp()) for number in range(10, 11 + TRIM_EVERY))
    await keep(store, *others)
    old = await store.usage_page(UsageQuery(until=now - timedelta(days=31), limit=10))
    assert old == []
    [new] = await store.usage_page(UsageQuery(limit=1))
    assert new.outcome == "ok"
    sums = await store.usage_sums(now - timedelta(days=2000), now + timedelta(days=1))
    assert [day.counts.requests for day in sums] == [1, 2 + TRIM_EVERY]
    await store.close()
