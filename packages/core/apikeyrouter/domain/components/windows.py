"""Windows: one limit of one scope, as arithmetic over a given now.

Four algorithms share five verbs: `room`, `take`, `give_back`, `fits_at` and
`observe`. Nothing here reads a clock. A window is refilled when it is read.

`take` returns a mark that `give_back` wants again: how much of a charge may be
returned depends on what has been refilled since it was made. `observe` holds
the window against a provider's report, and moves it only when the report
cannot be explained by what we ourselves sent and have in flight.
"""

# ruff: noqa: D102 - the verbs are documented once, on `Window`
import math
from collections import deque
from typing import Any

from apikeyrouter.domain.models.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    MONTH_S,
    Algorithm,
    Dimension,
    Provenance,
)

#: A window's place in a vector of amounts.
INDEX_OF: dict[Dimension, int] = {dimension: i for i, dimension in enumerate(Dimension)}
DIMENSIONS = tuple(Dimension)
#: Slack for sums of floats; far below one unit.
EPSILON = 1e-6
_DRIFT_MEMORY_S = 15.0
#: Calls overtake each other on their way: two that we space exactly may reach the
#: provider this much closer. A bucket keeps what refills in that time as slack.
JITTER_S = 0.1
_LOWS_KEPT = 64
_SAMPLE_S = 1.0
_PACE_MEMORY_S = 30.0
_PERIOD_NAMES = {1.0: "second", MINUTE_S: "minute", HOUR_S: "hour", DAY_S: "day", MONTH_S: "month"}


