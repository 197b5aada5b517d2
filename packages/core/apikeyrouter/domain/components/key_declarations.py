"""Keys as a configuration declares them: stored first, then in effect, all in one step.

What is declared of a key goes before what is kept of it; its state, its waits and its counts
stay. A secret is only taken from the declaration if that names another one than it did before:
one that an operator has rotated since stays. Whatever is stored and not in effect yet can be
taken back. Keys that are declared no more leave with all that is known of them, and come back
with it.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.key_material import Sealer, check_material
from apikeyrouter.domain.key_records import DECLARED, check_facts, mark_of
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.api_key import APIKey, KeyState
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.errors import KeyRegistrationError, StateConflictError

#: Withdrawn keys that are remembered as they were.
_WITHDRAWN_KEPT = 256
#: How often another process may change a key while a change of it is stored.
_TRIES = 3


@dataclass(slots=True, frozen=True)
class KeyDeclaration:
    """A key as it is declared: its facts are what `register_key` takes as metadata."""

    id: str
    provider_id: str
    secret: str = field(repr=False)
    facts: Mapping[str, Any]

    @property
    def metadata(self) -> dict[str, Any]:
        """What its record says of it, and by what a new secret is told from a rotated one."""
        return {**self.facts, DECLARED: mark_of(self.provider_id, self.secret)}

    def check(self) -> None:
        """Raise `KeyRegistrationError` if it cannot be a key."""
        check_material(self.secret)
        check_facts(APIKey(id=self.id, provider_id=self.provider_id, key_material="",
                           metadata=dict(self.facts)))  # fmt: skip


@dataclass(slots=True, eq=False)
class StoredKey:
    """What is stored of a declared key, and not in effect yet.

    Attributes:
        secret: A new one; `None` leaves the one in use.
        before: Metadata and sealed secret to go back to; `None` for a key that is new.
    """

    slot: KeySlot
    metadata: dict[str, Any]
    sealed: str = ""
    secret: str | None = field(default=None, repr=False)
    before: tuple[dict[str, Any], str] | None = None
    orders: int = 0


class KeyDeclarations:
    """Brings keys in step with what is declared.

    Args:
        remove: Lets keys serve no more.
        redeclare: Told of a key whose facts are others now, and what they were.
        touch: Told of a key whose record is to be written behind.
        watch: Told of a key that is out of use as invalid.
    """

    def __init__(
        self,
        manager: KeyManager,
        sealer: Sealer,
        *,
        clock: Callable[[], float],
        remove: Callable[[set[KeySlot]], None],
        redeclare: Callable[[KeySlot, Mapping[str, Any]], None],
        touch: Callable[[KeySlot], None],
        watch: Callable[[KeySlot], None],
    ) -> None:
        self._manager = manager
        self._sealer = sealer
        self._clock = clock
        self._remove = remove
        self._redeclare = redeclare
        self._touch = touch
        self._watch = watch
        self._withdrawn: OrderedDict[str, KeySlot] = OrderedDict()

    def find(self, key_id: str) -> KeySlot | None:
        """Return a key that is in use, or was withdrawn a while ago."""
        return self._manager.slot_by_id.get(key_id) or self._withdrawn.get(key_id)

    def check(self, declaration: KeyDeclaration) -> None:
        """Make sure that a key can be declared so; nothing is stored.

        Raises:
            KeyRegistrationError: It cannot; the message says why.
        """
        declaration.check()
        slot = self._manager.slot_by_id.get(declaration.id)
        if slot is not None and slot.provider_id != declaration.provider_id:
            raise KeyRegistrationError(
                f"it is one of provider '{slot.provider_id}': give this one another id"
            )

    async def store(self, declaration: KeyDeclaration) -> StoredKey | None:
        """Store a key as it is declared; `None` if it is that already.

        Raises:
            KeyRegistrationError: It is kept as a key of another provider.
            StateConflictError: Other processes keep changing it.
            StateStoreError: It cannot be stored.
        """
        for left in reversed(range(_TRIES)):
            slot = self.find(declaration.id)
            if slot is not None and slot.provider_id != declaration.provider_id:
                del self._withdrawn[slot.id]
                slot = None
            try:
                if slot is None:
                    return await self._store_new(declaration)
                return await self._store_change(slot, declaration)
            except StateConflictError:
                # The key is by now as the other process has stored it.
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def take_back(self, stored: StoredKey) -> None:
        """Store a key as it was before; of a new one there is nothing to go back to.

        Raises:
            StateStoreError: It cannot be stored.
        """
        if stored.before is not None:
            metadata, sealed = stored.before
            async with self._manager.orders.lock(stored.slot.id):
                await self._manager.orders.write(
                    stored.slot, metadata=metadata, key_material=sealed
                )

    def put_to_use(self, stored: StoredKey) -> None:
        """Let what was stored take effect."""
        slot, manager = stored.slot, self._manager
        before, slot.record.metadata = slot.record.metadata, stored.metadata
        is_amended = slot.take_facts()
        if stored.secret is not None:
            slot.take_secret(stored.secret, stored.sealed)
        is_new = slot.id not in manager.slot_by_id
        if is_new:
            slot.is_withdrawn = False
            self._withdrawn.pop(slot.id, None)
            manager.slot_by_id[slot.id] = slot
        self._redeclare(slot, before)
        if is_new:
            manager.on_change(slot)
        elif is_amended:
            manager.on_amend(slot)
        if stored.secret is not None:
            manager.renew(slot, stored.orders)
        if slot.record.state is KeyState.INVALID:
            self._watch(slot)
        if stored.before is not None:
            # Traffic may have had the old facts written since the new ones were stored.
            self._touch(slot)

    def withdraw(self, slots: Collection[KeySlot]) -> None:
        """Let keys serve no more that are declared no more; what is stored of them stays."""
        gone = set(slots)
        for slot in slots:
            slot.is_withdrawn = True
            del self._manager.slot_by_id[slot.id]
            self._withdrawn[slot.id] = slot
        self._remove(gone)
        while len(self._withdrawn) > _WITHDRAWN_KEPT:
            self._withdrawn.popitem(last=False)

    def park(self, slots: Collection[KeySlot]) -> None:
        """Let keys wait until their provider is back."""
        self.withdraw(slots)
        for slot in slots:
            self._withdrawn.pop(slot.id, None)
            self._manager.kept.wait_for_provider(slot)

    async def _store_new(self, declaration: KeyDeclaration) -> StoredKey:
        record = APIKey(
            id=declaration.id,
            provider_id=declaration.provider_id,
            # Sealed once it is known whether it is kept already.
            key_material="",
            created_at=instant(self._clock()),
            metadata=declaration.metadata,
        )
        slot = await self._manager.kept.store_declared(record, declaration.secret)
        return StoredKey(slot, slot.record.metadata)

    async def _store_change(self, slot: KeySlot, declaration: KeyDeclaration) -> StoredKey | None:
        before = slot.record.metadata
        stored = StoredKey(
            slot, {**before, **declaration.metadata}, slot.record.key_material,
            before=(before, slot.record.key_material), orders=slot.orders,
        )  # fmt: skip
        changes: dict[str, Any] = {"metadata": stored.metadata}
        if self.renews(slot, declaration):
            stored.secret = declaration.secret
            stored.sealed = self._sealer.encrypt(declaration.secret, slot.id)
            changes |= {"key_material": stored.sealed, "state": KeyState.AVAILABLE,
                        "cooldown_until": None}  # fmt: skip
        elif stored.metadata == before:
            return stored if slot.is_withdrawn else None
        async with self._manager.orders.lock(slot.id):
            await self._manager.orders.write(slot, **changes)
        return stored

    @staticmethod
    def renews(slot: KeySlot, declaration: KeyDeclaration) -> bool:
        """Tell whether a key gets another secret by what is declared of it."""
        told = slot.record.metadata.get(DECLARED)
        mark = mark_of(declaration.provider_id, declaration.secret)
        return told != mark and slot.secret != declaration.secret
