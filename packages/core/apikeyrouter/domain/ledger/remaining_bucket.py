"""A bucket of which a provider tells what remains, but neither limit nor reset."""

from dataclasses import dataclass

from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    MINUTE_S,
    PERIODS_S,
    Dimension,
    Provenance,
)

#: Refill is measured over at least so long, from so many units on; what nobody waits for after so
#: long has not refilled.
_LEAST_S, _LEAST_UNITS, _LONG_S = 3.0, 3.0, 10.0
_MEMORY = 0.4
#: So much more within so short a time is no refill: a window ended, and began anew.
_JUMP, _AT_ONCE_S = 0.4, 20.0
_ROUNDING_S = 0.5
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
    measured it is taken for a minute's, or for that of the period that it is told of.

    Attributes:
        named_period_s: The period that its reports name; `None` if they name none.
        ended_at: After when and when at the latest a window last began anew; `None` never.
        turns_every_s: After what time it does so; `None` while that is not known.
    """

    __slots__ = (
        "_anchor", "_is_measured", "_last", "ended_at", "named_period_s", "turns_every_s",
    )  # fmt: skip

    def __init__(
        self,
        dimension: Dimension,
        remaining: float,
        now: float,
        *,
        label: str = "",
        named_period_s: float | None = None,
    ) -> None:
        super().__init__(
            dimension, max(1.0, remaining), named_period_s or MINUTE_S, now,
            provenance=Provenance.HEADER, label=label,
        )  # fmt: skip
        self.named_period_s = named_period_s
        self._refill_at(max(self.rate, 1.0 / _LOOK_EVERY_S), self.capacity)
        self.confidence = 0.5
        self._anchor: _Anchor | None = None
        self._last: _Anchor | None = None
        self.ended_at: tuple[float, float] | None = None
        self.turns_every_s: float | None = None
        self._is_measured = False

    def note_remaining(self, remaining: float, now: float, *, since: float = 0.0) -> None:
        """Measure the refill by a report, before the report moves the level.

        Args:
            since: Units charged after the reported request was sent.
        """
        if remaining > self.capacity:
            self._refill_at(self.rate * remaining / self.capacity, remaining)
        charged = self.charged - self.returned - since
        here = _Anchor(now, remaining, charged)
        last, self._last = self._last, here
        anchor = self._anchor
        if last is not None and self._has_ended(last, here):
            self._note_end(last.at, now)
            anchor = None
        if anchor is None:
            self._anchor = here
            return
        elapsed_s = now - anchor.at
        refilled = remaining - anchor.remaining + charged - anchor.charged
        if self.capacity - max(remaining, anchor.remaining) < 1.0:
            # What refills a full bucket is lost.
            self._anchor = here
        elif elapsed_s >= _LEAST_S and (refilled >= _LEAST_UNITS or elapsed_s >= _LONG_S):
            has_climbed = refilled >= 1.0
            self._measured(max(0.0, refilled / elapsed_s), has_climbed=has_climbed)
            self._anchor = here

    def resume(self, per_s: float) -> None:
        """Go on with a refill that was measured before."""
        self._is_measured = True
        self.confidence = 0.8
        self._refill_at(per_s, self.capacity)

    def _has_ended(self, last: _Anchor, here: _Anchor) -> bool:
        rise = here.remaining - last.remaining + here.charged - last.charged
        is_much = rise >= _LEAST_UNITS and rise > _JUMP * self.capacity
        return is_much and here.at - last.at <= _AT_ONCE_S

    def _note_end(self, after: float, by: float) -> None:
        """Note that a window ended in that time; the second end tells its period."""
        if self.ended_at is not None:
            shortest, longest = after - self.ended_at[1], by - self.ended_at[0]
            for period in PERIODS_S[1:]:
                if shortest - _ROUNDING_S <= period <= longest + _ROUNDING_S:
                    self.turns_every_s = period
                    by = min(by, self.ended_at[1] + period)
        self.ended_at = after, by

    def _measured(self, per_s: float, *, has_climbed: bool) -> None:
        weight = _MEMORY if self._is_measured else 1.0
        self._is_measured = True
        self.confidence = 0.8
        per_s = self.rate + weight * (per_s - self.rate)
        if not has_climbed:
            per_s = max(per_s, 1.0 / _LOOK_EVERY_S, self.capacity / _SLOWEST_PERIOD_S)
        self._refill_at(per_s, self.capacity)

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
