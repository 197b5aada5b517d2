"""Who exists, who is awake, who may move where.

The manager owns the records and their live slots. `move` is the one door for
a change of state: it checks the table, records the transition and tells the
listeners. Moves that traffic causes are plain functions; their records are
written behind. What an operator orders is awaited and durable on return.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.api_key import ALLOWED_MOVES, APIKey, KeyState
from apikeyrouter.domain.models.declared_limits import check_limits
from apikeyrouter.domain.models.events import Event, KeyMoved
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.errors import (
    ConfigurationError,
    InvalidStateTransitionError,
    KeyNotFoundError,
    KeyRegistrationError,
)

__all__ = [
    "InvalidStateTransitionError",
    "KeyManager",
    "KeyNotFoundError",
    "KeyRegistrationError",
]

_LONGEST_MATERIAL = 4096


class Sealer(Protocol):
    """What the manager needs of an encryption service."""

    def encrypt(self, plaintext: str, context: str = "") -> str:
        """Seal *plaintext* for *context*."""

    def decrypt(self, token: str, context: str = "") -> str:
        """Open what was sealed for the same *context*."""


class KeyManager:
    """Keeps keys: registers, finds, moves, rotates, revokes."""

    def __init__(
        self,
        store: StateStore,
        sealer: Sealer,
        *,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        record: Callable[[StateTransition | APIKey], None],
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._emit = emit
        self._record = record
        self.slot_by_id: dict[str, KeySlot] = {}
        #: Told when a key appears, or moves in or out of use.
        self.on_change: Callable[[KeySlot], None] = lambda _: None
        #: Told when a key was put right: rotated, or made available by hand or by a probe.
        self.on_wake: Callable[[KeySlot], None] = lambda _: None

    async def register_key(
        self, key_material: str, provider_id: str, metadata: dict[str, Any] | None = None
    ) -> APIKey:
        """Take in a credential.

        Args:
            key_material: The secret: printable, without spaces, at most 4,096 characters.
            provider_id: Whose it is.
            metadata: `id`, `scope`, `models`, `weight`, `priority`, `tags`,
                `limits` are understood; the rest is kept as it is.

        Raises:
            KeyRegistrationError: Unusable material, or an id that is taken.
        """
        metadata = dict(metadata or {})
        _check_material(key_material)
        key_id = str(metadata.pop("id", None) or derived_id(provider_id, key_material))
        if key_id in self.slot_by_id:
            raise KeyRegistrationError(
                f"key '{key_id}' is registered already; rotate it to change its secret"
            )
        record = APIKey(
            id=key_id,
            provider_id=provider_id,
            key_material=self._sealer.encrypt(key_material, key_id),
            created_at=instant(self._clock()),
            metadata=metadata,
        )
        slot = self._enlist(record, key_material)
        await self._store.save_key(record)
        self.slot_by_id[key_id] = slot
        self.on_change(slot)
        return record

    async def get_key(self, key_id: str) -> APIKey | None:
        """Return the record or `None`."""
        slot = self.slot_by_id.get(key_id)
        return slot.snapshot() if slot else None

    async def list_keys(self, provider_id: str | None = None) -> list[APIKey]:
        """Return all records, or one provider's, in order of registration."""
        return [
            slot.snapshot()
            for slot in self.slot_by_id.values()
            if provider_id is None or slot.provider_id == provider_id
        ]

    async def get_eligible_keys(self, provider_id: str, model: str | None = None) -> list[APIKey]:
        """Return the provider's keys that may be called now (limits aside)."""
        now = self._clock()
        return [
            slot.snapshot()
            for slot in self.slot_by_id.values()
            if slot.provider_id == provider_id
            and slot.is_awake(now)
            and (model is None or slot.serves(model))
        ]

    async def update_key_state(
        self,
        key_id: str,
        new_state: KeyState | str,
        reason: str = "",
        cooldown_seconds: float | None = None,
    ) -> APIKey:
        """Move a key by hand.

        Args:
            cooldown_seconds: With throttled or exhausted: seconds until it wakes.

        Raises:
            KeyNotFoundError: No such key.
            InvalidStateTransitionError: The table forbids the move.
        """
        slot = self.slot(key_id)
        now = self._clock()
        transition = self.move(slot, KeyState(new_state), reason or "by hand", now)
        if cooldown_seconds is not None:
            self.sleep(slot, now + cooldown_seconds, reason or "by hand")
        elif slot.record.state is KeyState.AVAILABLE:
            self.wake(slot)
        await self._store.save_key(slot.record)
        if transition is not None:
            await self._store.save_state_transition(transition)
        return slot.record

    async def revoke_key(self, key_id: str, reason: str = "revoked") -> APIKey:
        """Take a key out of use for good (until someone makes it available again)."""
        slot = self.slot(key_id)
        if slot.record.state is KeyState.DISABLED:
            return slot.record
        return await self.update_key_state(key_id, KeyState.DISABLED, reason)

    async def rotate_key(self, key_id: str, new_material: str) -> APIKey:
        """Replace the secret; id, scope and history stay, and the key is usable again."""
        _check_material(new_material)
        slot = self.slot(key_id)
        sealed = self._sealer.encrypt(new_material, key_id)
        await self._store.save_key(slot.record.model_copy(update={"key_material": sealed}))
        slot.record.key_material = sealed
        slot.secret = new_material
        slot.confirmed_invalid = False
        slot.refused_models.clear()
        self.wake(slot)
        if slot.record.state is not KeyState.AVAILABLE:
            self._shift(slot, KeyState.AVAILABLE, "rotated", self._clock())
        self.on_change(slot)
        return slot.record

    async def check_and_recover_states(self) -> list[APIKey]:
        """Move every key whose wait is over back to use; return those moved."""
        now = self._clock()
        return [slot.record for slot in self.slot_by_id.values() if self.recover(slot, now)]

    def slot(self, key_id: str) -> KeySlot:
        """Return the live slot.

        Raises:
            KeyNotFoundError: No such key.
        """
        try:
            return self.slot_by_id[key_id]
        except KeyError:
            raise KeyNotFoundError(f"no key '{key_id}'") from None

    def recover(self, slot: KeySlot, now: float) -> bool:
        """Move a slot whose wait is over back to use; tell whether it moved."""
        state = slot.record.state
        if slot.wake_at > now or state not in (KeyState.THROTTLED, KeyState.EXHAUSTED):
            return False
        if state is KeyState.EXHAUSTED:
            self.move(slot, KeyState.RECOVERING, "its wait is over", now)
        self.move(slot, KeyState.AVAILABLE, "its wait is over", now)
        slot.record.cooldown_until = None
        return True

    def sleep(self, slot: KeySlot, until: float, why: str) -> None:
        """Let nobody call the key before *until*; never shortens a wait."""
        if until > slot.wake_at:
            slot.wake_at = until
            slot.why = why
            slot.record.cooldown_until = instant(min(until, 4e9))

    def wake(self, slot: KeySlot) -> None:
        """End the key's wait."""
        slot.wake_at = 0.0
        slot.why = ""
        slot.record.cooldown_until = None
        self.on_wake(slot)

    def move(self, slot: KeySlot, to: KeyState, trigger: str, now: float) -> StateTransition | None:
        """Move a key; staying where it is is no move.

        Raises:
            InvalidStateTransitionError: The table forbids it.
        """
        state = slot.record.state
        if state is to:
            return None
        if to not in ALLOWED_MOVES[state]:
            allowed = ", ".join(sorted(ALLOWED_MOVES[state]))
            raise InvalidStateTransitionError(
                f"key '{slot.id}' may not move from {state.value} to {to.value}; allowed: {allowed}"
            )
        transition = self._shift(slot, to, trigger, now)
        self.on_change(slot)
        return transition

    def _shift(self, slot: KeySlot, to: KeyState, trigger: str, now: float) -> StateTransition:
        record = slot.record
        transition = StateTransition(
            entity_type="APIKey",
            entity_id=slot.id,
            from_state=record.state.value,
            to_state=to.value,
            transition_timestamp=instant(now),
            trigger=trigger,
        )
        record.state = to
        record.state_updated_at = transition.transition_timestamp
        self._record(transition)
        self._emit(KeyMoved(slot.id, slot.provider_id, transition.from_state, to.value, trigger))
        return transition

    def _enlist(self, record: APIKey, secret: str) -> KeySlot:
        facts = record.metadata
        models = facts.get("models")
        try:
            check_limits(facts.get("limits") or {})
        except ConfigurationError as error:
            raise KeyRegistrationError(f"key '{record.id}': {error}") from None
        slot = KeySlot(
            record=record,
            secret=secret,
            models=tuple(models) if models else None,
            weight=float(facts.get("weight", 1.0)),
            priority=int(facts.get("priority", 0)),
            tags=dict(facts.get("tags") or {}),
        )
        if slot.weight <= 0:
            raise KeyRegistrationError(f"weight of key '{record.id}' must be above 0")
        record._opener = lambda: self._sealer.decrypt(record.key_material, record.id)
        return slot


def derived_id(provider_id: str, secret: str) -> str:
    """Derive a stable id that tells nothing of the secret; loading a file twice changes nothing."""
    digest = hashlib.sha256(f"{provider_id}\0{secret}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"{provider_id}-{digest[:10]}"


def _check_material(material: str) -> None:
    if not isinstance(material, str) or not material.strip():
        raise KeyRegistrationError("key material is empty; pass the provider's secret")
    if len(material) > _LONGEST_MATERIAL:
        raise KeyRegistrationError(
            f"key material has {len(material)} characters; at most {_LONGEST_MATERIAL} make a key"
        )
    if not material.isprintable() or any(c.isspace() for c in material) or not material.isascii():
        raise KeyRegistrationError(
            "key material holds spaces, line breaks or characters outside ASCII; copy it again"
        )
