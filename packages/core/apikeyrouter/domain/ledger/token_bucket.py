"""The window of most providers: it refills continuously, and a burst is its capacity."""

# ruff: noqa: D102 - the verbs are documented once, on `Window`
import math
from bisect import bisect_right
from typing import Any

from apikeyrouter.domain.ledger.window import EPSILON, SAMPLE_S, Window
from apikeyrouter.domain.limits.observation import Algorithm, Dimension, Provenance

#: Calls overtake each other on their way: two that we space exactly may reach the
#: provider this much closer. A bucket keeps what refills in that time as slack.
JITTER_S = 0.1
_LOWS_KEPT = 64
#: What a refusal adds to the slack, doubled by the next one, at most this share of the capacity;
#: so much of it is forgotten a second while reports come.
_FIRST_MARGIN, _LARGEST_MARGIN, _MARGIN_MEMORY_S = 1.0, 0.05, 120.0
#: Whatever others take, this share of the refill is believed to be ours.
_OWN_SHARE = 0.1


class TokenBucket(Window):
    """Refills continuously at capacity / period; a burst is the capacity.

    The level is reflected at zero: what refills an already full bucket is
    lost. So a charge that is taken back later may have been refilled in part;
    `_lows` keeps the low points of the level since the open charges, which
    is exactly what says how much of each is still there.

    What others are seen to take is taken off the refill beforehand, and
    counted as corrected by that. A call that is refused all the same widens a
    margin beside the slack: it is left over, not lost.
    """

    __slots__ = ("_jitter_s", "_lows", "_margin", "_net_rate", "_seq", "_spare", "rate")
    algorithm = Algorithm.TOKEN_BUCKET

    def __init__(
        self, dimension: Dimension, capacity: float, period_s: float, now: float, **kw: Any
    ) -> None:
        super().__init__(dimension, capacity, period_s, now, **kw)
        self._seq = 0
        self._lows: list[tuple[int, float]] = []
        self._margin = 0.0
        self._jitter_s = JITTER_S
        self._pace_at(self.capacity / period_s)

    def room(self, now: float) -> float:
        elapsed = now - self.at
        if elapsed > 0.0:
            used = self.used - elapsed * self._net_rate
            self.used = used if used > 0.0 else 0.0
            self.at = now
            if self.drift_per_s:
                self.corrected += elapsed * (self.rate - self._net_rate)
        return self.capacity - self.used

    def lacks(self, amount: float, now: float) -> bool:
        if now > self.at:
            self.room(now)
        room = self.capacity - self.used + EPSILON
        return amount + self._spare > room and amount + self.slack(amount) > room

    def take(self, amount: float, now: float) -> int:
        if now > self.at:
            self.room(now)
        used, lows = self.used, self._lows
        while lows and lows[-1][1] >= used:
            lows.pop()
        self._seq = seq = self._seq + 1
        lows.append((seq, used))
        if len(lows) > _LOWS_KEPT:
            self._merge_lows()
        self.used = used + amount
        self.charged += amount
        if now - self._paced_at >= SAMPLE_S:
            self._sample(now)
        return seq

    def give_back(self, amount: float, mark: int, now: float) -> None:
        if now > self.at:
            self.room(now)
        used, lows = self.used, self._lows
        first_since = bisect_right(lows, (mark, math.inf))
        left = min(used, lows[first_since][1]) if first_since < len(lows) else used
        if amount > left:
            amount = left
        self.used = used - amount
        self.returned += amount
        self._note_low()

    def fits_at(self, amount: float, now: float) -> float:
        if amount > self.capacity + EPSILON:
            return math.inf
        short = amount + self.slack(amount) - self.room(now)
        return now if short <= EPSILON else now + short / self._net_rate

    def units_by(self, at: float, now: float) -> float:
        return self.room(now) + max(0.0, at - now) * self._net_rate

    def slack(self, amount: float) -> float:
        """Return what is to be left over beside *amount*, so that jitter refuses nothing."""
        return min(self._spare, max(0.0, self.capacity - amount))

    def strain(self, now: float) -> float:
        used = self.used
        if now > self.at:
            used -= (now - self.at) * self._net_rate
        return used / self.capacity if used > 0.0 else 0.0

    def resets_in(self, now: float) -> float | None:
        self.room(now)
        return self.used / self.rate if self.rate else None

    def refills_per_s(self) -> float:
        return self.rate

    @property
    def spare(self) -> tuple[float, float]:
        """What is left over at least: seconds of refill, and a margin in units."""
        return self._jitter_s, self._margin

    def keep_no_slack(self) -> None:
        self._jitter_s = 0.0
        self._set_margin(self._margin)

    def widen_margin(self) -> None:
        margin = max(_FIRST_MARGIN, 2.0 * self._margin)
        self._set_margin(min(_LARGEST_MARGIN * self.capacity, margin))

    def observe(
        self, used_low: float, used_high: float, *, since: float, age_s: float, now: float
    ) -> float:
        if self._margin and self.observed_at is not None:
            forgotten_s = max(0.0, now - self.observed_at)
            self._set_margin(self._margin * math.exp(-forgotten_s / _MARGIN_MEMORY_S))
        return super().observe(used_low, used_high, since=since, age_s=age_s, now=now)

    def resize(self, capacity: float, provenance: Provenance) -> None:
        super().resize(capacity, provenance)
        self._pace_at(self.capacity / self.period_s)

    def repace(self, period_s: float) -> None:
        """Correct the length of the period; the capacity stays."""
        self.period_s = period_s
        self._pace_at(self.capacity / period_s)
        self._rename()

    def _pace_at(self, rate: float) -> None:
        self.rate = rate
        self._set_drift(self.drift_per_s)
        self._set_margin(self._margin)

    def _set_margin(self, units: float) -> None:
        self._margin = units
        self._spare = self.rate * self._jitter_s + units

    def set_drift(self, drift_per_s: float) -> None:
        """Believe that others take so much a second from it, as was found out elsewhere."""
        if drift_per_s != self.drift_per_s:
            self._set_drift(drift_per_s)

    def _set_drift(self, drift_per_s: float) -> None:
        self.drift_per_s = drift_per_s
        self._net_rate = max(self.rate - drift_per_s, _OWN_SHARE * self.rate)

    def _move_to(self, used: float, now: float) -> None:
        del now
        self.used = used
        if self._lows and used < self._lows[-1][1]:
            self._note_low()

    def _note_low(self) -> None:
        self._seq += 1
        lows, level = self._lows, self.used
        while lows and lows[-1][1] >= level:
            lows.pop()
        lows.append((self._seq, level))
        if len(lows) > _LOWS_KEPT:
            self._merge_lows()

    def _merge_lows(self) -> None:
        """Merge the two oldest into the safer one: the lower level, the later place."""
        lows = self._lows
        lows[1] = (lows[1][0], lows[0][1])
        del lows[0]
