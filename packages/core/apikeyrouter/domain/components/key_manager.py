"""Keys: which exist, which may be called now, which moves of state are allowed.

The manager owns the records and their live slots. Moves that traffic causes are
plain functions that name the version of the key they are meant for; their
records are written behind. What an operator orders is durable on return: a
registration and a new secret take effect once they are stored, any other order
at once, and it is undone if it cannot be stored. One order of a key is stored
at a time, so that the store keeps the last one.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from apikeyrouter.domain.feed.events import Event, KeyMoved
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.key_material import Sealer, check_material, derived_id
from apikeyrouter.domain.key_slot import KeySlot, KeyVersion, Standing
from apikeyrouter.domain.limits.declared_limits import check_limits
from apikeyrouter.domain.models.api_key import ALLOWED_MOVES, APIKey, KeyState
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
    "derived_id",
]

#: What a record says of its state once its secret is new.
_FRESH = {"state": KeyState.AVAILABLE, "cooldown_until": None}
_STANDING = ("state", "state_updated_at", "cooldown_until")


@dataclass(slots=True, eq=False)
class _Order:
    """An operator's change that is in effect but not stored yet.

    Attributes:
        before: What to go back to if it cannot be stored.
        number: Of the slot's moves when it was in force; later ones overrule it.
    """

    before: Standing
    number: int


class KeyManager:
    """Keeps keys: registers, finds, moves, rotates, revokes.

    Args:
        lock: Lets in one at a time for each key's id.
        record: Takes what is to be written behind.
    """

    def __init__(
        self,
        store: StateStore,
        sealer: Sealer,
        *,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        record: Callable[[StateTransition | APIKey], None],
        lock: Callable[[str], AbstractAsyncContextManager[object]],
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._emit = emit
        self._record = record
        self._lock = lock
        #: Ids that are being registered.
        self._reserved: set[str] = set()
        self._pending: dict[str, list[_Order]] = {}
        self.slot_by_id: dict[str, KeySlot] = {}
        #: Called when a key appears, or moves in or out of use.
        self.on_change: Callable[[KeySlot], None] = lambda _: None
        #: Called when a key was repaired: rotated, or made available by an operator or a probe.
        self.on_wake: Callable[[KeySlot], None] = lambda _: None

    async def register_key(
        self, key_material: str, provider_id: str, metadata: dict[str, Any] | None = None
    ) -> APIKey:
        """Register a credential.

        Args:
            key_material: The secret: printable, without spaces, at most 4,096 characters.
            provider_id: Whose it is.
            metadata: `id`, `scope`, `models`, `weight`, `priority`, `tags`,
                `limits` are understood; the rest is kept as it is.

        Raises:
            KeyRegistrationError: Unusable material, or an id that is taken.
        """
        metadata = dict(metadata or {})
        check_material(key_material)
        key_id = str(metadata.pop("id", None) or derived_id(provider_id, key_material))
        if key_id in self.slot_by_id or key_id in self._reserved:
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
        self._reserved.add(key_id)
        try:
            await self._store.save_key(record)
        finally:
            self._reserved.discard(key_id)
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
        """Move a key as an operator orders.

        Args:
            cooldown_seconds: With throttled or exhausted: seconds until it wakes.

        Raises:
            KeyNotFoundError: No such key.
            InvalidStateTransitionError: The table forbids the move.
        """
        slot, now = self.slot(key_id), self._clock()
        reason = reason or "by hand"
        before = slot.standing()
        transition = self._shift_by_table(slot, KeyState(new_state), reason, now)
        slot.orders += 1
        if cooldown_seconds is not None:
            self.sleep(slot, now + cooldown_seconds, reason)
        elif slot.record.state is KeyState.AVAILABLE:
            self.wake(slot)
        self.on_change(slot)
        await self._store_order(slot, _Order(before, slot.moves), transition)
        return slot.record

    async def revoke_key(self, key_id: str, reason: str = "revoked") -> APIKey:
        """Take a key out of use for good (until someone makes it available again)."""
        slot = self.slot(key_id)
        if slot.record.state is KeyState.DISABLED:
            # Somebody else's order may be on its way to the store, and may fail.
            async with self._lock(key_id):
                pass
        if slot.record.state is KeyState.DISABLED:
            return slot.record
        return await self.update_key_state(key_id, KeyState.DISABLED, reason)

    async def rotate_key(self, key_id: str, new_material: str) -> APIKey:
        """Replace the secret; id, scope and history stay, and the key is usable again.

        What an operator orders meanwhile, such as to revoke it, holds for the new secret too.
        """
        check_material(new_material)
        slot = self.slot(key_id)
        orders = slot.orders
        sealed = self._sealer.encrypt(new_material, key_id)
        async with self._lock(key_id):
            # An order that came meanwhile is stored after this, with its own state.
            update = {**_FRESH, "key_material": sealed}
            await self._store.save_key(slot.snapshot().model_copy(update=update))
            slot.take_secret(new_material, sealed)
        if slot.orders == orders or slot.record.state is KeyState.INVALID:
            self.wake(slot)
            if slot.record.state is not KeyState.AVAILABLE:
                self._record(self._shift(slot, KeyState.AVAILABLE, "rotated", self._clock()))
        for order in self._pending.get(key_id, ()):
            order.before = Standing(KeyState.AVAILABLE)
        self.on_change(slot)
        return slot.record

    async def declare_limits(self, key_id: str, limits: Mapping[str, float]) -> KeySlot:
        """Keep *limits* with the key, beside those that were declared before.

        Raises:
            KeyNotFoundError: No such key.
        """
        slot = self.slot(key_id)
        async with self._lock(key_id):
            facts = slot.record.metadata
            facts = {**facts, "limits": {**(facts.get("limits") or {}), **limits}}
            await self._store.save_key(slot.snapshot().model_copy(update={"metadata": facts}))
            slot.record.metadata = facts
        return slot

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
        """Move a slot whose wait is over back to use; tell whether it moved.

        An invalid one that is called is on trial: that request alone tries it.
        """
        slot.may_try = False
        state = slot.record.state
        if slot.cooldown.until > now or state not in (KeyState.THROTTLED, KeyState.EXHAUSTED):
            return False
        if state is KeyState.EXHAUSTED:
            self.move(slot, KeyState.RECOVERING, "its wait is over", now)
        self.move(slot, KeyState.AVAILABLE, "its wait is over", now)
        slot.record.cooldown_until = None
        return True

    def sleep(self, slot: KeySlot, until: float, why: str) -> None:
        """Let nobody call the key before *until*; never shortens a wait."""
        if slot.cooldown.extend(until, why):
            slot.record.cooldown_until = instant(min(until, 4e9))

    def wake(self, slot: KeySlot) -> None:
        """End the key's wait."""
        slot.cooldown.end()
        slot.record.cooldown_until = None
        self.on_wake(slot)

    def move(
        self,
        slot: KeySlot,
        to: KeyState,
        trigger: str,
        now: float,
        *,
        expect: KeyVersion | None = None,
    ) -> StateTransition | None:
        """Move a key; staying where it is is no move.

        Args:
            expect: What the key was when the reason for the move was found; when it
                is something else by now, nothing moves.

        Raises:
            InvalidStateTransitionError: The table forbids it.
        """
        if expect is not None and slot.version != expect:
            return None
        transition = self._shift_by_table(slot, to, trigger, now)
        if transition is not None:
            self._record(transition)
            self.on_change(slot)
        return transition

    def offer_trial(self, slot: KeySlot, *, expect: KeyVersion) -> None:
        """Let one request try an invalid key, of which its provider says nothing otherwise."""
        if slot.version == expect and slot.record.state is KeyState.INVALID:
            slot.may_try = True
            # An account that was found disabled waits for this as well.
            self.on_wake(slot)
            self.on_change(slot)

    def restore(self, slot: KeySlot, trigger: str, *, expect: KeyVersion) -> bool:
        """Make an invalid key available: its provider took it after all; tell whether it moved."""
        if slot.version != expect or slot.record.state is not KeyState.INVALID:
            return False
        now = self._clock()
        self._record(self._shift(slot, KeyState.DISABLED, trigger, now))
        self._record(self._shift(slot, KeyState.AVAILABLE, trigger, now))
        self.wake(slot)
        self.on_change(slot)
        return True

    async def _store_order(
        self, slot: KeySlot, order: _Order, transition: StateTransition | None
    ) -> None:
        """Make what is in force durable; undo it when that fails."""
        wanted = {name: getattr(slot.record, name) for name in _STANDING}
        pending = self._pending.setdefault(slot.id, [])
        pending.append(order)
        try:
            async with self._lock(slot.id):
                if transition is not None:
                    await self._store.save_state_transition(transition)
                # As this order left it: a later one may not be stored.
                await self._store.save_key(slot.snapshot().model_copy(update=wanted))
        except BaseException:
            self._undo(slot, order, pending)
            raise
        finally:
            pending.remove(order)
            if not pending:
                self._pending.pop(slot.id, None)

    def _undo(self, slot: KeySlot, order: _Order, pending: list[_Order]) -> None:
        later = pending[pending.index(order) + 1 :]
        if later:
            # Overruled: should the later order fail too, this one must not come back.
            later[0].before = order.before
        elif slot.moves == order.number or order.before.state is KeyState.DISABLED:
            # What traffic moved meanwhile stands, but never over a revocation.
            if slot.record.state is not order.before.state:
                self._record(self._shift(slot, order.before.state, "not stored", self._clock()))
            slot.stand(order.before)
            self.on_change(slot)

    def _shift_by_table(
        self, slot: KeySlot, to: KeyState, trigger: str, now: float
    ) -> StateTransition | None:
        state = slot.record.state
        if state is to:
            return None
        if to not in ALLOWED_MOVES[state]:
            allowed = ", ".join(sorted(ALLOWED_MOVES[state]))
            raise InvalidStateTransitionError(
                f"key '{slot.id}' may not move from {state.value} to {to.value}; allowed: {allowed}"
            )
        return self._shift(slot, to, trigger, now)

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
        slot.may_try = False
        record.state_updated_at = transition.transition_timestamp
        slot.moves += 1
        self._emit(
            KeyMoved(slot.id, slot.provider_id, transition.from_state, to.value, trigger, at=now)
        )
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
