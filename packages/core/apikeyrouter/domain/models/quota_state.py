"""What a ledger looks like from outside: capacity in words and figures."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from apikeyrouter.domain.models.api_key import utc_now


class TimeWindow(StrEnum):
    """The periods that people name."""

    MINUTE = "minute"
    HOURLY = "hourly"
    DAILY = "daily"
    MONTHLY = "monthly"
    CUSTOM = "custom"

    Minute = "minute"
    Hourly = "hourly"
    Daily = "daily"
    Monthly = "monthly"
    Custom = "custom"


class CapacityState(StrEnum):
    """How much is left, in one word: over 40 %, over 10 %, some, none."""

    ABUNDANT = "abundant"
    CONSTRAINED = "constrained"
    CRITICAL = "critical"
    EXHAUSTED = "exhausted"
    RECOVERING = "recovering"

    Abundant = "abundant"
    Constrained = "constrained"
    Critical = "critical"
    Exhausted = "exhausted"
    Recovering = "recovering"


class CapacityUnit(StrEnum):
    """What capacity is counted in."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    MIXED = "mixed"

    Requests = "requests"
    Tokens = "tokens"
    Mixed = "mixed"


class CapacityEstimate(BaseModel):
    """A figure with what is known of its truth. `value` is `None` when unknown."""

    value: float | None = None
    min_value: float | None = None
    max_value: float | None = None
    confidence: float = Field(default=0.0, ge=0, le=1)
    estimation_method: str = "unknown"
    last_verified: datetime | None = None


class WindowState(BaseModel):
    """One window of one scope as it stands.

    Attributes:
        provenance: Who told the capacity: declared, header, error body, inferred.
        age_s: Seconds since the provider last spoke of it; `None` if it never did.
        charge: How a call is charged on it, where that is learned; else empty.
    """

    dimension: str
    algorithm: str
    period_s: float
    capacity: float
    used: float
    remaining: float
    provenance: str
    confidence: float
    age_s: float | None = None
    resets_in_s: float | None = None
    drift_per_s: float = 0.0
    charge: str = ""


class QuotaState(BaseModel):
    """What one key may still use, over all windows that bind it."""

    id: str
    key_id: str
    scope_id: str = ""
    capacity_state: CapacityState = CapacityState.ABUNDANT
    capacity_unit: CapacityUnit = CapacityUnit.MIXED
    remaining_capacity: CapacityEstimate = Field(default_factory=CapacityEstimate)
    total_capacity: float | None = None
    used_capacity: float = 0.0
    used_requests: int = 0
    used_tokens: int = 0
    time_window: TimeWindow = TimeWindow.MINUTE
    reset_at: datetime | None = None
    updated_at: datetime = Field(default_factory=utc_now)
    windows: list[WindowState] = Field(default_factory=list)


class ExhaustionPrediction(BaseModel):
    """When a scope is exhausted at the present rate.

    Attributes:
        earliest: Early end of the range; `latest` the late one.
        before_reset: Whether it happens before the window refills.
    """

    key_id: str
    scope_id: str = ""
    predicted_exhaustion_at: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None
    before_reset: bool = False
    window: str = ""
    usage_rate_per_s: float = 0.0
    confidence: float = Field(default=0.0, ge=0, le=1)
