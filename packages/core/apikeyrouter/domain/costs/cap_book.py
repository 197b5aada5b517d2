"""Which hard caps and budgets a request draws on, and how much of each it may need at most.

What is set aside is the most that a request can need: its input at twice the estimate, its
output to the cap that its caller or the model sets. The account is settled at what was used,
or at that most where nobody tells.
"""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from apikeyrouter.domain.costs.cap_account import CapAccount, limit_windows, refusal_text
from apikeyrouter.domain.costs.prices import MOST_OUTPUT, PriceBook, nanos_of
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.algorithms import Concurrent
from apikeyrouter.domain.ledger.capped_window import CappedWindow
from apikeyrouter.domain.ledger.ledger import Amounts, LedgerAccount, Lines, Shortfall
from apikeyrouter.domain.ledger.window import INDEX_OF
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.domain.limits.periods import Period
from apikeyrouter.domain.models.budget import Budget, BudgetScope, EnforcementMode
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.errors import BudgetExceededError, OwnLimitError

_USD = INDEX_OF[Dimension.USD]
#: An estimate of input is off by a quarter; of hard caps twice as much is held.
_INPUT_MARGIN, _INPUT_SLACK = 2.0, 16
Accounts = tuple[CapAccount, ...]
#: What is to be borrowed for a window.
Ask = tuple[CappedWindow, float]


class Priced(Protocol):
    """What a price is asked for: a provider's model, and how far off estimates of it are."""

    provider_id: str
    model: str
    correction: float


