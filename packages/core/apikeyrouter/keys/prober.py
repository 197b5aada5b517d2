"""Keys that were refused as credentials are asked again, by a call that costs nothing.

A key is out of use from the first refusal on. A probe that is refused too
confirms it; one that is accepted brings the key back. Where a provider offers
no such call, or says nothing by it, one request may try the key. Probes and
trials grow rarer.
"""

import asyncio

from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.domain.routing.route_table import RouteTable

FIRST_PROBE_S = 5.0
LONGEST_PAUSE_S = 3600.0


class KeyProber:
    """Probes invalid keys in the background until they work, move, or the router closes."""

    def __init__(self, manager: KeyManager, routes: RouteTable) -> None:
        self._manager = manager
        self._routes = routes
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def watch(self, slot: KeySlot) -> None:
        """Begin to probe *slot*; once is enough."""
        task = self._tasks.get(slot.id)
        if task is None or task.done():
            probing = self._probe(slot)
            self._tasks[slot.id] = asyncio.get_running_loop().create_task(probing)

    async def close(self) -> None:
        """Stop probing."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, slot: KeySlot) -> None:
        pause_s = min(LONGEST_PAUSE_S, FIRST_PROBE_S * 2.0 ** (min(slot.streak, 12) - 1))
        while slot.record.state is KeyState.INVALID:
            await asyncio.sleep(pause_s)
            probed = slot.version
            entry = self._routes.providers.get(slot.provider_id)
            if probed.state is not KeyState.INVALID or slot.is_withdrawn or entry is None:
                return
            accepted = None
            if entry.wire is not None:
                accepted = await entry.wire.probe(slot.secret)
            # Meanwhile the key may have been revoked, or may have another secret.
            if slot.version != probed or slot.is_withdrawn:
                continue
            if accepted:
                self._manager.restore(slot, "a probe was accepted", expect=probed)
                return
            if accepted is None:
                self._manager.offer_trial(slot, expect=probed)
            slot.confirmed_invalid = slot.confirmed_invalid or accepted is False
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2.0)
