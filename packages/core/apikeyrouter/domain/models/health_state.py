"""How a provider or a key fares."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from apikeyrouter.domain.models.api_key import utc_now


class HealthStatus(StrEnum):
    """Three answers to "does it work?"."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"


class HealthState(BaseModel):
    """One check's outcome."""

    model_config = ConfigDict(frozen=True)

    status: HealthStatus
    checked_at: datetime = Field(default_factory=utc_now)
    latency_ms: float | None = None
    details: str = ""
