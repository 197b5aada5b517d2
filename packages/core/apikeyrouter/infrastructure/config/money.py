"""Prices and budgets of a configuration, as the cost controller takes them."""

from collections.abc import Iterator

from apikeyrouter.domain.components.cost_controller import CostController
from apikeyrouter.domain.costs.prices import MOST_OUTPUT, Price, nanos_of
from apikeyrouter.domain.models.budget import Budget, BudgetScope, EnforcementMode
from apikeyrouter.infrastructure.config.model import BudgetConfig, PriceConfig, RouterConfig


def apply_money(costs: CostController, config: RouterConfig) -> None:
    """Count money as *config* says; saying the same twice changes nothing."""
    costs.set_prices(map(_price_of, config.prices), unknown_price=config.unknown_price)
    costs.configure(budgets_of(config))


def budgets_of(config: RouterConfig) -> Iterator[Budget]:
    """Yield the budgets; one without an id is named by what it bounds."""
    taken: set[str] = {budget.id for budget in config.budgets if budget.id is not None}
    for budget in config.budgets:
        name = budget.id or _name_of(budget, taken)
        taken.add(name)
        yield budget_of(budget, name)


def budget_of(budget: BudgetConfig, name: str) -> Budget:
    """Return one budget as the cost controller takes it."""
    return Budget(
        id=name, scope=BudgetScope(budget.scope), scope_id=budget.scope_id,
        limit_amount=budget.limit_usd, period=budget.period,
        enforcement_mode=EnforcementMode(budget.mode), timezone=budget.timezone,
        alert_at=tuple(budget.alert_at), when_over=dict(budget.when_over),
    )  # fmt: skip


def _name_of(budget: BudgetConfig, taken: set[str]) -> str:
    parts = (budget.scope, budget.scope_id, budget.period, budget.mode)
    name = "-".join(part for part in parts if part is not None)
    number = 2
    while name in taken:
        name, number = f"{name.rstrip('0123456789')}{number}", number + 1
    return name


def _price_of(price: PriceConfig) -> Price:
    def nanos(name: str, unsaid: int | None = None) -> int | None:
        usd = getattr(price, name)
        return unsaid if usd is None else nanos_of(usd)

    # Who names a price of the request alone has tokens for nothing.
    free = 0 if price.input_usd is None and price.output_usd is None else None
    return Price(
        price.provider, tuple(price.models),
        nanos("input_usd", free), nanos("output_usd", free), nanos("cached_input_usd"),
        nanos("cache_write_usd"), nanos_of(price.per_request_usd),
        price.max_output_tokens or MOST_OUTPUT,
    )  # fmt: skip
