"""Budgets: an amount of US dollars that one scope may spend in one period."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from apikeyrouter.domain.limits.periods import Period
from apikeyrouter.domain.models.quota_state import TimeWindow
from apikeyrouter.domain.models.routing_decision import ObjectiveType

__all__ = ["Budget", "BudgetCheckResult", "BudgetScope", "EnforcementMode", "TimeWindow"]


class BudgetScope(StrEnum):
    """Whose spending a budget bounds."""

    Global = "global"
    PerProvider = "per_provider"
    PerKey = "per_key"
    PerRoute = "per_route"
    PerClient = "per_client"
    PerTag = "per_tag"


class EnforcementMode(StrEnum):
    """What a budget does about what would exceed it: refuse it, or report it."""

    Hard = "hard"
    Soft = "soft"


class Budget(BaseModel):
    """One budget, and how it stands.

    Attributes:
        scope_id: A provider, a key's id, a model, a client, or a tag as `name=value`.
        limit_amount: US dollars in one period.
        current_spend: US dollars that are spent, or set aside by blocks of other processes.
        held: US dollars set aside for requests that are under way here.
        period: `hourly`, `daily`, `weekly`, `monthly`, `total`, or a duration that rolls: `36h`.
        timezone: In which days, weeks and months end.
        alert_at: Shares of the amount at which it is told.
        when_over: `{"objective": "cost"}`: what requests are served by once a soft one is spent.
        reset_at: When the period ends; `None` if it does not.
    """

    model_config = ConfigDict(frozen=True)

    id: str = Field(min_length=1)
    scope: BudgetScope = BudgetScope.Global
    scope_id: str | None = None
    limit_amount: Decimal = Field(gt=0, le=10**9)
    current_spend: Decimal = Decimal(0)
    held: Decimal = Decimal(0)
    period: str = "daily"
    enforcement_mode: EnforcementMode = EnforcementMode.Hard
    timezone: str = "UTC"
    alert_at: tuple[float, ...] = ()
    when_over: dict[str, str] = Field(default_factory=dict)
    reset_at: datetime | None = None

    @field_validator("period")
    @classmethod
    def _is_a_period(cls, value: str) -> str:
        Period(value)
        return value

    @field_validator("when_over")
    @classmethod
    def _is_an_objective(cls, value: dict[str, str]) -> dict[str, str]:
        if set(value) - {"objective"}:
            raise ValueError("when_over may name an objective, and nothing else")
        if value:
            ObjectiveType(value["objective"])
        return value

    @model_validator(mode="after")
    def _scope_is_named(self) -> "Budget":
        if (self.scope is BudgetScope.Global) != (self.scope_id is None):
            raise ValueError(
                "a global budget has no scope_id; any other needs one that says whose it is"
            )
        return self


class BudgetCheckResult(BaseModel):
    """Whether an amount may be spent now.

    Attributes:
        violated: Ids of the budgets that it would exceed, hard and soft.
        remaining: US dollars that the tightest of its budgets has left; `None` without one.
    """

    allowed: bool
    violated: tuple[str, ...] = ()
    remaining: Decimal | None = None
