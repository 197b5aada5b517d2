"""`CostController`: prices, budgets, and what was spent of them."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from apikeyrouter.domain.costs.cap_account import CapAccount
from apikeyrouter.domain.costs.cap_book import CapBook
from apikeyrouter.domain.costs.prices import Price, PriceBook, nanos_of, usd_of
from apikeyrouter.domain.interfaces.state_store import Document, StateStore
from apikeyrouter.domain.limits.declared_limits import check_limits
from apikeyrouter.domain.models.api_key import utc_now
from apikeyrouter.domain.models.budget import (
    Budget,
    BudgetCheckResult,
    BudgetScope,
    EnforcementMode,
)
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.routing.route_table import RouteTable
from apikeyrouter.errors import BudgetExceededError, BudgetNotFoundError

__all__ = ["BudgetExceededError", "BudgetNotFoundError", "CostController"]

_KIND = "Budget"


class CostController:
    """Knows prices and budgets; the ledger enforces them.

    Args:
        clock: The router's.
    """

    def __init__(
        self,
        book: CapBook,
        routes: RouteTable,
        store: StateStore,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._book = book
        self._routes = routes
        self._store = store
        self._clock = clock
        self._configured: set[str] = set()
        #: Those that were created; of one id the configuration's counts.
        self._created: dict[str, Budget] = {}

    # -- prices and limits --------------------------------------------------

    def set_prices(self, prices: Iterable[Price], *, unknown_price: str = "allow") -> None:
        """Count money by these prices, the first that fits; `refuse` what has none."""
        self._book.set_prices(PriceBook(prices), refuses_unpriced=unknown_price == "refuse")

    def open_account(self, account_id: str, limits: Mapping[str, float]) -> CapAccount:
        """Return an account of hard limits (`rpm`, `tpm`, …), which hold through a crash.

        Args:
            account_id: How refusals name it; one of this id is changed, and what it spent stays.

        Raises:
            ConfigurationError: An unknown name, or a figure that is no limit.
        """
        check_limits(limits)
        return self._book.open_account(account_id, limits)

    # -- budgets ------------------------------------------------------------

    async def load(self) -> None:
        """Take up the budgets that were created before.

        Raises:
            StateStoreError: They cannot be read.
        """
        documents = await self._store.list_documents(_KIND)
        self.use_created([Budget.model_validate(document.body) for document in documents])

    def use_created(self, budgets: Iterable[Budget]) -> None:
        """Let exactly these stored budgets count, beside those that a configuration names."""
        before, self._created = self._created, {budget.id: budget for budget in budgets}
        for budget_id in set(before) - set(self._created) - self._configured:
            self._book.remove_budget(budget_id)
        for budget in self._created.values():
            if budget.id not in self._configured and before.get(budget.id) != budget:
                self._book.put_budget(budget)

    def configure(self, budgets: Iterable[Budget]) -> None:
        """Let exactly these budgets of a configuration count, beside those that were created."""
        named = {budget.id: budget for budget in budgets}
        gone, self._configured = self._configured - set(named), self._configured & set(named)
        for budget_id in gone:
            if budget_id in self._created:
                self._book.put_budget(self._created[budget_id])
            else:
                self._book.remove_budget(budget_id)
        for budget in named.values():
            self.configure_budget(budget)

    def configure_budget(self, budget: Budget) -> Budget:
        """Let a budget count from now on, as a configuration says it; it is not stored."""
        self._configured.add(budget.id)
        self._book.put_budget(budget)
        return self.budget(budget.id)

    def is_configured(self, budget_id: str) -> bool:
        """Tell whether a configuration names this budget."""
        return budget_id in self._configured

    async def create_budget(self, budget: Budget | None = None, **facts: Any) -> Budget:
        """Add a budget, or change the one of its id; it is stored before it counts.

        Args:
            facts: The fields of `Budget`, in place of one.

        Raises:
            StateStoreError: It cannot be stored.
        """
        budget = budget or Budget(**facts)
        if self._store.keeps_documents:
            body = budget.model_dump(mode="json", exclude={"current_spend", "held", "reset_at"})
            await self._store.save_document(Document(_KIND, budget.id, body, utc_now()))
        self.use_created([*self._created.values(), budget])
        return self.budget(budget.id)

    async def delete_budget(self, budget_id: str) -> None:
        """Count a budget no more.

        Raises:
            BudgetNotFoundError: There is none of this id.
        """
        self.budget(budget_id)
        if self._store.keeps_documents:
            await self._store.delete_document(_KIND, budget_id)
        self._configured.discard(budget_id)
        self._created.pop(budget_id, None)
        self._book.remove_budget(budget_id)

    async def list_budgets(
        self, scope: BudgetScope | str | None = None, scope_id: str | None = None
    ) -> list[Budget]:
        """Return all budgets as they stand, or those of one scope."""
        found = [self.budget(name) for name in list(self._book.budgets)]
        return [
            budget
            for budget in found
            if scope in (None, budget.scope) and scope_id in (None, budget.scope_id)
        ]

    def budget(self, budget_id: str) -> Budget:
        """Return one budget as it stands.

        Raises:
            BudgetNotFoundError: There is none of this id.
        """
        if budget_id not in self._book.budgets:
            raise BudgetNotFoundError(f"no budget '{budget_id}'")
        budget, account = self._book.budgets[budget_id]
        [window] = account.capped()
        resets_in_s, held = window.resets_in(self._clock()), account.held(window)
        ends_at = window.turn.ends_at
        return budget.model_copy(
            update={
                "current_spend": usd_of(max(0.0, window.spent - held)),
                "held": usd_of(held),
                "reset_at": None if resets_in_s is None else instant(ends_at),
            }
        )

    async def check_budget(
        self,
        amount: Decimal | float | str,
        *,
        scope: BudgetScope | str | None = None,
        scope_id: str | None = None,
    ) -> BudgetCheckResult:
        """Tell whether *amount* US dollars fit into all budgets, or those of one scope, now."""
        violated, tightest, allowed = [], None, True
        for budget in await self.list_budgets(scope, scope_id):
            left = budget.limit_amount - budget.current_spend - budget.held
            tightest = left if tightest is None else min(tightest, left)
            if nanos_of(amount) > nanos_of(left):
                violated.append(budget.id)
                allowed = allowed and budget.enforcement_mode is not EnforcementMode.Hard
        return BudgetCheckResult(allowed=allowed, violated=tuple(violated), remaining=tightest)

    async def update_spending(self, budget_id: str, amount: Decimal | float | str) -> Budget:
        """Book *amount* US dollars that were spent elsewhere, whether or not they fit.

        Raises:
            BudgetNotFoundError: There is none of this id.
        """
        self.budget(budget_id)
        for window in self._book.budgets[budget_id][1].capped():
            window.take(float(nanos_of(amount)), self._clock())
        return self.budget(budget_id)
