"""Reserve and settle on one scope of four windows; the state of a key's quota, awaited."""

import asyncio

import pytest

from apikeyrouter.domain.ledger.algorithms import make_window
from apikeyrouter.domain.ledger.ledger import Ledger, LedgerAccount, amounts_of
from apikeyrouter.domain.models.observation import Algorithm, Dimension

pytestmark = pytest.mark.benchmark


def test_reserve_and_settle_over_four_windows(benchmark) -> None:
    ledger = Ledger()
    account = LedgerAccount("s")
    for dimension in (Dimension.REQUESTS, Dimension.TOKENS):
        for period in (60.0, 86400.0):
            account.windows.append(
                make_window(Algorithm.TOKEN_BUCKET, dimension, 1e12, period, 0.0)
            )
    amounts = amounts_of(requests=1, tokens=100)
    actual = amounts_of(requests=1, tokens=60)
    now = 0.0

    def once() -> None:
        nonlocal now
        now += 0.001
        ledger.settle(ledger.reserve(((account, amounts),), now), (actual,), now)

    benchmark(once)


def test_quota_state(benchmark, furnished) -> None:
    router = asyncio.run(furnished(10))
    asyncio.run(_route_once(router))
    key_id = next(iter(router.key_manager.slot_by_id))
    loop = asyncio.new_event_loop()
    engine = router.quota_awareness_engine
    benchmark(lambda: loop.run_until_complete(engine.get_quota_state(key_id)))
    loop.close()


async def _route_once(router) -> None:
    await router.route({"model": "m", "messages": [{"role": "user", "content": "x"}]})
