"""Which candidate was chosen, over which, and why."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field, field_validator


class ObjectiveType(StrEnum):
    """What a caller may ask the choice to be good at."""

    COST = "cost"
    RELIABILITY = "reliability"
    FAIRNESS = "fairness"
    QUALITY = "quality"
    LATENCY = "latency"


class RoutingObjective(BaseModel):
    """What the choice should be good at.

    Attributes:
        primary: The objective that counts most; default fairness.
        secondary: Break near-ties by these, in order.
        constraints: Hard: `min_reliability` (0 to 1), `max_cost_per_request`
            (US dollars), `max_latency_ms`. A candidate that is known to break one is out.
        weights: Objective to weight. Replaces the weights that follow from
            primary (1.0) and secondary (0.25, 0.1, …).
    """

    primary: ObjectiveType = ObjectiveType.FAIRNESS
    secondary: list[ObjectiveType] = Field(default_factory=list)
    constraints: dict[str, float] = Field(default_factory=dict)
    weights: dict[ObjectiveType, float] = Field(default_factory=dict)

    @field_validator("constraints")
    @classmethod
    def _known(cls, constraints: dict[str, float]) -> dict[str, float]:
        known = {"min_reliability", "max_cost_per_request", "max_latency_ms"}
        if unknown := set(constraints) - known:
            raise ValueError(f"unknown constraints {sorted(unknown)}; known are {sorted(known)}")
        return constraints

    def weighted(self) -> tuple[tuple[ObjectiveType, float], ...]:
        """Return (objective, weight) pairs, heaviest first, without zeros."""
        if self.weights:
            pairs = [(name, weight) for name, weight in self.weights.items() if weight > 0]
            return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
        rest = [name for name in self.secondary if name != self.primary]
        return ((self.primary, 1.0), *((name, 0.25 * 0.4**i) for i, name in enumerate(rest)))


class AlternativeRoute(BaseModel):
    """A candidate that was not chosen."""

    key_id: str
    provider_id: str
    score: float | None = None
    reason_not_selected: str = ""


class RoutingDecision(BaseModel):
    """The readable record of one choice. Text is made when it is read."""

    id: str
    request_id: str
    selected_key_id: str
    selected_provider_id: str
    decision_timestamp: datetime
    objective: RoutingObjective
    eligible_keys: list[str] = Field(default_factory=list)
    evaluation_results: dict[str, Any] = Field(default_factory=dict)
    explanation: str = ""
    confidence: float = 1.0
    alternatives_considered: list[AlternativeRoute] = Field(default_factory=list)


def instant(epoch_s: float) -> datetime:
    """Turn seconds since the epoch into a moment with its zone."""
    return datetime.fromtimestamp(epoch_s, UTC)
