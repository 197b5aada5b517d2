"""Keys: which exist, which may be called now, which moves of state are allowed.

The manager owns the records and their live slots. Moves that traffic causes are
plain functions that name the version of the key they are meant for; their records are written
behind. What an operator orders is durable on return: a registration and a new secret take effect
once they are stored, any other order at once, and it is undone if it cannot be stored.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from apikeyrouter.domain.feed.events import Event, KeyMoved
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.kept_keys import KeptKeys
from apikeyrouter.domain.key_material import Sealer, check_material, derived_id
from apikeyrouter.domain.key_orders import KeyOrders, Order
from apikeyrouter.domain.key_records import NEVER_S, check_facts, opened_secret, wait_of
from apikeyrouter.domain.key_slot import KeySlot, KeyVersion, Standing
from apikeyrouter.domain.models.api_key import ALLOWED_MOVES, APIKey, KeyState
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.errors import (
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


class KeyManager:
    """Keeps keys: registers, finds, moves, rotates, revokes.

    Args:
        lock: Lets in one at a time for each key's id.
        record: Takes what is to be written behind.
        touch: Told of a key whose record traffic has changed; it is written behind too.
    """

    def __init__(
        self,
        store: StateStore,
        sealer: Sealer,
        *,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        record: Callable[[StateTransition], None],
        touch: Callable[[KeySlot], None],
        lock: Callable[[str], AbstractAsyncContextManager[object]],
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._emit = emit
        self._record = record
        self._touch = touch
        self.orders = KeyOrders(store, lock, restate=self.restate, adopt=self.take_over)
        self._reserved: set[str] = set()  # ids that are being registered
        self.kept = KeptKeys(store, sealer)
        self.slot_by_id: dict[str, KeySlot] = {}
        #: Called when a key appears, or moves in or out of use.
        self.on_change: Callable[[KeySlot], None] = lambda _: None
        #: Called when a key serves other models than before, or has another share.
        self.on_amend: Callable[[KeySlot], None] = lambda _: None
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
        # Its secret is sealed once it is known whether it is kept already.
        record = APIKey(
            id=key_id, provider_id=provider_id, key_material="",
            created_at=instant(self._clock()), metadata=metadata,
        )  # fmt: skip
        check_facts(record)
        self._reserved.add(key_id)
        try:
            slot = await self.kept.store_declared(record, key_material)
        finally:
            self._reserved.discard(key_id)
        self.slot_by_id[key_id] = slot
        self.on_change(slot)
        self.orders.on_stored(slot)
        return slot.record

    def adopt(self, provider_id: str, claimed: Collection[str] = ()) -> list[KeySlot]:
        """Put to use what was loaded of one provider's keys, but for those *claimed*.

        Raises:
            EncryptionError: Some were sealed under a key that is not here; the message names one.
        """
        slots = self.kept.take(provider_id, claimed)
        for slot in slots:
            self.slot_by_id[slot.id] = slot
            self.on_change(slot)
        return slots

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
        await self.orders.store_order(slot, Order(before, slot.moves), transition)
        return slot.record

    async def revoke_key(self, key_id: str, reason: str = "revoked") -> APIKey:
        """Take a key out of use for good (until someone makes it available again)."""
        slot = self.slot(key_id)
        if slot.record.state is KeyState.DISABLED:
            # Somebody else's order may be on its way to the store, and may fail.
            await self.orders.settle_others(key_id)
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
        async with self.orders.lock(key_id):
            # An order that came meanwhile is stored after this, with its own state.
            await self.orders.write(slot, **_FRESH, key_material=sealed)
            slot.take_secret(new_material, sealed)
        self.renew(slot, orders)
        return slot.record

    def renew(self, slot: KeySlot, orders: int) -> None:
        """Let a key be used that has another secret; what was ordered after *orders* holds."""
        if slot.orders == orders or slot.record.state is KeyState.INVALID:
            self.wake(slot)
            if slot.record.state is not KeyState.AVAILABLE:
                self._record(self._shift(slot, KeyState.AVAILABLE, "rotated", self._clock()))
        self.orders.forget_before(slot.id)
        self.on_change(slot)

    async def rewrap_keys(self) -> int:
        """Bring every stored secret under the first encryption key, while it is used.

        Returns:
            How many were under another one.

        Raises:
            EncryptionError: One does not open; those before it are done.
        """
        moved = await self.kept.rewrap(self.slot_by_id)
        for slot in list(self.slot_by_id.values()):
            async with self.orders.lock(slot.id):
                sealed = self._sealer.rewrap(slot.record.key_material, slot.id)
                if sealed is not None:
                    await self.orders.write(slot, key_material=sealed)
                    slot.record.key_material = sealed
                    moved += 1
        return moved

    async def declare_limits(self, key_id: str, limits: Mapping[str, float]) -> KeySlot:
        """Keep *limits* with the key, beside those that were declared before.

        Raises:
            KeyNotFoundError: No such key.
        """
        return await self.amend_key(key_id, {"limits": dict(limits)})

    async def amend_key(
        self, key_id: str, facts: Mapping[str, Any], *, expect: int | None = None
    ) -> KeySlot:
        """Say otherwise of a key: its `models`, `weight`, `priority` or `tags`; add `limits`.

        Raises:
            KeyNotFoundError: No such key.
            KeyRegistrationError: A limit or the weight is none.
            StateConflictError: It is not of the revision *expect*.
        """
        slot = self.slot(key_id)
        check_facts(slot.record, facts)
        await self.orders.amend(slot, facts, expect=expect)
        if slot.take_facts():
            self.on_amend(slot)
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
        self._touch(slot)
        return True

    def sleep(self, slot: KeySlot, until: float, why: str) -> None:
        """Let nobody call the key before *until*; never shortens a wait."""
        if slot.cooldown.extend(until, why):
            slot.record.cooldown_until = instant(min(until, NEVER_S))
            self._touch(slot)

    def wake(self, slot: KeySlot) -> None:
        """End the key's wait."""
        slot.cooldown.end()
        slot.record.cooldown_until = None
        self._touch(slot)
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

    def restate(
        self, slot: KeySlot, standing: Standing, trigger: str, *, is_ours: bool = True
    ) -> None:
        """Let a key stand so, whatever the table says; its move is recorded if it *is_ours*."""
        if slot.record.state is not standing.state:
            moved = self._shift(slot, standing.state, trigger, self._clock())
            if is_ours:
                self._record(moved)
        slot.stand(standing)
        self.on_change(slot)

    def take_over(self, slot: KeySlot, kept: APIKey) -> None:
        """Make the key what another process has stored of it."""
        slot.record.revision = slot.kept_revision = kept.revision
        secret = opened_secret(kept, self._sealer)
        if kept.key_material != slot.record.key_material and secret is not None:
            slot.take_secret(secret, kept.key_material)
        slot.record.metadata = dict(kept.metadata)
        if slot.take_facts():
            self.on_amend(slot)
        standing = Standing(kept.state, wait_of(kept), kept.cooldown_until)
        self.restate(slot, standing, "changed by another process", is_ours=False)

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
            entity_type="APIKey", entity_id=slot.id,
            from_state=record.state.value, to_state=to.value,
            transition_timestamp=instant(now), trigger=trigger,
        )  # fmt: skip
        record.state = to
        slot.may_try = False
        record.state_updated_at = transition.transition_timestamp
        slot.moves += 1
        self._touch(slot)
        self._emit(
            KeyMoved(slot.id, slot.provider_id, transition.from_state, to.value, trigger, at=now)
        )
        return transition
