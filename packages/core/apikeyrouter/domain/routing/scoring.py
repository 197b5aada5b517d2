"""What makes one candidate better than another: a score function for each objective.

A strategy is a pure function of one candidate, the used share of its scope's limits and the
instant; lower is better, on a scale from 0 to 1, so that weighted objectives simply add. What is
unknown scores in the middle. A strategy is one function and one row.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from apikeyrouter.domain.ledger.ledger import STRAIN_FRESH_S
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective
from apikeyrouter.domain.routing.candidate import Candidate

Strategy = Callable[[Candidate, float, float], float]
Score = Callable[[Candidate, float], float]
#: Says why a candidate must not serve (a constraint that it breaks), or `None`.
Gate = Callable[[Candidate, float], str | None]

#: What an operator may say of a key, from 0 (best) to 1.
RANKS = frozenset({"cost_rank", "quality_rank"})
UNKNOWN = 0.5
#: Scores this close are equal, and equal candidates take turns: a measured latency is never
#: quite another's, and whoever is not called cannot improve its own.
EQUAL_WITHIN = 0.03
#: What was seen of a candidate longer ago keeps it from nobody: a call finds out.
HEALTH_MEMORY_S = 60.0
#: From this used share on a candidate moves towards the end of the order: low is not empty.
_LOW_FROM = 0.9
_LOW_PENALTY = 20.0
#: So many calls in flight, for a weight of 1, make half of what those in flight can.
_CALLS_THAT_COUNT = 16.0
#: Objectives that callers named last; of others the rankings are made anew.
_OBJECTIVES_KEPT = 64


@dataclass(slots=True, frozen=True, eq=False)
class Scoring:
    """An objective compiled: how candidates are scored, and who must not serve."""

    objective: RoutingObjective
    score: Score
    gate: Gate | None


class ScoringTable:
    """Compiled objectives; equal ones share one, so that they share rankings too.

    Attributes:
        default: Of the router's own objective.
        on_drop: Told of one that nobody has named for long: its rankings can go.
    """

    def __init__(self, default: RoutingObjective) -> None:
        self._scorings: OrderedDict[str, Scoring] = OrderedDict()
        self.on_drop: Callable[[Scoring], None] = lambda _: None
        self.set_default(default)

    def set_default(self, objective: RoutingObjective) -> None:
        """Set what choices should be good at unless a request says otherwise."""
        self.default = compile_objective(objective)

    def scoring_of(self, objective: RoutingObjective | None) -> Scoring:
        """Return the compiled *objective*, the default's for `None`."""
        if objective is None:
            return self.default
        name = objective.model_dump_json()
        scoring = self._scorings.get(name)
        if scoring is not None:
            self._scorings.move_to_end(name)
            return scoring
        scoring = self._scorings[name] = compile_objective(objective)
        if len(self._scorings) > _OBJECTIVES_KEPT:
            self.on_drop(self._scorings.popitem(last=False)[1])
        return scoring


def fairness(candidate: Candidate, used: float, now: float) -> float:
    """Score the used share of the scope's limits, and its calls in flight, by weight."""
    del now
    if used > 1.0:
        used = 1.0
    load = candidate.scope.account.in_flight / candidate.weight
    return 0.8 * used / candidate.mean_weight + 0.2 * load / (load + _CALLS_THAT_COUNT)


def reliability(candidate: Candidate, used: float, now: float) -> float:
    """Score the decaying share of calls that failed."""
    del used
    return candidate.health.failing(now)


def latency(candidate: Candidate, used: float, now: float) -> float:
    """Score seconds to the first byte, more with calls in flight; a second alone is the middle."""
    del used
    load = candidate.scope.account.in_flight / candidate.weight
    expected_s = candidate.health.expected_s(now) * (1.0 + load / _CALLS_THAT_COUNT)
    return expected_s / (expected_s + 1.0)


def cost(candidate: Candidate, used: float, now: float) -> float:
    """Score the operator's rank of the price, `cost_rank` from 0 (cheapest) to 1."""
    del used, now
    rank = candidate.declared_rank("cost_rank")
    return UNKNOWN if rank is None else rank


def quality(candidate: Candidate, used: float, now: float) -> float:
    """Score the operator's rank of quality, `quality_rank` from 0 (best) to 1."""
    del used, now
    rank = candidate.declared_rank("quality_rank")
    return UNKNOWN if rank is None else rank


STRATEGIES: Mapping[ObjectiveType, Strategy] = {
    ObjectiveType.COST: cost,
    ObjectiveType.RELIABILITY: reliability,
    ObjectiveType.FAIRNESS: fairness,
    ObjectiveType.QUALITY: quality,
    ObjectiveType.LATENCY: latency,
}


def compile_objective(objective: RoutingObjective) -> Scoring:
    """Compile *objective* to a score and a gate."""
    return Scoring(objective, make_score(objective), make_gate(objective))


def make_score(objective: RoutingObjective) -> Score:
    """Build the score of *objective*: the weighted sum, and the penalty of running low."""
    parts = [(STRATEGIES[name], weight) for name, weight in objective.weighted()]
    if len(parts) == 1:
        return _finish(parts[0][0])

    def weighted(candidate: Candidate, used: float, now: float) -> float:
        return sum(strategy(candidate, used, now) * weight for strategy, weight in parts)

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
        health = candidate.health
        if now - health.noted_at > HEALTH_MEMORY_S:
            return None
        if least is not None and health.success < least:
            return f"reliability {health.success:.2f} is below {least:g}"
        if slowest_ms is not None and health.latency_s * 1000.0 > slowest_ms:
            return f"latency {health.latency_s * 1000.0:.0f} ms is above {slowest_ms:g} ms"
        return None

    return gate


def _finish(strategy: Strategy) -> Score:
    def score(candidate: Candidate, now: float) -> float:
        account = candidate.scope.account
        # Asked of every candidate at every decision: what is fresh is not asked for.
        is_fresh = now - account.strained_at < STRAIN_FRESH_S
        used = account.last_strain if is_fresh else account.strain(now)
        value = strategy(candidate, used, now)
        if used > _LOW_FROM:
            value += (used - _LOW_FROM) * _LOW_PENALTY
        return value

    return score