class Window:
    """One limit. Subclasses give it an algorithm.

    Attributes:
        capacity: Units per period (or at once, for concurrency).
        period_s: Seconds; 0 for concurrency.
        used: Units taken and not yet refilled, valid at `at`.
        name: What it counts and over how long: `tokens per minute`.
        charged: All units ever taken; tells how much went out since a mark.
        unconfirmed: Units sent whose answer has not been seen yet.
        drift_per_s: Units a second that somebody else takes, decaying average.
        observed_at: When the provider last spoke of it; `None` never.
    """

    __slots__ = (
        "_pace",
        "_paced",
        "_paced_at",
        "_spread",
        "_watched_from",
        "at",
        "capacity",
        "charged",
        "confidence",
        "declared",
        "dimension",
        "drift_per_s",
        "drifted",
        "index",
        "name",
        "observed_at",
        "period_s",
        "pool",
        "provenance",
        "unconfirmed",
        "used",
    )
    algorithm: Algorithm

    def __init__(
        self,
        dimension: Dimension,
        capacity: float,
        period_s: float,
        now: float,
        *,
        provenance: Provenance = Provenance.DECLARED,
        pool: str = "",
    ) -> None:
        self.dimension = dimension
        self.index = INDEX_OF[dimension]
        self.capacity = float(capacity)
        self.period_s = period_s
        self.at = now
        self.used = 0.0
        self.charged = 0.0
        self.unconfirmed = 0.0
        self.provenance = provenance
        self.declared: float | None = float(capacity) if provenance is Provenance.DECLARED else None
        self.confidence = 1.0 if provenance is not Provenance.INFERRED else 0.3
        self.observed_at: float | None = None
        self.drift_per_s = 0.0
        self.drifted = 0.0
        self.pool = pool
        self._rename()
        self._watched_from = self._paced_at = now
        self._paced = self._pace = self._spread = 0.0

    def _rename(self) -> None:
        """Say what it counts and over how long: `tokens per minute`."""
        if self.algorithm is Algorithm.CONCURRENT:
            self.name = "calls at once"
            return
        period = _PERIOD_NAMES.get(self.period_s, f"{self.period_s:g} s")
        self.name = f"{self.pool} {self.dimension.value} per {period}".lstrip()

    def room(self, now: float) -> float:
        """Return the units that fit now, refilling first."""
        raise NotImplementedError

    def take(self, amount: float, now: float) -> Any:
        """Charge *amount* whether or not it fits; return the mark of this charge."""
        raise NotImplementedError

    def give_back(self, amount: float, mark: Any, now: float) -> None:
        """Return up to *amount* of the charge that got *mark*, never what has refilled since."""
        raise NotImplementedError

    def fits_at(self, amount: float, now: float) -> float:
        """Return the instant at which *amount* fits if nobody else takes; `inf` if never."""
        raise NotImplementedError

    def resets_in(self, now: float) -> float | None:
        """Return seconds until it is as new; `None` when that is not a matter of time."""
        raise NotImplementedError

    def slack(self, amount: float) -> float:
        """Return what is to be left over beside *amount*, so that jitter refuses nothing."""
        del amount
        return 0.0

    def pressure(self, now: float) -> float:
        """Return the share that is used, 0 to 1 (or more after an over-draft)."""
        return 1.0 - self.room(now) / self.capacity if self.capacity > 0 else 1.0

    def strain(self, now: float) -> float:
        """Return the used share as a choice should weigh it."""
        return self.pressure(now)

    def pace(self, now: float) -> tuple[float, float]:
        """Return units used a second, decaying average, and its spread as a share of it."""
        self._sample(now)
        return self._pace, min(1.0, self._spread / self._pace) if self._pace > 0 else 0.0

    def watched_s(self, now: float) -> float:
        """Return seconds since the pace is being watched."""
        return now - self._watched_from

    def _sample(self, now: float) -> None:
        elapsed = now - self._paced_at
        if elapsed < _SAMPLE_S:
            return
        now_pace = (self.charged + self.drifted - self._paced) / elapsed
        weight = 1.0 - math.exp(-elapsed / _PACE_MEMORY_S)
        if self._paced_at == self._watched_from:
            weight = 1.0
        self._spread += weight * (abs(now_pace - self._pace) - self._spread)
        self._pace += weight * (now_pace - self._pace)
        self._paced_at, self._paced = now, self.charged + self.drifted

    def observe(
        self, used_low: float, used_high: float, *, since: float, age_s: float, now: float
    ) -> float:
        """Hold the window against a report of what was used.

        Args:
            used_low: The least that the report can mean (figures are rounded).
            used_high: The most.
            since: Units we charged after the reported request was sent.
            age_s: Seconds since that request was sent: the report's age at most.
            now: Epoch seconds.

        Returns:
            The correction made: positive when somebody else had taken units,
            negative when less was used than we believed, 0 when it agrees.
        """
        self.room(now)
        refilled = self._refilled(age_s)
        low = max(0.0, used_low + since - refilled)
        high = max(low, used_high + max(0.0, since - refilled, self.unconfirmed))
        before, first = self.used, self.observed_at is None
        if first and self.provenance is not Provenance.DECLARED:
            self._move_to(max(high, 0.0), now)
            self.observed_at = now
            return 0.0
        if before < low:
            self._move_to(low, now)
        elif before > high:
            self._move_to(high, now)
        correction = self.used - before
        self._note_drift(correction, now)
        self.observed_at = now
        return correction

    def resize(self, capacity: float, provenance: Provenance) -> None:
        """Change the capacity; what is used stays used."""
        self.capacity = float(capacity)
        self.provenance = provenance
        self.confidence = 1.0

    def _refilled(self, seconds: float) -> float:
        """Return what trickled back in *seconds*; 0 unless refill is continuous."""
        del seconds
        return 0.0

    def _move_to(self, used: float, now: float) -> None:
        del now
        self.used = used

    def _note_drift(self, correction: float, now: float) -> None:
        """Fold a correction into the decaying rate at which others take from this window."""
        if correction > 0:
            self.drifted += correction
        if self.observed_at is None or self.period_s <= 0:
            return
        share = (now - self.observed_at) / _DRIFT_MEMORY_S
        if share <= 0:
            self.drift_per_s += max(0.0, correction) / _DRIFT_MEMORY_S
            return
        keep = math.exp(-share)
        drift = self.drift_per_s + correction / _DRIFT_MEMORY_S
        if correction == 0 and self.drift_per_s < self.capacity * 1e-5:
            drift = 0.0
        self.drift_per_s = max(0.0, drift if correction else drift * keep)


