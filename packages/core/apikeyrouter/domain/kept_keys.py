"""Keys that a store has from before, until they are in use again."""

from collections.abc import Collection

from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.key_material import Sealer
from apikeyrouter.domain.key_records import (
    FROM_CONFIGURATION,
    ORIGIN,
    is_changed,
    merged,
    opened_secret,
    slot_for,
)
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.errors import EncryptionError, StateConflictError


class KeptKeys:
    """What was read from the store and waits: for its provider, or to be declared again."""

    def __init__(self, store: StateStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._waiting: dict[str, APIKey] = {}

    async def load(self, known: Collection[str], claimed: Collection[str] | None = None) -> None:
        """Read all keys that the store has.

        Args:
            known: Ids of keys that are in use already.
            claimed: Ids that are declared next by a configuration. What an earlier one declared
                and this one does not is left out. `None` where there is no configuration.
        """
        for key in await self._store.list_keys():
            is_declared = key.metadata.get(ORIGIN) == FROM_CONFIGURATION
            is_left_out = claimed is not None and is_declared and key.id not in claimed
            if key.id not in known and not is_left_out:
                self._waiting[key.id] = key

    def add(self, key: APIKey) -> None:
        """Let a key wait that was read just now."""
        self._waiting[key.id] = key

    def providers(self) -> set[str]:
        """Return whose keys wait."""
        return {key.provider_id for key in self._waiting.values()}

    def take(self, provider_id: str, claimed: Collection[str]) -> list[KeySlot]:
        """Return slots of one provider's keys but for those *claimed*; they wait no longer.

        Raises:
            EncryptionError: Some were sealed under a key that is not here; the message names one.
        """
        waiting = self._waiting_for(provider_id, claimed)
        secrets = self._secrets_of(waiting, provider_id)
        return [self._slot(self._waiting.pop(key.id), secrets[key.id]) for key in waiting]

    def _waiting_for(self, provider_id: str, claimed: Collection[str]) -> list[APIKey]:
        return [
            key
            for key in self._waiting.values()
            if key.provider_id == provider_id and key.id not in claimed
        ]

    def _secrets_of(self, keys: Collection[APIKey], provider_id: str) -> dict[str, str]:
        secrets = {key.id: opened_secret(key, self._sealer) for key in keys}
        closed = [key_id for key_id, secret in secrets.items() if secret is None]
        if closed:
            raise EncryptionError(
                f"cannot open {len(closed)} stored keys of '{provider_id}', such as '{closed[0]}': "
                "they were sealed under another key; set APIKEYROUTER_ENCRYPTION_KEY to it"
            )
        return {key_id: secret or "" for key_id, secret in secrets.items()}

    def wait_for_provider(self, slot: KeySlot) -> None:
        """Let a key wait that was in use until its provider went."""
        record = slot.snapshot().model_copy()
        if slot.kept_revision is not None:
            record.revision = slot.kept_revision
        self._waiting[slot.id] = record

    def check_opens(self, provider_id: str, claimed: Collection[str]) -> None:
        """Raise what `take` would raise."""
        self._secrets_of(self._waiting_for(provider_id, claimed), provider_id)

    async def store_declared(self, record: APIKey, secret: str) -> KeySlot:
        """Store a key that is declared, merged with what is kept of it; return its slot.

        Raises:
            KeyRegistrationError: It is kept as a key of another provider.
        """
        kept = self._waiting.pop(record.id, None)
        if kept is None:
            try:
                record.key_material = self._sealer.encrypt(secret, record.id)
                await self._store.swap_key(record, expect=None)
                return self._slot(record, secret)
            except StateConflictError:
                kept = await self._store.get_key(record.id)
                if kept is None:
                    raise
        record, secret = merged(record, secret, kept, self._sealer)
        if is_changed(record, kept):
            record.revision = kept.revision + 1
            await self._store.swap_key(record, expect=kept.revision)
        return self._slot(record, secret)

    async def rewrap(self, in_use: Collection[str]) -> int:
        """Bring the secrets of stored keys that are not *in_use* under the first key.

        Returns:
            How many were under another one.
        """
        moved = 0
        for key in await self._store.list_keys():
            sealed = None
            if key.id not in in_use:
                sealed = self._sealer.rewrap(key.key_material, key.id)
            if sealed is not None:
                update = {"key_material": sealed, "revision": key.revision + 1}
                changed = key.model_copy(update=update)
                await self._store.swap_key(changed, expect=key.revision)
                if key.id in self._waiting:
                    self._waiting[key.id] = changed
                moved += 1
        return moved

    def _slot(self, record: APIKey, secret: str) -> KeySlot:
        slot = slot_for(record, secret, self._sealer)
        slot.kept_revision = record.revision
        return slot
