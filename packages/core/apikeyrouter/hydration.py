"""A router takes up what its store has from before."""

import asyncio
import os
from collections.abc import Callable, Collection

from apikeyrouter.account_keeping import AccountKeeping
from apikeyrouter.composition import RouterParts
from apikeyrouter.domain.interfaces.state_store import Document, StateStore
from apikeyrouter.domain.models.api_key import KeyState, utc_now
from apikeyrouter.infrastructure.caps.keeper import CapKeeper
from apikeyrouter.infrastructure.utils.encryption import SALT_BYTES


class Hydration:
    """Puts to use what was kept: at once where a provider is registered, else when it is."""

    def __init__(self, parts: RouterParts, store: StateStore, accounts: AccountKeeping) -> None:
        self._parts = parts
        self._store = store
        self._accounts = accounts
        self._caps = _keeper_of(parts, store, accounts.on_error)
        if store.keeps_documents:
            accounts.begin()
        #: Ids that wait to be declared; `None` until the store was read.
        self._claimed: frozenset[str] | None = None

    async def load(self, claimed: Collection[str] | None) -> None:
        """Read the store; see `ApiKeyRouter.hydrate`."""
        await self._store.open()
        if self._parts.sealer.needs_salt:
            salt = await stored_salt(self._store)
            await asyncio.to_thread(self._parts.sealer.unlock, salt)
        await self._parts.manager.kept.load(self._parts.manager.slot_by_id, claimed)
        await self._parts.account_orders.load()
        await self._accounts.load(self._store)
        await self._parts.costs.load()
        await self._caps.open()
        if self._store.keeps_documents:
            self._accounts.watch()
        self._claimed = frozenset(claimed or ())
        for provider_id in list(self._parts.routes.providers):
            self.adopt(provider_id)

    async def close(self) -> None:
        """End what runs in the background."""
        await self._accounts.close()
        await self._caps.close()

    def adopt(self, provider_id: str) -> None:
        """Put a provider's keys to use; nothing before the store was read."""
        if self._claimed is None:
            return
        for slot in self._parts.manager.adopt(provider_id, self._claimed):
            if slot.record.state is KeyState.INVALID:
                self._parts.prober.watch(slot)


def _keeper_of(
    parts: RouterParts, store: StateStore, on_error: Callable[[Exception], None]
) -> CapKeeper:
    """Return what borrows for hard caps from the store."""
    keeper = CapKeeper(
        store, parts.context.clock, on_capacity=parts.caps.on_capacity, on_error=on_error
    )
    parts.caps.keep, parts.caps.drop, parts.caps.fetch = keeper.keep, keeper.drop, keeper.fetch
    return keeper


async def stored_salt(store: StateStore) -> bytes:
    """Return the salt of passphrases; made once for each store."""
    fresh = Document("Setting", "salt", {"hex": os.urandom(SALT_BYTES).hex()}, utc_now())
    kept = await store.add_document(fresh)
    return bytes.fromhex(kept.body["hex"])
