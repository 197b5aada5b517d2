"""What an ideal user would have got: the yardstick of whoever chooses keys.

It reads the providers' own ledgers and nothing else. A scope gives what each of its windows and
its slots could give in that time (everything at the start and everything that came since), counted
in calls of the size that it was really asked; the scarcest of them decides. So many clients can
make only so many calls, and what is given at once, when a window turns, takes them a while to use.
No user, however clever, gets more than the ideal out of calls of these sizes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from apikeyrouter_simulator.quotas.limits import KINDS
from apikeyrouter_simulator.quotas.tally import SimScope

ScopeName = tuple[str, str]
#: Calls are whole; amounts are sums of many fractions.
_ROUNDING = 1e-6
#: A mark is set this long before a window turns.
_BEFORE_S = 1e-6


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


@dataclass(frozen=True, slots=True)
class Mark:
    """How it stood at a moment: the ideal until then, and what was let in."""

    at: float
    ideal: float
    admitted: int
    lasting_s: float


class Oracle:
    """Watches scopes from *start* on."""

    def __init__(self, scopes: Mapping[ScopeName, SimScope], start: float) -> None:
        self._scopes = scopes
        self._marks = [Mark(start, 0.0, 0, 0.0)]
        self._next_at = self._turns_at()

    def watch(self, now: float) -> None:
        """Set a mark before every turn up to *now*; call it before anything changes."""
        while self._next_at <= now:
            self._marks.append(self._mark(self._next_at - _BEFORE_S))
            for scope in self._scopes.values():
                scope.limits.advance(self._next_at)
            self._next_at = self._turns_at()

    def goodput(self, now: float, clients: int | None) -> Goodput:
        """Compare what was served with the ideal.

        Args:
            clients: How many calls can be under way at once at the very most; `None`: any number.
        """
        self.watch(now)
        by_scope = bounds(self._scopes, now)
        served = sum(bound.served for bound in by_scope.values())
        ideal = sum(bound.ideal for bound in by_scope.values())
        if clients is not None:
            ideal = min([ideal, *self._most_of_clients(self._mark(now), clients)])
        return Goodput(served, ideal, by_scope)

    def _turns_at(self) -> float:
        return min((s.limits.turns_at() for s in self._scopes.values()), default=math.inf)

    def _mark(self, at: float) -> Mark:
        ideal = sum(bound.ideal for bound in bounds(self._scopes, at).values())
        limits = [scope.limits for scope in self._scopes.values()]
        return Mark(at, ideal, sum(s.admitted for s in limits), sum(s.lasting_s for s in limits))

    def _most_of_clients(self, end: Mark, clients: int) -> Iterator[float]:
        """Yield, for every mark, its ideal and what clients can ask from then on."""
        overtime_s = sum(scope.limits.overtime_s for scope in self._scopes.values())
        for mark in self._marks:
            calls, lasting_s = end.admitted - mark.admitted, end.lasting_s - mark.lasting_s
            if not calls:
                calls, lasting_s = end.admitted, end.lasting_s
            if lasting_s > 0:
                client_s = clients * (end.at - mark.at) + overtime_s
                yield mark.ideal + math.floor(client_s * calls / lasting_s + _ROUNDING)


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


def _is_requests(resource: str) -> bool:
    return resource in KINDS and KINDS[resource].dimension == "requests"


def _bound(scope: SimScope, usual: Mapping[str, float]) -> Bound:
    served = scope.tally.accepted + scope.tally.in_flight
    if not scope.is_drawn_on:
        return Bound(served, scope.past_ideal, None)
    admitted = scope.limits.admitted
    ideal, bound_by = math.inf, None
    for resource, taken, possible in _resources(scope):
        size = taken / admitted if admitted else usual.get(resource, float(_is_requests(resource)))
        if size > 0 and possible / size < ideal:
            ideal, bound_by = possible / size, resource
    if ideal < math.inf:
        ideal = math.floor(ideal + _ROUNDING)
    return Bound(served, scope.past_ideal + ideal, bound_by)
