"""What providers say they serve: asked at the start, and again when a name is unknown.

A provider with patterns of its own is not asked. One that does not answer may
serve any model.
"""

import asyncio

from apikeyrouter import ApiKeyRouter, WireAdapter
from apikeyrouter.domain.components.routing_engine import ProviderEntry

_FRESH_S = 30.0
_PATIENCE_S = 10.0


class ModelLists:
    """Keeps the providers' lists of models."""

    def __init__(self, router: ApiKeyRouter) -> None:
        self._router = router
        self._asked_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask all providers, in the background."""
        if self._task is None or self._task.done():
            self._asked_at = self._router.now()
            self._task = asyncio.get_running_loop().create_task(self._ask_all())

    def refresh(self) -> None:
        """Ask again unless that was done just now: somebody wanted a model nobody lists."""
        if self._router.now() - self._asked_at > _FRESH_S:
            self.start()

    async def settle(self) -> None:
        """Wait until the providers that are being asked have answered."""
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        """Stop asking."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask_all(self) -> None:
        entries = [entry for entry in self._router.routing_engine.providers.values() if entry.slots]
        await asyncio.gather(*(self._ask(entry) for entry in entries))

    async def _ask(self, entry: ProviderEntry) -> None:
        if entry.models is not None or not isinstance(entry.adapter, WireAdapter):
            return
        secret = next(iter(entry.slots.values())).secret
        try:
            async with asyncio.timeout(_PATIENCE_S):
                models = await entry.adapter.list_models(secret)
        except TimeoutError:
            return
        if models:
            self._router.routing_engine.set_known_models(entry, models)
