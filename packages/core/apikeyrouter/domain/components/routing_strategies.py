"""What makes one lane better than another: a score function for each objective.

A strategy is a pure function of one lane and the used share of its scope's
limits, lower is better, on a scale from 0 to 1, so that weighted objectives
simply add. What is unknown scores in the middle. A strategy is one function
and one row.
"""

from collections.abc import Callable, Mapping

from apikeyrouter.domain.components.candidate_index import Gate, Score
from apikeyrouter.domain.components.lane import Lane
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective

Strategy = Callable[[Lane, float], float]
UNKNOWN = 0.5
#: What was seen of a lane longer ago keeps it from nobody: a call finds out.
HEALTH_MEMORY_S = 60.0
#: From this used share on a lane moves towards the end of the order: low is not empty.
_LOW_FROM = 0.9
_LOW_PENALTY = 20.0
#: Scores this close are equal, and equal lanes take turns.
_STEPS = 64.0


def fairness(lane: Lane, used: float) -> float:
    """Score the used share of the scope's limits, and its calls in flight, by weight."""
    in_flight = lane.scope.in_flight
    if used > 1.0:
        used = 1.0
    return (0.8 * used + 0.2 * in_flight / (in_flight + 16.0)) / lane.mean_weight


def reliability(lane: Lane, used: float) -> float:
    """Score the decaying share of calls that failed."""
    del used
    return 1.0 - lane.health.success


def latency(lane: Lane, used: float) -> float:
    """Score seconds to the first byte times calls in flight; a second alone is the middle."""
    del used
    expected_s = lane.health.latency_s * (lane.scope.in_flight + 1)
    return expected_s / (expected_s + 1.0)


def cost(lane: Lane, used: float) -> float:
    """Score the operator's word for the price, `cost_rank` from 0 (cheapest) to 1."""
    del used
    return _declared(lane, "cost_rank")


def quality(lane: Lane, used: float) -> float:
    """Score the operator's word for quality, `quality_rank` from 0 (best) to 1."""
    del used
    return _declared(lane, "quality_rank")


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

    def weighted(lane: Lane, used: float) -> float:
        return sum(strategy(lane, used) * weight for strategy, weight in parts)

    return _finish(weighted)


def make_gate(objective: RoutingObjective) -> Gate | None:
    """Build the check of hard constraints; a lane that is known to break one is out.

    `max_cost_per_request` binds nobody while no price is known.
    """
    least = objective.constraints.get("min_reliability")
    slowest_ms = objective.constraints.get("max_latency_ms")
    if least is None and slowest_ms is None:
        return None

    def gate(lane: Lane, now: float) -> str | None:
        if now - lane.health.noted_at > HEALTH_MEMORY_S:
            return None
        if least is not None and lane.health.success < least:
            return f"reliability {lane.health.success:.2f} is below {least:g}"
        if slowest_ms is not None and lane.health.latency_s * 1000.0 > slowest_ms:
            return f"latency {lane.health.latency_s * 1000.0:.0f} ms is above {slowest_ms:g} ms"
        return None

    return gate


def _finish(strategy: Strategy) -> Score:
    def score(lane: Lane, now: float) -> float:
        used = lane.scope.strain(now)
        value = strategy(lane, used)
        if used > _LOW_FROM:
            value += (used - _LOW_FROM) * _LOW_PENALTY
        return int(value * _STEPS) / _STEPS

    return score


def _declared(lane: Lane, name: str) -> float:
    for slot in lane.slots:
        rank = slot.record.metadata.get(name)
        if rank is not None:
            return min(1.0, max(0.0, float(rank)))
    return UNKNOWN
