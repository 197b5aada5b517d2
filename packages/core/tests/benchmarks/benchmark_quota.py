"""Reserve and settle on one scope of four windows; the state of a key's quota, awaited."""

import pytest

from apikeyrouter.domain.ledger.algorithms import make_window
from apikeyrouter.domain.ledger.ledger import Ledger, LedgerAccount, amounts_of
from apikeyrouter.domain.limits.observation import Algorithm, Dimension

pytestmark = pytest.mark.benchmark


def test_reserve_and_settle_over_four_windows(benchmark, p95, report) -> None:
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

    report("reserve + settle over four windows, p95", p95(once, 5000))
    benchmark(once)


async def test_quota_state(furnished, awaited_p95, report) -> None:
    router = await furnished(10)
    await router.route({"model": "m0", "messages": [{"role": "user", "content": "x"}]})
    key_id = next(iter(router.key_manager.slot_by_id))
    engine = router.quota_awareness_engine
    report(
        "get_quota_state(), p95", await awaited_p95(lambda: engine.get_quota_state(key_id), 5000)
    )
