"""Finding a key by its id, awaited."""

import asyncio

import pytest

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("keys", [10, 10_000])
def test_key_lookup(benchmark, furnished, keys: int) -> None:
    router = asyncio.run(furnished(keys))
    manager = router.key_manager
    key_id = next(reversed(manager.slot_by_id))

    async def thousand() -> None:
        for _ in range(1000):
            assert await manager.get_key(key_id) is not None

    loop = asyncio.new_event_loop()
    benchmark(lambda: loop.run_until_complete(thousand()))
    loop.close()
