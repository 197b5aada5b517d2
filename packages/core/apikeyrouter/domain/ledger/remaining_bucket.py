"""A bucket of which a provider tells what remains, but neither limit nor reset."""

from dataclasses import dataclass

from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.limits.observation import DAY_S, MINUTE_S, Dimension, Provenance

#: Refill is measured over at least so long, from so many units on; what nobody waits for after so
#: long has not refilled.
_LEAST_S, _LEAST_UNITS, _LONG_S = 3.0, 3.0, 10.0
_MEMORY = 0.4
#: So much more at once is no refill: the limit began anew, or grew.
_JUMP = 0.3
#: Without any refill seen, a call finds out this often whether there is some.
_LOOK_EVERY_S = 5.0
_SLOWEST_PERIOD_S = 600.0


@dataclass(slots=True)
class _Anchor:
    """Where a measurement began: what remained, and what had been charged by then."""

    at: float
    remaining: float
    charged: float


class RemainingBucket(TokenBucket):
    """Never more in flight than what remains; its refill is learned from how that climbs.

    The capacity is the largest remainder seen: the limit is that or more. Until refill has been
    measured it is taken for a minute's.
    """

    __slots__ = ("_anchor", "_is_measured")

    def __init__(self, dimension: Dimension, remaining: float, now: float, label: str = "") -> None:
        super().__init__(
            dimension, max(1.0, remaining), MINUTE_S, now, provenance=Provenance.HEADER, label=label
        )
        self.confidence = 0.5
        self._anchor: _Anchor | None = None
        self._is_measured = False

    def note_remaining(self, remaining: float, now: float) -> None:
        """Measure the refill by a report, before the report moves the level."""
        if remaining > self.capacity:
            self._refill_at(self.rate * remaining / self.capacity, remaining)
        charged = self.charged - self.returned
        anchor = self._anchor
        here = _Anchor(now, remaining, charged)
        if anchor is None:
            self._anchor = here
            return
        elapsed_s = now - anchor.at
        refilled = remaining - anchor.remaining + charged - anchor.charged
        if remaining - anchor.remaining > _JUMP * self.capacity and elapsed_s < _LEAST_S:
            self._anchor = here
        elif self.capacity - max(remaining, anchor.remaining) < 1.0:
            # What refills a full bucket is lost.
            self._anchor = here
        elif elapsed_s >= _LEAST_S and (refilled >= _LEAST_UNITS or elapsed_s >= _LONG_S):
            self._measured(max(0.0, refilled / elapsed_s))
            self._anchor = here

    def _measured(self, per_s: float) -> None:
        weight = _MEMORY if self._is_measured else 1.0
        self._is_measured = True
        self.confidence = 0.8
        slowest = max(1.0 / _LOOK_EVERY_S, self.capacity / _SLOWEST_PERIOD_S)
        slowest = min(slowest, self.capacity)
        self._refill_at(max(slowest, self.rate + weight * (per_s - self.rate)), self.capacity)

    def _refill_at(self, per_s: float, capacity: float) -> None:
        self.used += capacity - self.capacity
        self.capacity = capacity
        self.period_s = min(DAY_S, capacity / per_s)
        self._pace_at(capacity / self.period_s)

    def _rename(self) -> None:
        """Say what it counts; over how long is not told."""
        self.name = f"{self.label} remaining {self.dimension.value}".lstrip()

    def _note_drift(self, correction: float, now: float) -> None:
        """Take what others use for a slower refill: there is no telling them apart."""
