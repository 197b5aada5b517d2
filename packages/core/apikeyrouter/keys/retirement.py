"""Adapters that were replaced or removed: closed once the last call over them has ended."""

import asyncio

from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.routing.provider_entry import ProviderEntry

#: A retired adapter is looked at so often; what of an answer is still being read ends meanwhile.
_LOOKED_AT_EVERY_S = 1.0


class Retirement:
    """Closes the connections of providers that serve no more, when nobody needs them."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], WireAdapter] = {}

    def retire(self, entry: ProviderEntry) -> None:
        """Close the adapter of *entry* once no call of it is under way."""
        if entry.wire is not None:
            task = asyncio.get_running_loop().create_task(self._close_later(entry, entry.wire))
            self._tasks[task] = entry.wire
            task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def close(self) -> None:
        """Close all of them now."""
        waiting = dict(self._tasks)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for adapter in waiting.values():
            await adapter.close()

    @staticmethod
    async def _close_later(entry: ProviderEntry, adapter: WireAdapter) -> None:
        await asyncio.sleep(_LOOKED_AT_EVERY_S)
        while entry.in_flight:  # noqa: ASYNC110 - requests count, and tell nobody
            await asyncio.sleep(_LOOKED_AT_EVERY_S)
        await adapter.close()
