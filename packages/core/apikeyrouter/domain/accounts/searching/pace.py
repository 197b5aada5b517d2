"""A pace: requests a second that are let in where nobody tells how many, as found by refusals."""

import math

from apikeyrouter.domain.accounts.searching.doubt import NEAR, NO_BOUND, Doubt
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension, Provenance

#: A pace may be this far ahead of itself.
_BURST_S = 1.0
#: Below its ceiling a pace grows back within this time; over it by this share a second.
_RECOVERY_S = 30.0
_PROBE_PER_S = 0.004
#: How long the pace stays under its ceiling; doubled whenever a refusal confirms it.
_FIRST_HOLD_S, _LONGEST_HOLD_S = 30.0, 60.0
_SAME = 0.1
#: A pace that is let in so far beyond its ceiling grows by this share a second.
_FAR_BEYOND, _GROWN_PER_S = 1.06, 0.05
_SLOWEST_PER_S = 1.0 / MINUTE_S
#: A pace that held nobody up for so long does not grow.
_IDLE_S = 10.0
_DOUBLES_IN_S = 5.0


class Pace(TokenBucket):
    """Requests a second, as found by refusals.

    Attributes:
        ceiling: The pace at which the last refusal came.
        wanted_at: When it last held somebody up; an idle pace does not grow.
        is_rough: It was found by so few calls that it may be far too slow.
        is_passing: It goes once it has grown back to its ceiling.
        doubt: When more is tried; `None` where the provider has spoken of a pace.
        tried_at: When it last was.
    """

    __slots__ = (
        "ceiling", "doubt", "grown_at", "hold_s", "is_passing", "is_rough", "probe_at",
        "tried_at", "wanted_at",
    )  # fmt: skip

    def __init__(self, per_s: float, ceiling: float, now: float, *, is_passing: bool) -> None:
        super().__init__(
            Dimension.REQUESTS, 1.0, 1.0, now, provenance=Provenance.INFERRED, label="paced"
        )
        self.ceiling = ceiling
        self.hold_s = _FIRST_HOLD_S
        self.is_passing = is_passing
        self.is_rough = False
        self.doubt: Doubt | None = None
        self.tried_at = -math.inf
        self.wanted_at = self.grown_at = now
        self.probe_at = now + self.hold_s
        self.go_at(per_s)
        # Nothing of it is free yet: the refusal said that everything is used.
        self.used = self.capacity

    def lacks(self, amount: float, now: float) -> bool:
        """Tell whether *amount* has to wait, and remember that somebody had to."""
        if not super().lacks(amount, now):
            return False
        self.wanted_at = now
        return self.doubt is None or not self.doubt.is_due(now)

    def take(self, amount: float, now: float) -> int:
        """Charge *amount*; beyond the pace it is a trial."""
        if self.doubt is not None and super().lacks(amount, now):
            self.doubt.begin(now)
            self.tried_at = now
        return super().take(amount, now)

    def fits_at(self, amount: float, now: float) -> float:
        """Return when *amount* fits, or is tried all the same."""
        fits_at = super().fits_at(amount, now)
        return fits_at if self.doubt is None else max(now, min(fits_at, self.doubt.rounds.at))

    def units_by(self, at: float, now: float) -> float:
        """Return what can be taken until *at*; a fresh guess is no bound."""
        is_bound = self.doubt is None or self.doubt.is_settled()
        return super().units_by(at, now) if is_bound else NO_BOUND

    def go_at(self, per_s: float) -> None:
        """Let so many requests a second pass from now on."""
        per_s = max(per_s, _SLOWEST_PER_S)
        self.capacity = max(1.0, per_s * _BURST_S)
        self.period_s = self.capacity / per_s
        self._pace_at(per_s)

    def grow(self, now: float) -> None:
        """Raise it as time allows: fast to just under the ceiling, little by little beyond."""
        elapsed, self.grown_at = now - self.grown_at, now
        if now - self.wanted_at > _IDLE_S:
            return
        near = NEAR * self.ceiling
        if self.is_rough:
            self.go_at(self.rate * 2.0 ** min(elapsed / _DOUBLES_IN_S, 3.0))
        elif self.rate < near:
            self.go_at(min(near, self.rate + self.ceiling * elapsed / _RECOVERY_S))
        elif self.rate > _FAR_BEYOND * self.ceiling:
            # Nothing was refused so far beyond: the limit has grown.
            self.go_at(self.rate * (1.0 + _GROWN_PER_S * min(elapsed, 1.0)))
        elif now >= self.probe_at:
            self.go_at(self.rate + self.ceiling * _PROBE_PER_S * elapsed)

    def fall(self, to: float, ceiling: float, now: float) -> None:
        """Go slower after a refusal; one where the last one was confirms both."""
        agrees = abs(ceiling - self.ceiling) <= _SAME * self.ceiling
        self.hold_s = min(_LONGEST_HOLD_S, 2.0 * self.hold_s) if agrees else _FIRST_HOLD_S
        self.confidence = 1.0 - 0.5 * (1.0 - self.confidence) if agrees else 0.3
        self.ceiling = ceiling
        self.probe_at = now + self.hold_s
        if self.doubt is not None:
            self.doubt.restart(now)
        self.go_at(to)

    def _rename(self) -> None:
        self.name = f"paced {self.dimension.value}"
