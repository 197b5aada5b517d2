"""Keys: how they stand, and that the store has something else of them by now.

A notice never bears a secret. What an operator orders, a rotated secret and an added key are read
from the store, which every process shares; how traffic moves a key is told at once, and holds
for the revision of the key that it was found for. Of one revision a wait only grows, and a key
is invalid if that was found later than that its provider takes it: in whatever order notices
come. That a wait is over nobody tells.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from apikeyrouter.composition import RouterParts
from apikeyrouter.domain.cooldown import Cooldown
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.key_records import FROM_CONFIGURATION, NEVER_S, ORIGIN
from apikeyrouter.domain.key_slot import KeySlot, Standing
from apikeyrouter.domain.models.api_key import APIKey, KeyState
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.infrastructure.spreading.notice import Notice
from apikeyrouter.spreading.rereading import Rereading
from apikeyrouter.spreading.subject import Subject

WHY = "told by another process"
#: Notices that wait for the store to be read.
_PENDING_KEPT = 4096
#: Keys of which it is remembered when they were found invalid.
_FOUND_KEPT = 20_000
_SAME_S = 0.1
_NEVER = 0.0
_WAITS = (KeyState.THROTTLED, KeyState.EXHAUSTED)
#: Whoever has found a key invalid probes it first; the others after so many more of its pauses.
_LATER_BY = 2


@dataclass(slots=True, frozen=True)
class _Found:
    """When a key was found invalid for the last time, and when it was found that it is not."""

    invalid_at: float = _NEVER
    restored_at: float = _NEVER

    @property
    def is_invalid(self) -> bool:
        """Whether the former is later."""
        return self.invalid_at > self.restored_at


@dataclass(slots=True, frozen=True)
class _Told:
    """How a key stands elsewhere, in our instants."""

    revision: int
    state: KeyState
    until: float
    cause: str
    streak: int
    found: tuple[float, float]

    @property
    def standing(self) -> Standing:
        ends = instant(min(self.until, NEVER_S)) if self.until else None
        return Standing(self.state, Cooldown(self.until, self.cause), ends)


class KeySubject(Subject):
    """How one key stands.

    Args:
        quietly: Makes a change of which the others know.
        ensure_provider: Called with the provider of a key that is new; tells whether it is
            registered by then.
    """

    kind = "key"

    def __init__(
        self,
        parts: RouterParts,
        store: StateStore,
        clock: Callable[[], float],
        *,
        quietly: Callable[[Callable[[], None]], None],
        on_error: Callable[[Exception], None],
        ensure_provider: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._parts = parts
        self._manager = parts.manager
        self._store = store
        self._clock = clock
        self._quietly = quietly
        self._ensure_provider = ensure_provider
        self._rereading = Rereading(self._read, on_error=on_error)
        self._listing = Rereading(self._read_all, on_error=on_error)
        self._pending: OrderedDict[str, _Told] = OrderedDict()
        #: When a key was found invalid, and when it was found that it is not any more.
        self._found: dict[str, _Found] = {}

    def note(self, slot: KeySlot) -> bool:
        """Note how a key stands now; tell whether others should know."""
        state, found = slot.record.state, self._found.get(slot.id)
        if state is KeyState.INVALID:
            if found is None or not found.is_invalid:
                moved_at = slot.record.state_updated_at
                at = self._clock() if moved_at is None else moved_at.timestamp()
                self._find(slot.id, invalid_at=at)
            return True
        if found is not None and found.is_invalid:
            self._find(slot.id, restored_at=self._clock())
            return True
        return state not in (KeyState.AVAILABLE, KeyState.RECOVERING)

    def _find(self, name: str, invalid_at: float = _NEVER, restored_at: float = _NEVER) -> _Found:
        before = self._found.pop(name, _Found())
        found = _Found(max(before.invalid_at, invalid_at), max(before.restored_at, restored_at))
        self._found[name] = found
        if len(self._found) > _FOUND_KEPT:
            del self._found[next(iter(self._found))]
        return found

    def tell(self, name: str) -> Mapping[str, Any] | None:
        """Return how a key stands; nothing while an order of it is on its way to the store."""
        slot = self._manager.slot_by_id.get(name)
        if slot is None or self._manager.orders.is_pending(name):
            return None
        return {
            "revision": slot.record.revision,
            "state": slot.record.state.value,
            "until": slot.cooldown.until,
            "cause": slot.cooldown.cause,
            "streak": slot.streak,
            "found": astuple(self._found.get(name, _Found())),
        }

    def essence(self, body: Mapping[str, Any]) -> Hashable:
        """Return state, wait and revision."""
        return body["state"], round(body["until"], 1), body["revision"]

    def take_up(self, notice: Notice, *, changed_at: float) -> None:
        """Let the key stand as it does elsewhere, or look at the store first."""
        del changed_at
        told = _told(notice)
        slot = self._manager.slot_by_id.get(notice.name)
        if slot is None or slot.record.revision < told.revision:
            self._pending[notice.name] = told
            self._pending.move_to_end(notice.name)
            if len(self._pending) > _PENDING_KEPT:
                self._pending.popitem(last=False)
            self._rereading.want(notice.name)
        elif slot.record.revision == told.revision:
            self._stand(slot, told)

    def take_up_again(self) -> None:
        """Look at all keys of the store: some may have changed meanwhile."""
        self._listing.want("")

    async def close(self) -> None:
        """Read no more."""
        await self._rereading.close()
        await self._listing.close()

    def _stand(self, slot: KeySlot, told: _Told) -> None:
        before = slot.record.state
        if before is KeyState.DISABLED:
            # What an operator has disabled comes back by another revision only.
            return
        found = self._find(slot.id, *told.found)
        if told.state is KeyState.DISABLED:
            self._manager.restate(slot, told.standing, WHY, is_ours=False)
        elif found.is_invalid:
            if told.state is KeyState.INVALID is not before:
                slot.streak = max(slot.streak, told.streak) + _LATER_BY
                self._manager.restate(slot, told.standing, WHY, is_ours=False)
                self._parts.prober.watch(slot)
        elif told.state is KeyState.INVALID:
            return
        elif before is KeyState.INVALID:
            slot.confirmed_invalid, slot.streak = False, 0
            self._manager.restate(slot, told.standing, WHY, is_ours=False)
            self._manager.on_wake(slot)
        elif told.state in _WAITS and told.until > max(slot.cooldown.until, self._clock()):
            slot.streak = max(slot.streak, told.streak)
            self._manager.restate(slot, told.standing, WHY, is_ours=False)

    # -- from the store -----------------------------------------------------

    async def _read(self, name: str) -> None:
        async with self._manager.orders.lock(name):
            kept = await self._store.get_key(name)
            await self._adopt(name, kept)

    async def _read_all(self, _: str) -> None:
        for kept in await self._store.list_keys():
            slot = self._manager.slot_by_id.get(kept.id)
            if slot is None or slot.record.revision < kept.revision:
                self._rereading.want(kept.id)

    async def _adopt(self, name: str, kept: APIKey | None) -> None:
        """Make the key what is kept of it, unless it is as new here."""
        if kept is not None and name not in self._manager.slot_by_id:
            await self._begin(kept)
        slot, told = self._manager.slot_by_id.get(name), self._pending.pop(name, None)
        if slot is None or self._manager.orders.is_pending(name):
            return
        if kept is not None and slot.record.revision < kept.revision:
            self._quietly(lambda: self._change(slot, kept))
        if told is None:
            return
        # A store of our own alone has no orders of others: a key that is out of use is so here.
        is_unknown = slot.record.revision < told.revision and told.state is KeyState.DISABLED
        if slot.record.revision == told.revision or is_unknown:
            self._quietly(lambda: self._stand(slot, told))

    async def _begin(self, kept: APIKey) -> None:
        """Put a key to use that another process has added."""
        manager, provider_id = self._manager, kept.provider_id
        if kept.metadata.get(ORIGIN) == FROM_CONFIGURATION:
            return
        is_registered = await self._ensure_provider(provider_id)
        if kept.id in manager.slot_by_id:
            return
        manager.kept.add(kept)
        if is_registered:
            self._quietly(lambda: self._put_to_use(provider_id))

    def _put_to_use(self, provider_id: str) -> None:
        for slot in self._manager.adopt(provider_id):
            if slot.record.state is KeyState.INVALID:
                self._parts.prober.watch(slot)

    def _change(self, slot: KeySlot, kept: APIKey) -> None:
        before, generation = slot.record.metadata, slot.generation
        was_usable = slot.is_in_use
        self._manager.take_over(slot, kept)
        if kept.state is not KeyState.INVALID:
            # What was found of it before holds no longer.
            self._found.pop(slot.id, None)
        after = slot.record.metadata
        if (after.get("limits") or {}) != (before.get("limits") or {}):
            self._parts.registry.redeclare(slot, {**before, "scope": after.get("scope")})
        if after.get("scope") != before.get("scope"):
            self._parts.registry.overrule(slot, after.get("scope"))
        if kept.state is KeyState.AVAILABLE and (slot.generation != generation or not was_usable):
            self._manager.on_wake(slot)
        if kept.state is KeyState.INVALID:
            self._parts.prober.watch(slot)


def _told(notice: Notice) -> _Told:
    body = notice.body or {}
    ahead_s = notice.ahead_s if abs(notice.ahead_s) > _SAME_S else 0.0
    instants = [float(told) for told in (body["until"], *body["found"])]
    until, invalid_at, restored_at = (told - ahead_s if told else told for told in instants)
    if not until >= 0.0 or not max(invalid_at, restored_at) <= notice.at + _SAME_S:
        raise ValueError("an instant that is none")
    state, cause = KeyState(body["state"]), str(body["cause"])[:200]
    streak = min(64, max(0, int(body["streak"])))
    found = invalid_at, restored_at
    return _Told(int(body["revision"]), state, until, cause, streak, found)
