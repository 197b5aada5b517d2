"""What operators order of keys, made durable: one order of a key at a time.

An order is in force while it is being stored, and undone if it cannot be. It is stored
over the revision of the key that it was made from: if another process has changed the
key meanwhile, the order is refused, and the key is from then on as it is kept.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.key_slot import KeySlot, Standing
from apikeyrouter.domain.models.api_key import APIKey, KeyState
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.errors import StateConflictError

_STANDING = ("state", "state_updated_at", "cooldown_until")


@dataclass(slots=True, eq=False)
class Order:
    """An operator's change that is in effect but not stored yet.

    Attributes:
        before: What to go back to if it cannot be stored.
        number: Of the slot's moves when it was in force; later ones overrule it.
    """

    before: Standing
    number: int


class KeyOrders:
    """Stores orders.

    Args:
        lock: Lets in one at a time for each key's id.
        restate: Called to move a slot back to a state, with the reason; and told of the slot.
        adopt: Takes over what another process has made of a key.
    """

    def __init__(
        self,
        store: StateStore,
        lock: Callable[[str], AbstractAsyncContextManager[object]],
        *,
        restate: Callable[[KeySlot, Standing, str], None],
        adopt: Callable[[KeySlot, APIKey], None],
    ) -> None:
        self._store = store
        self._restate = restate
        self._adopt = adopt
        self._pending: dict[str, list[Order]] = {}
        self.lock = lock
        #: Told of a key once something else of it is stored.
        self.on_stored: Callable[[KeySlot], None] = lambda _: None

    def is_pending(self, key_id: str) -> bool:
        """Tell whether an order of this key is in force and not stored yet."""
        return key_id in self._pending

    async def settle_others(self, key_id: str) -> None:
        """Wait until nobody's order of this key is on its way to the store."""
        async with self.lock(key_id):
            pass

    async def store_order(
        self, slot: KeySlot, order: Order, transition: StateTransition | None
    ) -> None:
        """Make what is in force durable; undo it when that fails.

        Raises:
            StateConflictError: Another process has changed the key.
        """
        wanted = {name: getattr(slot.record, name) for name in _STANDING}
        pending = self._pending.setdefault(slot.id, [])
        pending.append(order)
        try:
            async with self.lock(slot.id):
                if transition is not None:
                    await self._store.save_state_transition(transition)
                # As this order left it: a later one may not be stored.
                await self._swap(slot, wanted)
        except StateConflictError:
            self._undo(slot, order, pending)
            await self._look_again(slot)
            raise
        except BaseException:
            self._undo(slot, order, pending)
            raise
        finally:
            pending.remove(order)
            if not pending:
                self._pending.pop(slot.id, None)

    async def write(self, slot: KeySlot, **changes: Any) -> None:
        """Store the key with *changes*, within its lock.

        Raises:
            StateConflictError: Another process has changed the key.
        """
        try:
            await self._swap(slot, changes)
        except StateConflictError:
            await self._look_again(slot)
            raise

    async def amend(
        self, slot: KeySlot, facts: Mapping[str, Any], *, expect: int | None = None
    ) -> None:
        """Store *facts* of the key in the place of its own, but limits beside them.

        They hold once they are stored; the slot is left to the caller. `None` ends a limit.

        Raises:
            StateConflictError: Its revision is not *expect*, or another process has changed it.
        """
        async with self.lock(slot.id):
            if expect is not None and slot.record.revision != expect:
                raise StateConflictError.of_key(slot.id)
            before = slot.record.metadata
            after = {**before, **facts}
            if "limits" in facts:
                limits = {**(before.get("limits") or {}), **facts["limits"]}
                after["limits"] = {name: most for name, most in limits.items() if most is not None}
            await self.write(slot, metadata=after)
            slot.record.metadata = after

    def forget_before(self, key_id: str) -> None:
        """Let orders that fail go back to an available key: its secret is new."""
        for order in self._pending.get(key_id, ()):
            order.before = Standing(KeyState.AVAILABLE)

    async def _swap(self, slot: KeySlot, changes: dict[str, Any]) -> None:
        revision = slot.record.revision + 1
        record = slot.snapshot().model_copy(update={**changes, "revision": revision})
        await self._store.swap_key(record, expect=slot.kept_revision)
        slot.record.revision = slot.kept_revision = revision
        self.on_stored(slot)

    async def _look_again(self, slot: KeySlot) -> None:
        kept = await self._store.get_key(slot.id)
        slot.kept_revision = None if kept is None else kept.revision
        if kept is not None:
            self._adopt(slot, kept)

    def _undo(self, slot: KeySlot, order: Order, pending: list[Order]) -> None:
        later = pending[pending.index(order) + 1 :]
        if later:
            # Overruled: should the later order fail too, this one must not come back.
            later[0].before = order.before
        elif slot.moves == order.number or order.before.state is KeyState.DISABLED:
            # What traffic moved meanwhile stands, but never over a revocation.
            self._restate(slot, order.before, "not stored")
