"""What operators order of accounts: keys put together or apart, limits overruled, money added.

An order is stored over the revision that it was made from, and takes effect then: of two that
collide one is refused. One document a provider holds all that was said of its accounts.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.failures.failure import FailureClass
from apikeyrouter.domain.interfaces.state_store import Document, StateStore
from apikeyrouter.domain.key_records import KEPT_CAUSE
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Ledger
from apikeyrouter.domain.ledger.remaining_bucket import RemainingBucket
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.account_rules import ProviderRules
from apikeyrouter.domain.limits.declared_limits import DECLARABLE, check_limits
from apikeyrouter.domain.limits.observation import Dimension, Provenance
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.errors import ApiKeyRouterError, StateConflictError, UnreadableRecordError

#: What money puts right.
_PAID = frozenset({FailureClass.QUOTA_BILLING, FailureClass.KEY_BUDGET})
_REOPENED = frozenset({*_PAID, FailureClass.ACCOUNT_DISABLED})


class AccountOrders:
    """Stores what is ordered of accounts, and puts it into effect.

    Attributes:
        kind: Of its documents.
        on_change: Told of a provider of whose accounts something else holds now.
    """

    kind = "AccountRules"

    def __init__(
        self,
        store: StateStore,
        registry: AccountRegistry,
        ledger: Ledger,
        search: LimitSearch,
        manager: KeyManager,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._registry = registry
        self._ledger = ledger
        self._search = search
        self._manager = manager
        self._clock = clock
        self.on_change: Callable[[str], None] = lambda _: None
        registry.hold = self._hold

    async def load(self) -> None:
        """Take up what was ordered before, here or by another process.

        Raises:
            StateStoreError: It cannot be read.
        """
        for document in await self._store.list_documents(self.kind):
            self._take_up(document)

    async def reread(self, name: str) -> None:
        """Take up what another process has ordered of a provider; errors as of `load`."""
        kept = await self._store.get_document(self.kind, name)
        if kept is not None:
            self._take_up(kept)

    async def reread_all(self) -> None:
        """Take up what other processes have ordered; errors as of `load`."""
        await self.load()

    async def merge(self, provider_id: str, account: str, others: Collection[str]) -> None:
        """Let all keys of *others* and of *account* draw on *account*, whatever was learned.

        Raises:
            StateConflictError: Another process has ordered something meanwhile.
            StateStoreError: It cannot be stored; nothing has changed.
        """
        rules, gone = self._registry.rules.of(provider_id), {*others} - {account}
        together = {slot.id: account for slot in self.keys_of(provider_id, account, *gone)}
        limits = {owner: most for owner, most in rules.limits.items() if owner[0] not in gone}
        members = {**rules.members, **together}
        await self._store_and_use(provider_id, replace(rules, members=members, limits=limits))

    async def split(self, provider_id: str, key_ids: Collection[str]) -> None:
        """Give keys an account of their own each, which nobody joins; errors as of `merge`."""
        rules = self._registry.rules.of(provider_id)
        members = {**rules.members, **dict.fromkeys(key_ids)}
        await self._store_and_use(provider_id, replace(rules, members=members))

    async def overrule(
        self, provider_id: str, owner: tuple[str, str], limits: Mapping[str, float | None]
    ) -> None:
        """Set limits of an account and a group of models, whatever was learned or declared.

        They stay until another order: reports of another limit do not change them.

        Args:
            limits: By name (`rpm`, `tpm`, …); `None` goes back to what is declared or learned.

        Raises:
            ConfigurationError: An unknown name, or a figure that is no limit.
            StateConflictError, StateStoreError: As of `merge`.
        """
        check_limits({name: most for name, most in limits.items() if most is not None})
        rules = self._registry.rules.of(provider_id)
        said = {**rules.limits.get(owner, {}), **limits}
        ruled = {name: float(most) for name, most in said.items() if most is not None}
        await self._store_and_use(
            provider_id, replace(rules, limits={**rules.limits, owner: ruled})
        )

    async def top_up(self, provider_id: str, account: str) -> None:
        """Let an account be called again that waited for money.

        Raises:
            StateConflictError, StateStoreError: As of `merge`.
        """
        rules = self._registry.rules.of(provider_id)
        topped_up = {**rules.topped_up, account: self._clock()}
        await self._store_and_use(provider_id, replace(rules, topped_up=topped_up))
        for slot in self.keys_of(provider_id, account):
            waits = slot.cooldown.cause in (*_PAID, KEPT_CAUSE)
            if slot.record.state is KeyState.EXHAUSTED and waits:
                for state in (KeyState.RECOVERING, KeyState.AVAILABLE):
                    await self._manager.update_key_state(slot.id, state, "topped up")

    def keys_of(self, provider_id: str, *accounts: str) -> list[KeySlot]:
        """Return the keys of a provider that draw on one of *accounts*."""
        return [
            slot
            for slot in self._manager.slot_by_id.values()
            if slot.provider_id == provider_id
            and self._registry.membership(slot).account in accounts
        ]

    def ruled(self, provider_id: str, account: str) -> list[Window]:
        """Return the limits that were set of an account nobody has asked for, as they will be."""
        limits, now = self._registry.rules.limits_of(provider_id, account, "*"), self._clock()
        made = []
        for name, most in limits.items():
            dimension, period_s = DECLARABLE[name]
            made.append(
                self._registry.window_for(
                    provider_id, dimension, most, period_s, now, provenance=Provenance.OPERATOR
                )
            )
        return made

    async def _store_and_use(self, provider_id: str, rules: ProviderRules) -> None:
        made = replace(rules, revision=rules.revision + 1)
        if self._store.keeps_documents:
            at = instant(self._clock())
            document = Document(self.kind, provider_id, made.data(), at, made.revision)
            expect = rules.revision if rules.revision >= 0 else None
            if not await self._store.swap_document(document, expect=expect):
                await self.reread(provider_id)
                raise StateConflictError(
                    f"accounts of '{provider_id}' were changed by another process meanwhile; look "
                    "at them again, and order again what still holds"
                )
        self._put_to_use(provider_id, made)
        self.on_change(provider_id)

    def _take_up(self, document: Document) -> None:
        if document.revision != self._registry.rules.of(document.id).revision:
            self._put_to_use(document.id, _read(document))

    def _put_to_use(self, provider_id: str, rules: ProviderRules) -> None:
        registry, before = self._registry, self._registry.rules.of(provider_id)
        registry.rules.put(provider_id, rules)
        for key_id, account in rules.members.items():
            slot = self._manager.slot_by_id.get(key_id)
            is_new = key_id not in before.members or before.members[key_id] != account
            if slot is not None and slot.provider_id == provider_id and is_new:
                registry.obey(slot)
        for scope in list(registry):
            owner = scope.membership.account, scope.group
            if scope.provider_id == provider_id and (
                rules.limits.get(owner, {}) != before.limits.get(owner, {})
                or rules.topped_up.get(owner[0]) != before.topped_up.get(owner[0])
            ):
                self._hold(scope)

    def _hold(self, scope: QuotaScope) -> None:
        """Give a scope the limits that the rules say; those that they said before go."""
        account, now = scope.account, self._clock()
        ruled = self._registry.rules.limits_of(
            scope.provider_id, scope.membership.account, scope.group
        )
        places = [DECLARABLE[name] for name in ruled]
        for window in list(account.windows):
            place = window.dimension, window.period_s
            if window.provenance is Provenance.OPERATOR and place not in places:
                window.provenance = Provenance.DECLARED
                self._take_back(scope, place)
        for name, most in ruled.items():
            self._make_way(scope, *DECLARABLE[name], most)
        self._registry.declare(account, dict(ruled), now, scope.provider_id)
        for place in places:
            held = account.window(*place)
            if held is not None:
                held.provenance = Provenance.OPERATOR
                # What went out under a larger limit keeps nobody out for longer than a period.
                held.mirror(min(held.used, held.capacity), now)
        if ruled:
            self._search.told(scope)
        self._reopen(scope)
        account.strained_at = float("-inf")
        scope.notify_capacity()

    def _reopen(self, scope: QuotaScope) -> None:
        """End a wait for money that began before somebody has paid."""
        rules = self._registry.rules.of(scope.provider_id)
        paid_at = rules.topped_up.get(scope.membership.account, 0.0)
        if scope.cooldown.cause not in _REOPENED or paid_at < scope.statistics.refused_at:
            return
        scope.cooldown.end()
        scope.statistics.refusals_in_row = 0
        for slot in self._registry.slots_of(scope):
            if slot.record.state is KeyState.INVALID and slot.cooldown.cause in _REOPENED:
                self._manager.offer_trial(slot, expect=slot.version)

    def _take_back(self, scope: QuotaScope, place: tuple[Dimension, float]) -> None:
        """Go back to what is declared of a limit; without that it is learned anew."""
        names = [name for name, known in DECLARABLE.items() if known == place]
        self._registry.undeclare(scope, names)
        for slot in self._registry.slots_of(scope):
            declared = slot.record.metadata.get("limits") or {}
            limits = {name: declared[name] for name in names if name in declared}
            self._registry.declare(scope.account, limits, self._clock(), scope.provider_id)

    def _make_way(
        self, scope: QuotaScope, dimension: Dimension, period_s: float, most: float
    ) -> None:
        """Put a limit in the place of what was concluded from remainders alone."""
        account, now = scope.account, self._clock()
        for window in account.windows:
            if isinstance(window, RemainingBucket) and window.dimension is dimension:
                limit = self._registry.window_for(
                    scope.provider_id, dimension, most, period_s, now,
                    provenance=Provenance.DECLARED,
                )  # fmt: skip
                self._ledger.replace(window, limit, account, now)
                return


def _read(document: Document) -> ProviderRules:
    try:
        return ProviderRules.of(document.body, document.revision)
    except (ApiKeyRouterError, LookupError, TypeError, ValueError) as error:
        raise UnreadableRecordError(
            f"what was said of accounts of '{document.id}' cannot be read: {error}; another "
            "version may have written it"
        ) from error
