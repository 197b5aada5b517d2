"""What providers say they serve: asked at the start, and again when something is missing.

A provider with patterns of its own is not asked. One that does not answer may
serve any model. Nobody waits long for a list.
"""

import asyncio

from apikeyrouter import ApiKeyRouter, WireAdapter
from apikeyrouter.domain.models.api_key import USABLE
from apikeyrouter.domain.routing.route_table import ProviderEntry

_FRESH_S = 30.0
_PATIENCE_S = 10.0
#: Who wants to see the lists waits this long from when they were asked for.
_SETTLES_S = 2.0
_KEYS_ASKED = 3


class ModelLists:
    """Keeps the providers' lists of models."""

    def __init__(self, router: ApiKeyRouter) -> None:
        self._router = router
        self._asked_at = 0.0
        self._settles_at = 0.0
        self._task: asyncio.Task[object] | None = None
        #: Keys that brought no list; the others are asked first.
        self._silent: set[str] = set()

    def start(self) -> None:
        """Ask all providers, in the background."""
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._asked_at = self._router.now()
            self._settles_at = loop.time() + _SETTLES_S
            entries = [entry for entry in self._providers() if _may_be_asked(entry)]
            self._task = loop.create_task(self._ask_all(entries))

    def refresh(self) -> None:
        """Ask again unless that was done just now: somebody wanted a model nobody lists."""
        if self._router.now() - self._asked_at > _FRESH_S:
            self.start()

    async def settle(self) -> None:
        """Wait for the lists, but not for long; ask again where one is missing."""
        if any(_may_be_asked(entry) and not entry.known_models for entry in self._providers()):
            self.refresh()
        left_s = self._settles_at - asyncio.get_running_loop().time()
        if self._task is not None and left_s > 0:
            await asyncio.wait({self._task}, timeout=left_s)

    async def stop(self) -> None:
        """Stop asking."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _providers(self) -> list[ProviderEntry]:
        return list(self._router.routes.providers.values())

    async def _ask_all(self, entries: list[ProviderEntry]) -> None:
        # One that fails in a way of its own keeps no other from being asked.
        await asyncio.gather(*map(self._ask, entries), return_exceptions=True)

    async def _ask(self, entry: ProviderEntry) -> None:
        assert isinstance(entry.adapter, WireAdapter)  # noqa: S101 - no other may be asked
        usable = [slot for slot in entry.slots.values() if slot.record.state in USABLE]
        usable.sort(key=lambda slot: slot.id in self._silent)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                for slot in usable[:_KEYS_ASKED]:
                    self._silent.add(slot.id)
                    models = await entry.adapter.list_models(slot.secret)
                    if models:
                        self._silent.discard(slot.id)
                        self._router.routes.set_known_models(entry, models)
                        return
        except TimeoutError:
            return


def _may_be_asked(entry: ProviderEntry) -> bool:
    return bool(entry.slots) and entry.models is None and isinstance(entry.adapter, WireAdapter)
