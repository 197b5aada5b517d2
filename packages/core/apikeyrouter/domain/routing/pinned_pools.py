"""Pools of requests that are bound to one key: what they ask for belongs to its account.

Such a pool has the key alone, or the other keys of its account once the key is out of use.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping

from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.interfaces.provider_adapter import Serving
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.object_register import Owner
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.provider_entry import ProviderEntry
from apikeyrouter.errors import PinnedKeyError

#: Beyond so many the one that was asked for longest ago goes.
_POOLS_KEPT = 256


class PinnedPools:
    """Pools by key; made when they are asked for, and anew when other keys stand for it."""

    def __init__(self, book: AccountRegistry, clock: Callable[[], float]) -> None:
        self._book = book
        self._clock = clock
        self._pools: OrderedDict[tuple[str, str, str], CandidatePool] = OrderedDict()

    def __iter__(self) -> Iterator[CandidatePool]:
        return iter(list(self._pools.values()))

    def pool_for(
        self,
        demand: Demand,
        providers: Mapping[str, ProviderEntry],
        targets: Iterable[tuple[ProviderEntry, str]],
    ) -> CandidatePool:
        """Return the pool of requests that are bound to a key as *demand* is.

        Args:
            targets: Who may serve it, and their own names of its model.

        Raises:
            PinnedKeyError: No key of the key's account may serve it.
        """
        key_id, endpoint = demand.key_id or "", demand.endpoint
        entry = next((entry for entry in providers.values() if key_id in entry.slots), None)
        if entry is None:
            raise PinnedKeyError(key_id, f"key '{key_id}' is not registered any more")
        model = next((model for target, model in targets if target is entry), None)
        if model is None or entry.serving(endpoint) is Serving.NONE:
            what = endpoint if model is not None or not demand.model else f"model '{demand.model}'"
            raise PinnedKeyError(key_id, f"its provider '{entry.id}' does not serve {what}")
        group = entry.group(model, endpoint)
        slots = self._slots_for(entry.slots[key_id], model, entry)
        name = (key_id, model, endpoint)
        pool = self._pools.pop(name, None)
        if pool is not None and pool.slots() != set(slots):
            self._dissolve(pool)
            pool = None
        if pool is None:
            pool = CandidatePool(entry.id, model, endpoint, admission=entry.admission)
            for slot in slots:
                pool.add(slot, self._book.scope_for(slot, group), self._clock())
        self._pools[name] = pool
        if len(self._pools) > _POOLS_KEPT:
            self._dissolve(self._pools.popitem(last=False)[1])
        return pool

    def clear(self) -> None:
        """Let go of all of them; what is known of their accounts stays."""
        for pool in self._pools.values():
            pool.dissolve()
        self._pools.clear()

    def _dissolve(self, pool: CandidatePool) -> None:
        scopes = {candidate.scope for candidate in pool.candidates}
        pool.dissolve()
        for scope in scopes:
            self._book.drop_idle(scope, self._clock())

    def _slots_for(self, slot: KeySlot, model: str, entry: ProviderEntry) -> list[KeySlot]:
        """Return *slot*, or the other keys of its account once it is out of use."""
        if slot.is_in_use:
            if not slot.serves(model):
                why = f"key '{slot.id}' may not be used for model '{model}'"
                raise PinnedKeyError(slot.id, why)
            return [slot]
        account = self._book.membership(slot).account
        found = [
            other
            for other in entry.slots.values()
            if other.is_in_use
            and other.serves(model)
            and self._book.membership(other).account == account
        ]
        if not found:
            why = f"key '{slot.id}' is {slot.record.state.value}, and its account has no other key"
            raise PinnedKeyError(slot.id, why)
        return found


def accounts_at(
    endpoint: str, providers: Iterable[ProviderEntry], book: AccountRegistry, key_id: str | None
) -> list[Owner]:
    """List the accounts that serve *endpoint* as it is, each with a key of it that is in use.

    Args:
        key_id: Stands for its account, if it is in use.
    """
    found: dict[tuple[str, str], Owner] = {}
    for entry in providers:
        if entry.serving(endpoint) is not Serving.NATIVE:
            continue
        for slot in entry.slots.values():
            account = book.membership(slot).account
            if slot.is_in_use and (slot.id == key_id or (entry.id, account) not in found):
                found[entry.id, account] = Owner(entry.id, slot.id, account)
    return list(found.values())