class CapBook:
    """All hard caps and budgets, and the prices that money is counted by.

    Args:
        clock: The router's.
        ahead_s: What the wall clock reads beyond it.

    Attributes:
        active: Itself, once there is anything to count; else `None`, and no request looks.
        refuses_unpriced: What nobody knows the price of is refused by hard budgets.
        fetch: Borrows for what a request was short of; tells whether anything came.
        keep: Told of every new cap.
        drop: Told of every cap that is no more.
        on_capacity: Told when something has room again.
    """

    def __init__(self, clock: Callable[[], float], ahead_s: Callable[[], float]) -> None:
        self._clock = clock
        self._ahead_s = ahead_s
        self.active: CapBook | None = None
        self.prices = PriceBook()
        self.refuses_unpriced = False
        self.budgets: dict[str, tuple[Budget, CapAccount]] = {}
        self.account_by_id: dict[str, CapAccount] = {}
        self._limits: dict[str, Mapping[str, float]] = {}
        self._of_scope: dict[tuple[BudgetScope, str], Accounts] = {}
        self._is_by_pool = False
        self.fetch: Callable[[Iterable[Ask], float], Awaitable[bool]] = _never
        self.keep: Callable[[CappedWindow, CapAccount], None] = lambda _, __: None
        self.drop: Callable[[CappedWindow], None] = lambda _: None
        self.on_capacity: Callable[[], None] = lambda: None

    # -- what there is ------------------------------------------------------

    def set_prices(self, prices: PriceBook, *, refuses_unpriced: bool) -> None:
        """Count money by these prices from now on."""
        self.prices, self.refuses_unpriced = prices, refuses_unpriced
        if len(prices):
            self.active = self

    def open_account(
        self, account_id: str, limits: Mapping[str, float], *, of_key: bool = False
    ) -> CapAccount:
        """Return the account of an owner's hard limits (`rpm`, `tpm`, …), changed to these."""
        account = self.account_by_id.get(account_id)
        if account is None:
            account = self._add(CapAccount(account_id, counts_attempts=of_key))
        if self._limits.get(account_id) != limits:
            now = self._clock()
            windows = limit_windows(
                account_id, dict(limits), now, calls=not of_key, wall_ahead_s=self._ahead_s()
            )
            self._replace_windows(account, windows)
            self._limits[account_id] = dict(limits)
        return account

    def put_budget(self, budget: Budget) -> CapAccount:
        """Let a budget count from now on; one of its id is changed, and keeps what it spent."""
        account_id = f"budget '{budget.id}'"
        account = self.account_by_id.get(account_id)
        is_hard = budget.enforcement_mode is EnforcementMode.Hard
        if account is None:
            account = self._add(CapAccount(account_id, is_budget=True))
        account.is_hard = is_hard
        named = budget.when_over.get("objective")
        account.when_over = RoutingObjective(primary=ObjectiveType(named)) if named else None
        window = CappedWindow(
            f"budget:{budget.id}", Dimension.USD, nanos_of(budget.limit_amount),
            Period(budget.period, budget.timezone), self._clock(),
            is_hard=is_hard, wall_ahead_s=self._ahead_s(),
        )  # fmt: skip
        self._replace_windows(account, [window])
        self.budgets[budget.id] = budget, account
        self._index()
        return account

    def remove_budget(self, budget_id: str) -> None:
        """Count a budget no more."""
        _, account = self.budgets.pop(budget_id)
        del self.account_by_id[account.id]
        for window in account.capped():
            self.drop(window)
        account.windows.clear()
        self._index()

    def note_key(self, slot: KeySlot) -> None:
        """Look at keys from now on if this one's limits are hard."""
        if slot.record.metadata.get("hard"):
            self.active = self

    def _add(self, account: CapAccount) -> CapAccount:
        account.on_capacity = lambda: self.on_capacity()
        self.account_by_id[account.id] = account
        self.active = self
        return account

    def _replace_windows(
        self, account: CapAccount, windows: Iterable[CappedWindow | Concurrent]
    ) -> None:
        """Put *windows* in the place of those there are; who counts the same stays."""
        before = {window.cap_id: window for window in account.capped()}
        kept: list[CappedWindow | Concurrent] = []
        for window in windows:
            old = before.get(window.cap_id) if isinstance(window, CappedWindow) else None
            if old is None or not isinstance(window, CappedWindow):
                kept.append(window)
            elif (old.period, old.is_hard) == (window.period, window.is_hard):
                old.resize(window.capacity)
                if old.spent > old.capacity:
                    old.forfeit(0.0, self._clock())
                kept.append(before.pop(old.cap_id))
            else:
                self.drop(before.pop(old.cap_id))
                kept.append(window)
        for gone in before.values():
            self.drop(gone)
        account.windows[:] = kept
        for window in account.capped():
            self.keep(window, account)

    def _index(self) -> None:
        found: dict[tuple[BudgetScope, str], Accounts] = {}
        for budget, account in self.budgets.values():
            name = budget.scope, budget.scope_id or ""
            found[name] = (*found.get(name, ()), account)
        self._of_scope = found
        by_pool = (BudgetScope.PerProvider, BudgetScope.PerRoute)
        self._is_by_pool = any(scope in by_pool for scope, _ in found)

    # -- what a request draws on --------------------------------------------

    def accounts_for(self, demand: Demand, own: Iterable[LedgerAccount]) -> Accounts:
        """Return what a request draws on whoever serves it.

        Args:
            own: Its client's accounts; those that are caps are returned too.
        """
        found = tuple([account for account in own if isinstance(account, CapAccount)])
        of_scope = self._of_scope
        if of_scope:
            found += of_scope.get((BudgetScope.Global, ""), ())
            found += of_scope.get((BudgetScope.PerClient, demand.client), ())
            for name, value in demand.tags.items():
                found += of_scope.get((BudgetScope.PerTag, f"{name}={value}"), ())
            if demand.objective is None:
                demand.objective = self._objective_of(found)
        return found

    def _objective_of(self, accounts: Accounts) -> RoutingObjective | None:
        """Return what the first budget that is spent wants its requests to be served by."""
        now = self._clock()
        for account in accounts:
            if account.when_over is not None and account.is_spent(now):
                return account.when_over
        return None

    def shortfall(
        self, demand: Demand, accounts: Accounts, pools: Iterable[Priced], now: float
    ) -> Shortfall | None:
        """Return what a request is short of whichever of *pools* serves it."""
        soonest: Shortfall | None = None
        if not (accounts or self._is_by_pool):
            return None
        for pool in pools:
            lack = self._lack_at(demand, accounts, pool, now)
            if lack is None:
                return None
            if soonest is None or lack.fits_at < soonest.fits_at:
                soonest = lack
        return soonest

    def lines(self, demand: Demand, accounts: Accounts, pool: Priced, slot: KeySlot) -> Lines:
        """Return what a request draws on if this key of *pool* serves it."""
        found = (*accounts, *self._of_pool(demand, pool), *self._of_key(slot))
        return self._lines(found, demand, pool) if found else ()

    def is_of_key(self, account_id: str, slot: KeySlot) -> bool:
        """Tell whether an account bounds this one key."""
        return any(account.id == account_id for account in self._of_key(slot))

    def asks_of(self, lack: Shortfall, now: float) -> list[Ask]:
        """Return what could be borrowed against *lack*; nothing where the cap is used up."""
        account = self.account_by_id.get(lack.account_id)
        if account is None:
            return []
        amounts = [0.0] * len(INDEX_OF)
        amounts[lack.index] = lack.asked
        return [(window, lack.asked) for window in account.short_of_blocks(amounts, now)]

    def may_come_back(self, lack: Shortfall, now: float) -> bool:
        """Tell whether calls that are under way may give back what is short."""
        account = self.account_by_id.get(lack.account_id)
        return account is not None and account.may_come_back(lack, now)

    def refusal_of(self, lack: Shortfall, now: float) -> tuple[type[OwnLimitError], str] | None:
        """Return as what, and in which words, a cap refuses; `None` if it is none."""
        account = self.account_by_id.get(lack.account_id)
        if account is None or lack.for_calls:
            return None
        kind = BudgetExceededError if account.is_budget else OwnLimitError
        return kind, refusal_text(account, lack, now)

    def follow_wall(self, ahead_s: float) -> None:
        """Let turns end by a wall clock that now reads *ahead_s* beyond ours."""
        for account in self.account_by_id.values():
            for window in account.capped():
                window.follow_wall(ahead_s, self._clock())

    def cost(self, pool: Priced, usage: Usage) -> int | None:
        """Return what a request cost in nano-dollars; `None` where nobody knows."""
        return self.prices.cost(pool.provider_id, pool.model, usage)

    def worst_cost(self, demand: Demand, pool: Priced) -> int | None:
        """Return the most that a request can cost there; `None` where no price is known."""
        price = self.prices.price_of(pool.provider_id, pool.model)
        return None if price is None else price.worst(_most_input(demand, pool), demand.output_cap)

    def charge(
        self, accounts: Iterable[LedgerAccount], amounts: list[float], pool: Priced, usage: Usage
    ) -> list[Amounts]:
        """Return what each account is charged for a request that used *amounts* of tokens."""
        cost = self.cost(pool, usage)
        if cost is None:
            for account in accounts:
                if isinstance(account, CapAccount) and account.is_budget:
                    account.unpriced += 1
        amounts[_USD] = float(cost or 0)
        return [amounts for _ in accounts]

    def _lack_at(
        self, demand: Demand, accounts: Accounts, pool: Priced, now: float
    ) -> Shortfall | None:
        found = (*accounts, *self._of_pool(demand, pool)) if self._is_by_pool else accounts
        for account, amounts in self._lines(found, demand, pool):
            lack = account.shortfall(amounts, now)
            if lack is not None:
                return lack
        return None

    def _of_pool(self, demand: Demand, pool: Priced) -> Accounts:
        if not self._is_by_pool:
            return ()
        found = self._of_scope.get((BudgetScope.PerProvider, pool.provider_id), ())
        for name in {demand.model, pool.model, f"{pool.provider_id}/{pool.model}"}:
            found += self._of_scope.get((BudgetScope.PerRoute, name), ())
        return found

    def _of_key(self, slot: KeySlot) -> Accounts:
        found = self._of_scope.get((BudgetScope.PerKey, slot.id), ()) if self._of_scope else ()
        facts = slot.record.metadata
        if facts.get("hard") and facts.get("limits"):
            # What keys of one scope share is one cap, whatever account they turn out to be of.
            owner = f"key '{slot.provider_id}/{facts.get('scope') or slot.id}'"
            found += (self.open_account(owner, facts["limits"], of_key=True),)
        return found

    def _lines(self, accounts: Accounts, demand: Demand, pool: Priced) -> Lines:
        price = self.prices.price_of(pool.provider_id, pool.model)
        given = _most_input(demand, pool)
        most = MOST_OUTPUT if price is None else price.most_output
        output = float(most if demand.output_cap is None else demand.output_cap)
        cost = None if price is None else price.worst(given, demand.output_cap)
        # Whatever it costs in the end, something is held: only what is held can be settled.
        usd = float(cost or 1)
        amounts = [1.0, given + output, float(given), output, 1.0, 0.0, 0.0, usd]
        if cost is not None or not self.refuses_unpriced:
            return [(account, amounts) for account in accounts]
        refused = [*amounts[:_USD], math.inf]
        return [
            (account, refused if account.is_budget and account.is_hard else amounts)
            for account in accounts
        ]


def _most_input(demand: Demand, pool: Priced) -> int:
    estimate = demand.input_tokens * max(1.0, pool.correction)
    most = math.ceil(estimate * _INPUT_MARGIN) + _INPUT_SLACK
    # No token is shorter than a byte.
    return max(demand.input_tokens, min(most, demand.body_bytes)) if demand.body_bytes else most


async def _never(asks: Iterable[Ask], within_s: float) -> bool:
    del asks, within_s
    return False