class TokenBucket(Window):
    """Refills continuously at capacity / period; a burst is the capacity.

    The level is reflected at zero: what refills an already full bucket is
    lost. So a charge that is taken back later may have been refilled in part;
    `_lows` keeps the low points of the level since the open charges, which
    is exactly what says how much of each is still there.
    """

    __slots__ = ("_lows", "_seq", "rate")
    algorithm = Algorithm.TOKEN_BUCKET

    def __init__(
        self, dimension: Dimension, capacity: float, period_s: float, now: float, **kw: Any
    ) -> None:
        super().__init__(dimension, capacity, period_s, now, **kw)
        self.rate = self.capacity / period_s
        self._seq = 0
        self._lows: list[tuple[int, float]] = []

    def room(self, now: float) -> float:
        elapsed = now - self.at
        if elapsed > 0.0:
            rate = self.rate
            if self.drift_per_s:
                rate = max(rate - self.drift_per_s, 0.1 * rate)
            used = self.used - elapsed * rate
            self.used = used if used > 0.0 else 0.0
            self.at = now
        return self.capacity - self.used

    def take(self, amount: float, now: float) -> int:
        self.room(now)
        self._note_low()
        self.used += amount
        self.charged += amount
        if now - self._paced_at >= _SAMPLE_S:
            self._sample(now)
        return self._seq

    def give_back(self, amount: float, mark: int, now: float) -> None:
        self.room(now)
        left = self.used
        for seq, level in self._lows:
            if seq > mark:
                left = min(left, level)
                break
        self.used -= min(amount, left)
        self._note_low()

    def fits_at(self, amount: float, now: float) -> float:
        if amount > self.capacity + EPSILON:
            return math.inf
        short = amount + self.slack(amount) - self.room(now)
        if short <= EPSILON:
            return now
        rate = self.rate
        if self.drift_per_s:
            rate = max(rate - self.drift_per_s, 0.1 * rate)
        return now + short / rate

    def slack(self, amount: float) -> float:
        return min(self.rate * JITTER_S, max(0.0, self.capacity - amount))

    def resets_in(self, now: float) -> float | None:
        self.room(now)
        return self.used / self.rate if self.rate else None

    def resize(self, capacity: float, provenance: Provenance) -> None:
        super().resize(capacity, provenance)
        self.rate = self.capacity / self.period_s

    def repace(self, period_s: float) -> None:
        """Correct the length of the period; the capacity stays."""
        self.period_s = period_s
        self.rate = self.capacity / period_s
        self._rename()

    def _refilled(self, seconds: float) -> float:
        return self.rate * seconds

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
            # Merge the two oldest into the safer one: the lower level, the later place.
            lows[1] = (lows[1][0], lows[0][1])
            del lows[0]


class FixedWindow(Window):
    """Empties at its reset instant and every period after it."""

    __slots__ = ("epoch", "reset_at")
    algorithm = Algorithm.FIXED

    def __init__(
        self, dimension: Dimension, capacity: float, period_s: float, now: float,
        *, reset_at: float | None = None, **kw: Any,
    ) -> None:  # fmt: skip
        super().__init__(dimension, capacity, period_s, now, **kw)
        #: Without a told instant the first period starts with the first charge.
        self.reset_at = reset_at if reset_at is not None else math.inf
        self.epoch = 0

    def room(self, now: float) -> float:
        if now >= self.reset_at:
            missed = math.floor((now - self.reset_at) / self.period_s)
            self.reset_at += (missed + 1) * self.period_s
            self.used = 0.0
            self.epoch += 1
        return self.capacity - self.used

    def take(self, amount: float, now: float) -> int:
        self.room(now)
        if self.reset_at == math.inf:
            self.reset_at = now + self.period_s
        self.used += amount
        self.charged += amount
        if now - self._paced_at >= _SAMPLE_S:
            self._sample(now)
        return self.epoch

    def give_back(self, amount: float, mark: int, now: float) -> None:
        self.room(now)
        if mark == self.epoch:
            self.used = max(0.0, self.used - amount)

    def fits_at(self, amount: float, now: float) -> float:
        if amount > self.capacity + EPSILON:
            return math.inf
        return now if amount <= self.room(now) + EPSILON else self.reset_at

    def resets_in(self, now: float) -> float | None:
        self.room(now)
        return None if self.reset_at == math.inf else self.reset_at - now

    def strain(self, now: float) -> float:
        used = self.pressure(now)
        if used >= 1.0 or self.reset_at == math.inf:
            return used
        return used * min(1.0, (self.reset_at - now) / self.period_s)

    def align(self, reset_at: float, now: float) -> None:
        """Take the provider's word for the reset instant; a later one begins a new period."""
        self.room(now)
        if self.reset_at != math.inf and reset_at > self.reset_at + 0.5 * self.period_s:
            self.used = 0.0
            self.epoch += 1
        self.reset_at = reset_at


