"""A router takes up what its store has from before."""

import asyncio
import os
from collections.abc import Collection

from apikeyrouter.account_keeping import AccountKeeping
from apikeyrouter.composition import RouterParts
from apikeyrouter.domain.interfaces.state_store import Document, StateStore
from apikeyrouter.domain.models.api_key import KeyState, utc_now
from apikeyrouter.infrastructure.utils.encryption import SALT_BYTES


class Hydration:
    """Puts to use what was kept: at once where a provider is registered, else when it is."""

    def __init__(self, parts: RouterParts, store: StateStore, accounts: AccountKeeping) -> None:
        self._parts = parts
        self._store = store
        self._accounts = accounts
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
        await self._accounts.load(self._store)
        if self._store.keeps_documents:
            self._accounts.watch()
        self._claimed = frozenset(claimed or ())
        for provider_id in list(self._parts.routes.providers):
            self.adopt(provider_id)

    async def close(self) -> None:
        """End what runs in the background."""
        await self._accounts.close()

    def adopt(self, provider_id: str) -> None:
        """Put a provider's keys to use; nothing before the store was read."""
        if self._claimed is None:
            return
        for slot in self._parts.manager.adopt(provider_id, self._claimed):
            if slot.record.state is KeyState.INVALID:
                self._parts.prober.watch(slot)


async def stored_salt(store: StateStore) -> bytes:
    """Return the salt of passphrases; made once for each store."""
    fresh = Document("Setting", "salt", {"hex": os.urandom(SALT_BYTES).hex()}, utc_now())
    kept = await store.add_document(fresh)
    return bytes.fromhex(kept.body["hex"])
