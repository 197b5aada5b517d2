"""A scenario come alive: scopes that count, keys that are known, conditions that befall.

Nothing here waits or reads a clock; the moment is an argument.
"""

import math
import random
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from apikeyrouter_simulator.dialects.dialect import Prefix
from apikeyrouter_simulator.dialects.store import Kept, Store
from apikeyrouter_simulator.quotas import oracle
from apikeyrouter_simulator.quotas.limits import Admission, Outside, ScopeLimits, Shortfall
from apikeyrouter_simulator.quotas.tally import SimScope, Tally
from apikeyrouter_simulator.reply import Reply, draw
from apikeyrouter_simulator.scenario import Condition, ProviderFacts, Scenario, ScopeFacts

_LOG_KEPT = 10_000
#: Conditions that change a scope once; the others befall requests.
_ON_SCOPES = ("limit", "consume", "move")


@dataclass(slots=True, eq=False)
class SimKey:
    """A key at work."""

    name: str
    provider: str
    facts: ProviderFacts
    scope: SimScope
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True, eq=False)
class Active:
    """A condition with its number, its beginning, and how often it may still befall."""

    number: int
    condition: Condition
    begins_at: float
    left: int | None
    is_applied: bool = False
    times_taken: int = 0

    def ends_at(self) -> float:
        """Return the moment of its end; infinity if there is none."""
        lasting = self.condition.for_s
        return self.begins_at + lasting if lasting is not None else float("inf")

    def is_on(self, now: float) -> bool:
        """Tell whether it befalls at *now*."""
        return self.begins_at <= now < self.ends_at() and self.left != 0

    def takes_due(self, now: float) -> list[float]:
        """Return the moments up to *now* at which it takes its amount and has not done so yet."""
        condition = self.condition
        if condition.kind != "consume" or not condition.amount or now < self.begins_at:
            return []
        every_s = condition.every_s
        due = math.floor((now - self.begins_at) / every_s) + 1 if every_s else 1
        numbers = range(self.times_taken, due)
        return [self.begins_at + n * (every_s or 0.0) for n in numbers]


