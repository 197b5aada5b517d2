"""What makes one candidate better than another: a score function for each objective.

A strategy is a pure function of one candidate and the used share of its scope's
limits, lower is better, on a scale from 0 to 1, so that weighted objectives
simply add. What is unknown scores in the middle. A strategy is one function
and one row.
"""

from collections.abc import Callable, Mapping

from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.ranking import Gate, Score

Strategy = Callable[[Candidate, float], float]
UNKNOWN = 0.5
#: What was seen of a candidate longer ago keeps it from nobody: a call finds out.
HEALTH_MEMORY_S = 60.0
#: From this used share on a candidate moves towards the end of the order: low is not empty.
_LOW_FROM = 0.9
_LOW_PENALTY = 20.0
#: Scores this close are equal, and equal candidates take turns.
_STEPS = 64.0


def fairness(candidate: Candidate, used: float) -> float:
    """Score the used share of the scope's limits, and its calls in flight, by weight."""
    in_flight = candidate.scope.in_flight
    if used > 1.0:
        used = 1.0
    return (0.8 * used + 0.2 * in_flight / (in_flight + 16.0)) / candidate.mean_weight


def reliability(candidate: Candidate, used: float) -> float:
    """Score the decaying share of calls that failed."""
    del used
    return 1.0 - candidate.health.success


def latency(candidate: Candidate, used: float) -> float:
    """Score seconds to the first byte times calls in flight; a second alone is the middle."""
    del used
    expected_s = candidate.health.latency_s * (candidate.scope.in_flight + 1)
    return expected_s / (expected_s + 1.0)


def cost(candidate: Candidate, used: float) -> float:
    """Score the operator's word for the price, `cost_rank` from 0 (cheapest) to 1."""
    del used
    return _declared(candidate, "cost_rank")


def quality(candidate: Candidate, used: float) -> float:
    """Score the operator's word for quality, `quality_rank` from 0 (best) to 1."""
    del used
    return _declared(candidate, "quality_rank")


STRATEGIES: Mapping[ObjectiveType, Strategy] = {
    ObjectiveType.COST: cost,
    ObjectiveType.RELIABILITY: reliability,
    ObjectiveType.FAIRNESS: fairness,
    ObjectiveType.QUALITY: quality,
    ObjectiveType.LATENCY: latency,
}


def make_score(objective: RoutingObjective) -> Score:
    """Build the score of *objective*: the weighted sum, and the penalty of running low."""
    parts = [(STRATEGIES[name], weight) for name, weight in objective.weighted()]
    if len(parts) == 1:
        return _finish(parts[0][0])

    def weighted(candidate: Candidate, used: float) -> float:
        return sum(strategy(candidate, used) * weight for strategy, weight in parts)

    return _finish(weighted)


def make_gate(objective: RoutingObjective) -> Gate | None:
    """Build the check of hard constraints; a candidate that is known to break one is out.

    `max_cost_per_request` binds nobody while no price is known.
    """
    least = objective.constraints.get("min_reliability")
    slowest_ms = objective.constraints.get("max_latency_ms")
    if least is None and slowest_ms is None:
        return None

    def gate(candidate: Candidate, now: float) -> str | None:
        if now - candidate.health.noted_at > HEALTH_MEMORY_S:
            return None
        if least is not None and candidate.health.success < least:
            return f"reliability {candidate.health.success:.2f} is below {least:g}"
        if slowest_ms is not None and candidate.health.latency_s * 1000.0 > slowest_ms:
            return (
                f"latency {candidate.health.latency_s * 1000.0:.0f} ms is above {slowest_ms:g} ms"
            )
        return None

    return gate


def _finish(strategy: Strategy) -> Score:
    def score(candidate: Candidate, now: float) -> float:
        used = candidate.scope.strain(now)
        value = strategy(candidate, used)
        if used > _LOW_FROM:
            value += (used - _LOW_FROM) * _LOW_PENALTY
        return int(value * _STEPS) / _STEPS

    return score


def _declared(candidate: Candidate, name: str) -> float:
    for slot in candidate.slots:
        rank = slot.record.metadata.get(name)
        if rank is not None:
            return min(1.0, max(0.0, float(rank)))
    return UNKNOWN
