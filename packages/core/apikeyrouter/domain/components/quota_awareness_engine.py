"""What is known of limits: learned from answers and refusals, reported to people.

Owns the ledger's scopes. The hot verbs are plain functions over a given now;
the promised management verbs are awaitable and speak of keys.
"""

from collections.abc import Callable, Mapping

from apikeyrouter.domain.accounts.charge_learning import CallCharge
from apikeyrouter.domain.accounts.inference import INFERRED, ScopeInference
from apikeyrouter.domain.accounts.limit_learning import LimitLearning
from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.accounts.searching.pace_search import under_way
from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.feed.events import Event
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Hold, Ledger
from apikeyrouter.domain.ledger.report import predict, quota_state_of
from apikeyrouter.domain.limits.declared_limits import check_limits
from apikeyrouter.domain.limits.observation import ObservedLimit, Provenance
from apikeyrouter.domain.models.quota_state import ExhaustionPrediction, QuotaState, TimeWindow
from apikeyrouter.domain.quota_scope import QuotaScope

#: What an operator, or a probe, can repair: money, credentials, addresses.
_PUT_RIGHT_BY_HAND = frozenset(
    {
        FailureClass.QUOTA_BILLING,
        FailureClass.ACCOUNT_DISABLED,
        FailureClass.IP_NOT_AUTHORIZED,
        FailureClass.KEY_BUDGET,
    }
)


class QuotaAwarenessEngine:
    """Keeps the ledger in step with what providers say."""

    def __init__(
        self,
        ledger: Ledger,
        book: AccountRegistry,
        manager: KeyManager,
        search: LimitSearch,
        *,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
    ) -> None:
        self.ledger = ledger
        self.book = book
        self._manager = manager
        self._clock = clock
        self._search = search
        self._inference = ScopeInference(book)
        self._learning = LimitLearning(ledger, book, search, emit=emit)

    # -- hot verbs ----------------------------------------------------------

    def learn(
        self,
        scope: QuotaScope,
        limits: tuple[ObservedLimit, ...],
        now: float,
        hold: Hold | None = None,
        call: CallCharge | None = None,
    ) -> None:
        """Fold in the limits that one answer of *scope* told; *hold* and *call* are that call's."""
        surprise = self._learning.learn(scope, limits, now, hold=hold)
        if call is not None:
            self._learning.learn_charge(scope, call, limits, now)
        if surprise > 0.0 or scope.is_watched or scope.membership.basis == INFERRED:
            self._inference.note(scope, now, is_surprised=surprise > 0.0)

    def note_success(self, scope: QuotaScope, now: float) -> None:
        """Fold in one call that was let in: the next untold wait is short, a new scope opens up."""
        scope.statistics.served += 1
        scope.statistics.refusals_in_row = 0
        scope.statistics.note_level(under_way(scope), now)
        if scope.is_searched:
            self._search.answered(scope, now)

    def note_refusal(
        self, scope: QuotaScope, failure: Failure, now: float, *, is_first: bool = True
    ) -> float | None:
        """Fold in one refusal for lack of quota.

        Args:
            is_first: Of the calls that were under way together.

        Returns:
            Seconds after which it is worth calling again, by what is believed of limits that
            nobody tells; `None` leaves that to the failure table.
        """
        if failure.kind is FailureClass.SLOW_DOWN:
            if is_first:
                self._search.slowed(scope, now)
        elif failure.kind is FailureClass.RATE_LIMITED:
            return self._search.refused(
                scope, now,
                told=_names_limit(failure), is_first=is_first, waits=bool(failure.retry_after_s),
            )  # fmt: skip
        return None

    def note_busy(self, scope: QuotaScope, began_at: float, now: float) -> None:
        """Fold in that a call that began at *began_at* was one too many for a busy provider."""
        self._search.busy(scope, began_at, now)

    def note_account(self, slot: KeySlot, account: str) -> None:
        """Move *slot* to the account that its provider names."""
        if account != slot.account:
            slot.account = account
            self.book.join(slot, account, basis="told", confidence=1.0)

    def tell_to_wait(self, scope: QuotaScope, until: float, cause: str, how: str = "") -> None:
        """Let nobody call *scope* before *until*; never shortens a wait.

        Args:
            cause: A failure class, or whatever else is waited for.
        """
        scope.cooldown.extend(until, cause, how)

    def clear_account_cooldowns(self, slot: KeySlot) -> None:
        """Let the account of *slot* be called again: its key was repaired.

        A wait for a limit stays: it does not depend on the credential.
        """
        for scope in self.book.scopes_of(slot):
            if scope.cooldown.cause in _PUT_RIGHT_BY_HAND:
                scope.cooldown.end()
                scope.statistics.refusals_in_row = 0
                scope.notify_capacity()

    # -- management verbs ---------------------------------------------------

    async def get_quota_state(
        self, key_id: str, time_window: TimeWindow | None = None
    ) -> QuotaState:
        """Return what one key may still use, over all windows or those of one period.

        Raises:
            KeyNotFoundError: No such key.
        """
        slot = self._manager.slot(key_id)
        return quota_state_of(slot, self.book.scopes_of(slot), self._clock(), time_window)

    async def update_capacity(self, key_id: str, limits: Mapping[str, float]) -> QuotaState:
        """Declare limits (`rpm`, `tpm`, …) of the key's account; reports still correct them.

        Raises:
            KeyNotFoundError: No such key.
            ConfigurationError: An unknown name, or a figure that is no limit.
        """
        check_limits(limits)
        slot = await self._manager.declare_limits(key_id, limits)
        self.apply_limits(slot, limits)
        return await self.get_quota_state(key_id)

    def apply_limits(self, slot: KeySlot, limits: Mapping[str, float]) -> None:
        """Put limits that are stored with a key on its account."""
        now = self._clock()
        for scope in self.book.scopes_of(slot):
            self.book.declare(scope.account, dict(limits), now, scope.provider_id)
            self.book.hold(scope)
            scope.notify_capacity()

    async def handle_quota_response(
        self,
        key_id: str,
        *,
        retry_after: float | None = None,
        limits: tuple[ObservedLimit, ...] = (),
    ) -> QuotaState:
        """Take in what a provider answered outside our own traffic.

        Args:
            retry_after: Seconds to wait before the account is called again.
        """
        slot = self._manager.slot(key_id)
        now = self._clock()
        for scope in self.book.scopes_of(slot):
            self.learn(scope, limits, now)
            if retry_after is not None:
                self.tell_to_wait(scope, now + retry_after, "told to wait")
        return await self.get_quota_state(key_id)

    async def predict_exhaustion(self, key_id: str) -> ExhaustionPrediction:
        """Predict when the key's account is exhausted at its present rate.

        Returns:
            The earliest of its windows; without an instant when none is exhausted.
        """
        slot = self._manager.slot(key_id)
        return predict(slot, self.book.scopes_of(slot), self._clock())

    def overrule_scope(self, key_id: str, account: str | None) -> None:
        """Put a key under *account* whatever was inferred; `None` gives it its own."""
        self.book.overrule(self._manager.slot(key_id), account)


def _names_limit(failure: Failure) -> bool:
    """Tell whether a refusal's words name the limit; figures of its headers may show room."""
    return any(limit.source is Provenance.ERROR_BODY for limit in failure.limits)