class World:
    """Everything that a simulator remembers."""

    def __init__(self, scenario: Scenario, now: float) -> None:
        self.scenario = scenario
        self.store = Store()
        self.reset(now)

    def reset(self, now: float) -> None:
        """Begin anew: full buckets, empty tallies, the conditions of the scenario."""
        self.store.clear()
        self.begun_at = now
        self._applied_at = now
        self._random = random.Random(self.scenario.seed)  # noqa: S311 - repeatable, no secret
        self._replies = random.Random(self.scenario.seed)  # noqa: S311 - as above
        self.scopes: dict[tuple[str, str], SimScope] = {}
        #: Calls under way, each with what it was charged to: its key may have moved since.
        self._drawn_by: dict[Admission, tuple[SimScope, ScopeLimits]] = {}
        self.keys: dict[tuple[str, str], SimKey] = {}
        self.log: deque[dict[str, Any]] = deque(maxlen=_LOG_KEPT)
        self._number = 0
        self.conditions: list[Active] = []
        for provider, facts in self.scenario.providers.items():
            self._settle_in(provider, facts, now)
        for condition in self.scenario.conditions:
            self.add(condition, now)
        self._oracle = oracle.Oracle(self.scopes, now)
        self.advance(now)

    def _settle_in(self, provider: str, facts: ProviderFacts, now: float) -> None:
        drawn_on = {key.scope for key in facts.keys.values()}
        for name, scope in facts.scopes.items():
            limits = _fresh_limits(facts, scope, now)
            self.scopes[provider, name] = SimScope(name, scope, limits, name in drawn_on)
        for name, key in facts.keys.items():
            secret = key.secret or name
            self.keys[provider, secret] = SimKey(
                name, provider, facts, self.scopes[provider, key.scope]
            )

    def add(self, condition: Condition, now: float) -> int:
        """Let something happen; return its number."""
        self._number += 1
        active = Active(self._number, condition, now + condition.after_s, condition.times)
        self.conditions.append(active)
        return self._number

    def remove(self, number: int | None, now: float) -> None:
        """End one condition, or all."""
        for active in self.conditions:
            if number is None or active.number == number:
                active.left = 0
        self.advance(now)

    def advance(self, now: float) -> None:
        """Apply and lift the conditions that change scopes, each at its own moment."""
        if not self.conditions:
            return
        moments = {now}
        for active in self.conditions:
            if active.condition.kind in _ON_SCOPES:
                begin, end = active.begins_at, active.ends_at()
                moments.update(m for m in (begin, end) if self._applied_at < m < now)
                moments.update(active.takes_due(now))
        for moment in sorted(moments):
            self._advance_to(moment)
        self.conditions = [a for a in self.conditions if a.left != 0 and now < a.ends_at()]

    def _advance_to(self, moment: float) -> None:
        self._oracle.watch(moment)
        changed = False
        for active in self.conditions:
            if active.condition.kind in _ON_SCOPES and active.is_on(moment) != active.is_applied:
                active.is_applied = not active.is_applied
                changed = True
        if changed:
            self._apply(moment)
        for active in self.conditions:
            for _ in active.takes_due(moment) if active.is_applied else ():
                active.times_taken += 1
                self._take_outside(active.condition, moment)
        self._applied_at = moment

    def _apply(self, now: float) -> None:
        """Give every key its scope, and every scope its limits and other users, as of now."""
        self._move_keys(now)
        for (provider, name), scope in self.scopes.items():
            limits, outside = scope.facts.capacities, []
            for active in self.conditions:
                condition = active.condition
                if not active.is_applied or not _speaks_of(condition, provider, name):
                    continue
                if condition.kind == "limit":
                    limits = {n: v * condition.factor for n, v in limits.items()}
                    limits |= condition.limits
                elif condition.kind == "consume":
                    outside.append(
                        Outside(
                            condition.requests_per_minute,
                            condition.tokens_per_minute,
                            condition.fraction,
                            condition.dimension,
                            condition.per_second,
                        )
                    )
            scope.limits.change(limits, now)
            scope.limits.share_with(tuple(outside), now)

    def _move_keys(self, now: float) -> None:
        """Let every key draw on its scope as of now; a scope that it comes to alone is fresh."""
        ideals = oracle.bounds(self.scopes, now)
        before = {(key.provider, key.scope.name) for key in self.keys.values()}
        for key in self.keys.values():
            key.scope = self.scopes[key.provider, self._scope_name_of(key)]
        after = {(key.provider, key.scope.name) for key in self.keys.values()}
        for name in before - after:
            left, bound = self.scopes[name], ideals[name]
            left.is_drawn_on = False
            if now > self.begun_at:
                left.past_ideal = bound.ideal if bound.ideal < math.inf else bound.served
        for name in after - before:
            scope = self.scopes[name]
            scope.limits = _fresh_limits(self.scenario.providers[name[0]], scope.facts, now)
            scope.is_drawn_on = True

    def _scope_name_of(self, key: SimKey) -> str:
        name = key.facts.keys[key.name].scope
        for active in self.conditions:
            condition = active.condition
            if (
                active.is_applied
                and condition.kind == "move"
                and condition.key == key.name
                and condition.provider in (None, key.provider)
            ):
                name = condition.to or name
        return name

    def _take_outside(self, condition: Condition, now: float) -> None:
        """Let another user take its amount of every scope that the condition speaks of."""
        for (provider, name), scope in self.scopes.items():
            if _speaks_of(condition, provider, name):
                scope.limits.take_outside(condition.dimension, condition.amount, now)

    def befalling(
        self, key: SimKey, model: str, now: float, *, only: Collection[str] | None = None
    ) -> list[Condition]:
        """Return what befalls this request, and count it; *only* kinds, if they are given."""
        if not self.conditions:
            return []
        self.advance(now)
        found = []
        for active in self.conditions:
            condition = active.condition
            if condition.kind in _ON_SCOPES or not active.is_on(now):
                continue
            if only is not None and condition.kind not in only:
                continue
            if not _speaks_of(condition, key.provider, key.scope.name):
                continue
            if condition.key not in (None, key.name) or condition.model not in (None, model):
                continue
            if condition.probability < 1.0 and self._random.random() >= condition.probability:
                continue
            if active.left is not None:
                active.left -= 1
            found.append(condition)
        return found

    def admit(
        self, key: SimKey, charge: float, input_tokens: int, now: float, *, lasts_s: float = 0.0
    ) -> Admission | Shortfall:
        """Charge one call to its scope, or say why not."""
        self._oracle.watch(now)
        got = key.scope.limits.admit(charge, input_tokens, now, lasts_s=lasts_s)
        if isinstance(got, Admission):
            self._drawn_by[got] = key.scope, key.scope.limits
        for tally in (key.tally, key.scope.tally):
            if isinstance(got, Shortfall):
                tally.refused += 1
                tally.refused_by[got.limit_name] = tally.refused_by.get(got.limit_name, 0) + 1
            else:
                tally.in_flight += 1
                tally.max_in_flight = max(tally.max_in_flight, tally.in_flight)
        return got

    def settle(
        self, key: SimKey, admission: Admission, used: tuple[int, int], now: float, outcome: str
    ) -> None:
        """End one call: `accepted`, `cancelled`, or the kind of condition that failed it."""
        self._oracle.watch(now)
        scope, limits = self._drawn_by.pop(admission)
        limits.settle(admission, input_tokens=used[0], output_tokens=used[1], now=now)
        for tally in (key.tally, scope.tally):
            tally.in_flight -= 1
            if outcome == "accepted":
                tally.accepted += 1
                tally.input_tokens += used[0]
                tally.output_tokens += used[1]
            elif outcome == "cancelled":
                tally.cancelled += 1
            else:
                tally.failed += 1
                tally.failed_by[outcome] = tally.failed_by.get(outcome, 0) + 1

    def key_named(self, provider: str, name: str) -> SimKey | None:
        """Return the key of that name."""
        keys = self.keys.values()
        return next((key for key in keys if (key.provider, key.name) == (provider, name)), None)

    def fail(self, key: SimKey, kind: str) -> None:
        """Count one call that failed before it was let in."""
        for tally in (key.tally, key.scope.tally):
            tally.failed += 1
            tally.failed_by[kind] = tally.failed_by.get(kind, 0) + 1

    def served_free(self, key: SimKey, *, lists_models: bool) -> None:
        """Count one call that costs nothing."""
        for tally in (key.tally, key.scope.tally):
            if lists_models:
                tally.listed += 1
            else:
                tally.free += 1

    def look_up(self, key: SimKey, prefixes: Sequence[Prefix], given: int) -> tuple[int, int]:
        """Return how many of *given* input tokens were cached, and how many are from now on.

        What was cached is the longest beginning that was marked before; what is marked now is
        cached.
        """
        scope, known, marked = (key.provider, key.scope.name), 0, 0
        for prefix in prefixes:
            tokens = min(prefix.tokens, given)
            if self.store.get(scope, "prefix", prefix.digest) is not None:
                known = max(known, tokens)
            if prefix.is_marked:
                marked = max(marked, tokens)
        for prefix in prefixes:
            if prefix.is_marked:
                self.store.put(scope, "prefix", prefix.digest, Kept({}))
        return known, max(0, marked - known)

    def note(self, key: str, model: str, status: int, now: float) -> None:
        """Remember one call for the log."""
        self.log.append(
            {"at_s": round(now - self.begun_at, 4), "key": key, "model": model, "status": status}
        )

    def draw_reply(self, key: SimKey, cap: int | None) -> Reply:
        """Decide how the answer to a call is, if it is let in."""
        return draw(key.facts.reply, cap, self._replies)

    def stats(self, now: float) -> dict[str, Any]:
        """Report everything that was served, by key and by scope."""
        self._oracle.watch(now)
        self.advance(now)
        bounds = oracle.bounds(self.scopes, now)
        scopes = {
            f"{p}/{n}": _scope_data(scope, bounds[p, n]) for (p, n), scope in self.scopes.items()
        }
        keys = {f"{key.provider}/{key.name}": key.tally.data() for key in self.keys.values()}
        totals = {
            name: sum(tally[name] for tally in keys.values())
            for name in ("accepted", "refused", "failed", "cancelled", "listed", "in_flight")
        }
        return {
            "seconds": now - self.begun_at,
            "totals": totals,
            "keys": keys,
            "scopes": scopes,
        }

    def goodput(self, now: float, *, clients: int | None = None) -> oracle.Goodput:
        """Compare what was served with what an ideal user, of so many clients, would have got."""
        self.advance(now)
        return self._oracle.goodput(now, clients)


def _fresh_limits(facts: ProviderFacts, scope: ScopeFacts, now: float) -> ScopeLimits:
    return ScopeLimits(
        scope.capacities,
        algorithm=scope.algorithm,
        algorithms=scope.algorithms,
        used=scope.used,
        start=now,
        settlement=facts.settlement,
        charges_refused=scope.charges_refused,
        first_reset_s=scope.first_reset_s,
    )


def _speaks_of(condition: Condition, provider: str, scope: str) -> bool:
    return condition.provider in (None, provider) and condition.scope in (None, scope)


def _scope_data(scope: SimScope, bound: oracle.Bound) -> dict[str, Any]:
    readings = list(scope.limits.readings())
    return {
        **scope.tally.data(),
        "limits": {r.kind.name: r.limit for r in readings},
        "used": {r.kind.name: r.used for r in readings},
        "outside": scope.limits.outside_taken,
        "possible": {r.kind.name: r.possible for r in readings},
        "possible_requests": bound.ideal if bound.ideal < math.inf else None,
    }
