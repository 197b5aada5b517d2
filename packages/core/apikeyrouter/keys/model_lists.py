"""What providers say they serve: asked at the start, every hour, and when something is missing.

Keys may be told different lists, so several are asked, one an account, and
what is known is all that any of them was told. A provider whose patterns the
operator named is not asked. One that does not answer may serve any model. Nobody waits
long for a list.
"""

import asyncio
from collections.abc import Callable

from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.api_key import USABLE
from apikeyrouter.domain.routing.provider_entry import ProviderEntry
from apikeyrouter.domain.routing.route_table import RouteTable

_FRESH_S = 30.0
_PATIENCE_S = 10.0
#: Who wants to see the lists waits this long from when they were asked for.
_SETTLES_S = 2.0
#: Keys of one provider that are asked in one round, and how many of them at once.
_KEYS_ASKED = 16
_ASKED_AT_ONCE = 4
#: What a key may use changes: who lacks a model today may have it tomorrow.
_ASKED_AGAIN_S = 3600.0


class ModelLists:
    """Keeps the providers' lists of models."""

    def __init__(self, routes: RouteTable, clock: Callable[[], float]) -> None:
        self._routes = routes
        self._clock = clock
        self._asked_at = 0.0
        self._settles_at = 0.0
        self._task: asyncio.Task[object] | None = None
        #: The number of the round in which a key was asked last; the others are asked first.
        self._round_of: dict[str, int] = {}
        self._rounds = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ask all providers, in the background; and once more in an hour."""
        loop = asyncio.get_running_loop()
        self._disarm()
        self._timer = loop.call_later(_ASKED_AGAIN_S, self.start)
        if self._task is None or self._task.done():
            self._asked_at = self._clock()
            self._settles_at = loop.time() + _SETTLES_S
            self._rounds += 1
            entries = [entry for entry in self._providers() if _may_be_asked(entry)]
            self._task = loop.create_task(self._ask_all(entries))

    def refresh(self) -> None:
        """Ask again unless that was done just now: somebody wanted a model nobody lists."""
        if self._clock() - self._asked_at > _FRESH_S:
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
        self._disarm()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _providers(self) -> list[ProviderEntry]:
        return list(self._routes.providers.values())

    async def _ask_all(self, entries: list[ProviderEntry]) -> None:
        # One that fails in a way of its own keeps no other from being asked.
        await asyncio.gather(*map(self._ask, entries), return_exceptions=True)

    async def _ask(self, entry: ProviderEntry) -> None:
        adapter = entry.adapter
        assert isinstance(adapter, WireAdapter)  # noqa: S101 - no other may be asked
        places = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask_key(slot: KeySlot) -> None:
            async with places:
                models = await adapter.list_models(slot.secret)
            self._routes.note_list(entry, slot, models)

        try:
            async with asyncio.timeout(_PATIENCE_S):
                asked = map(ask_key, self._next_keys(entry))
                await asyncio.gather(*asked, return_exceptions=True)
        except TimeoutError:
            return

    def _next_keys(self, entry: ProviderEntry) -> list[KeySlot]:
        """Return keys of different accounts, those first that were not asked for longest."""
        usable = [slot for slot in entry.slots.values() if slot.record.state in USABLE]
        usable.sort(key=lambda slot: self._round_of.get(slot.id, 0))
        by_account = {_account_of(slot): slot for slot in reversed(usable)}
        chosen = list(reversed(by_account.values()))[:_KEYS_ASKED]
        self._round_of |= {slot.id: self._rounds for slot in chosen}
        return chosen


def _account_of(slot: KeySlot) -> str:
    return slot.account or str(slot.record.metadata.get("scope") or slot.id)


def _may_be_asked(entry: ProviderEntry) -> bool:
    adapter = entry.adapter
    if not entry.slots or not isinstance(adapter, WireAdapter):
        return False
    return entry.models is None or entry.models == adapter.models
