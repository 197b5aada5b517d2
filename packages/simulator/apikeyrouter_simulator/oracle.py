"""What an ideal user would have got: the yardstick of whoever chooses keys.

It reads the providers' own ledgers and nothing else. A scope gives what each of its windows and
its slots could give in that time (everything at the start and everything that came since), counted
in calls of the size that it was really asked; the scarcest of them decides. So no user, however
clever, gets more than the ideal out of calls of these sizes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from apikeyrouter_simulator.tally import SimScope

ScopeName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Bound:
    """What one scope served (calls under way too), the most it could, and what bounds it."""

    served: int
    ideal: float
    bound_by: str | None


@dataclass(frozen=True, slots=True)
class Goodput:
    """What all scopes served, and the most they could have served to these clients."""

    served: int
    ideal: float
    bounds: Mapping[ScopeName, Bound]

    @property
    def share(self) -> float:
        """Served of ideal; 1 where nothing bounds the ideal."""
        return self.served / self.ideal if 0 < self.ideal < math.inf else 1.0


def bounds(scopes: Mapping[ScopeName, SimScope], now: float) -> dict[ScopeName, Bound]:
    """Return the bound of every scope at *now*.

    A scope that was never asked is bound by the sizes that its provider was asked elsewhere.
    """
    for scope in scopes.values():
        scope.limits.advance(now)
    usual = _usual_sizes(scopes)
    return {name: _bound(scope, usual[name[0]]) for name, scope in scopes.items()}


def goodput(
    scopes: Mapping[ScopeName, SimScope], now: float, seconds: float, clients: int | None
) -> Goodput:
    """Compare what was served in *seconds* with the ideal.

    Args:
        clients: How many calls can be under way at once at the very most; `None`: any number.
    """
    by_scope = bounds(scopes, now)
    served = sum(bound.served for bound in by_scope.values())
    ideal = sum(bound.ideal for bound in by_scope.values())
    if clients is not None:
        ideal = min(ideal, _most_of_clients(scopes, clients * seconds))
    return Goodput(served, ideal, by_scope)


def _usual_sizes(scopes: Mapping[ScopeName, SimScope]) -> dict[str, dict[str, float]]:
    """Return what an average call takes of every resource, by provider."""
    admitted: dict[str, dict[str, int]] = {provider: {} for provider, _ in scopes}
    taken: dict[str, dict[str, float]] = {provider: {} for provider, _ in scopes}
    for (provider, _), scope in scopes.items():
        for resource, amount, _ in _resources(scope):
            calls = admitted[provider].get(resource, 0)
            admitted[provider][resource] = calls + scope.limits.admitted
            taken[provider][resource] = taken[provider].get(resource, 0.0) + amount
    return {
        provider: {r: amounts[r] / calls for r, calls in admitted[provider].items() if calls}
        for provider, amounts in taken.items()
    }


def _resources(scope: SimScope) -> Iterator[tuple[str, float, float]]:
    """Yield what is limited: its name, how much calls took of it, and how much they could."""
    limits = scope.limits
    for reading in limits.readings():
        yield reading.kind.name, reading.taken, reading.possible + reading.overdrawn
    if limits.concurrency < math.inf:
        yield "concurrency", limits.lasting_s, limits.slot_s + limits.overtime_s


def _bound(scope: SimScope, usual: Mapping[str, float]) -> Bound:
    admitted = scope.limits.admitted
    ideal, bound_by = math.inf, None
    for resource, taken, possible in _resources(scope):
        size = taken / admitted if admitted else usual.get(resource, 0.0)
        if size > 0 and possible / size < ideal:
            ideal, bound_by = possible / size, resource
    return Bound(scope.tally.accepted + scope.tally.in_flight, ideal, bound_by)


def _most_of_clients(scopes: Mapping[ScopeName, SimScope], client_s: float) -> float:
    """Return how many calls clients can make that have so many seconds together."""
    limits = [scope.limits for scope in scopes.values()]
    admitted, lasting_s = sum(s.admitted for s in limits), sum(s.lasting_s for s in limits)
    if not admitted or lasting_s <= 0:
        return math.inf
    return (client_s + sum(s.overtime_s for s in limits)) * admitted / lasting_s
