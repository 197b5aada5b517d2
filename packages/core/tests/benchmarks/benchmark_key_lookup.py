"""Finding a key by its id, awaited."""

import pytest

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("keys", [10, 10_000])
async def test_key_lookup(furnished, awaited_p95, report, keys: int) -> None:
    router = await furnished(keys)
    manager = router.key_manager
    key_id = next(reversed(manager.slot_by_id))
    assert await manager.get_key(key_id) is not None
    report(f"get_key() of {keys}, p95", await awaited_p95(lambda: manager.get_key(key_id), 5000))