class RollingWindow(Window):
    """Counts what was charged in the period just past, charge by charge."""

    __slots__ = ("_entries",)
    algorithm = Algorithm.ROLLING

    def __init__(
        self, dimension: Dimension, capacity: float, period_s: float, now: float, **kw: Any
    ) -> None:
        super().__init__(dimension, capacity, period_s, now, **kw)
        self._entries: deque[list[float]] = deque()

    def room(self, now: float) -> float:
        entries, period_s = self._entries, self.period_s
        while entries and entries[0][0] + period_s <= now:
            self.used -= entries.popleft()[1]
        if not entries:
            self.used = 0.0
        return self.capacity - self.used

    def take(self, amount: float, now: float) -> list[float]:
        entry = [now, amount]
        self._entries.append(entry)
        self.used += amount
        self.charged += amount
        if now - self._paced_at >= _SAMPLE_S:
            self._sample(now)
        return entry

    def give_back(self, amount: float, mark: list[float], now: float) -> None:
        if mark[0] + self.period_s > now:
            amount = min(amount, mark[1])
            mark[1] -= amount
            self.used -= amount
        self.room(now)

    def fits_at(self, amount: float, now: float) -> float:
        if amount > self.capacity + EPSILON:
            return math.inf
        short = amount - self.room(now)
        if short <= EPSILON:
            return now
        for at, taken in self._entries:
            short -= taken
            if short <= EPSILON:
                return at + self.period_s
        return now + self.period_s

    def resets_in(self, now: float) -> float | None:
        self.room(now)
        return self._entries[-1][0] + self.period_s - now if self._entries else 0.0

    def _move_to(self, used: float, now: float) -> None:
        if used > self.used:
            self._entries.append([now, used - self.used])
        else:
            surplus = self.used - used
            for entry in self._entries:
                part = min(surplus, entry[1])
                entry[1] -= part
                surplus -= part
        self.used = used


class Concurrent(Window):
    """Counts what is in flight; room comes back when a call ends."""

    __slots__ = ()
    algorithm = Algorithm.CONCURRENT

    def room(self, now: float) -> float:
        del now
        return self.capacity - self.used

    def take(self, amount: float, now: float) -> None:
        del now
        self.used += amount

    def give_back(self, amount: float, mark: None, now: float) -> None:
        del mark, now
        self.used = max(0.0, self.used - amount)

    def fits_at(self, amount: float, now: float) -> float:
        return now if amount <= self.capacity - self.used + EPSILON else math.inf

    def resets_in(self, now: float) -> float | None:
        del now
        return None


_CLASS_OF: dict[Algorithm, type[Window]] = {
    Algorithm.TOKEN_BUCKET: TokenBucket,
    Algorithm.FIXED: FixedWindow,
    Algorithm.ROLLING: RollingWindow,
    Algorithm.CONCURRENT: Concurrent,
}


def make_window(
    algorithm: Algorithm,
    dimension: Dimension,
    capacity: float,
    period_s: float,
    now: float,
    **kw: Any,
) -> Window:
    """Build a window that counts *dimension* by *algorithm*, empty at *now*."""
    return _CLASS_OF[algorithm](dimension, capacity, period_s, now, **kw)
