"""The window algorithms but the token bucket, and the table of all of them."""

# ruff: noqa: D102 - the verbs are documented once, on `Window`
import math
from collections import deque
from typing import Any

from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.ledger.window import CAUTIOUS, EPSILON, SAMPLE_S, Window
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import Algorithm, Dimension, Provenance

#: Charges that a rolling window keeps apart.
_ENTRIES_KEPT = 256


class FixedWindow(Window):
    """Empties at its reset instant and every period, day or month after it."""

    __slots__ = ("calendar", "epoch", "reset_at", "wall_ahead_s")
    algorithm = Algorithm.FIXED

    def __init__(
        self, dimension: Dimension, capacity: float, period_s: float, now: float,
        *, reset_at: float | None = None, calendar: Calendar | None = None,
        wall_ahead_s: float = 0.0, **kw: Any,
    ) -> None:  # fmt: skip
        super().__init__(dimension, capacity, period_s, now, **kw)
        self.calendar = calendar
        self.wall_ahead_s = wall_ahead_s
        if reset_at is None:
            # Without a told instant the first period starts with the first charge.
            reset_at = math.inf if calendar is None else self._turn_of(calendar, now)
        self.reset_at = reset_at
        self.epoch = 0

    def room(self, now: float) -> float:
        if now >= self.reset_at:
            self.used = 0.0
            self.epoch += 1
            if self.calendar is not None:
                self.reset_at = self._turn_of(self.calendar, now)
            else:
                missed = math.floor((now - self.reset_at) / self.period_s)
                self.reset_at += (missed + 1) * self.period_s
        return self.capacity - self.used

    def take(self, amount: float, now: float) -> int:
        self.room(now)
        if self.reset_at == math.inf:
            self.reset_at = now + self.period_s
        self.used += amount
        self.charged += amount
        if now - self._paced_at >= SAMPLE_S:
            self._sample(now)
        return self.epoch

    def give_back(self, amount: float, mark: int, now: float) -> None:
        self.room(now)
        if mark == self.epoch:
            amount = min(amount, self.used)
            self.used -= amount
            self.returned += amount

    def fits_at(self, amount: float, now: float) -> float:
        if amount > self.capacity + EPSILON:
            return math.inf
        return now if amount <= self.room(now) + EPSILON else self.reset_at

    def units_by(self, at: float, now: float) -> float:
        room = self.room(now)
        if at < self.reset_at:
            return room
        return room + self.capacity * (1.0 + math.floor((at - self.reset_at) / self.period_s))

    def resets_in(self, now: float) -> float | None:
        self.room(now)
        return None if self.reset_at == math.inf else self.reset_at - now

    def strain(self, now: float) -> float:
        """Return the used share, less as the reset comes near, more if it will be used up before.

        Quota that would expire should be spent; quota that would run out early is
        saved, the more so the steadier the pace.
        """
        used = self.pressure(now)
        if used >= 1.0 or self.reset_at == math.inf:
            return used
        left_s = self.reset_at - now
        strain = used * min(1.0, left_s / self.period_s)
        pace = self._pace
        if pace > 0.0:
            dry_in_s = (self.capacity - self.used) / pace
            if dry_in_s < left_s:
                surely = 1.0 - min(1.0, self._spread / pace)
                strain += (1.0 - strain) * (1.0 - dry_in_s / left_s) * surely
        return strain

    def align(self, reset_at: float, now: float) -> None:
        """Adopt the provider's reset instant; a later one begins a new period."""
        self.room(now)
        if self.reset_at != math.inf and reset_at > self.reset_at + 0.5 * self.period_s:
            self.used = 0.0
            self.epoch += 1
        self.reset_at = reset_at

    def follow_wall(self, ahead_s: float, now: float) -> None:
        """End with the calendar of a wall clock that now reads *ahead_s* beyond ours."""
        self.room(now)
        moved_s, self.wall_ahead_s = ahead_s - self.wall_ahead_s, ahead_s
        if self.calendar is not None:
            # An end that the step went past is over now; else the next one counts.
            passed_at = self.reset_at - moved_s
            self.reset_at = passed_at if passed_at <= now else self._turn_of(self.calendar, now)

    def _turn_of(self, calendar: Calendar, now: float) -> float:
        return calendar.next_after(now + self.wall_ahead_s) - self.wall_ahead_s


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
        entries = self._entries
        if len(entries) >= _ENTRIES_KEPT and now - entries[-1][0] < self.period_s / _ENTRIES_KEPT:
            # Of many charges those of about one instant are kept as one, of the later one.
            entry = entries[-1]
            entry[0] = now
            entry[1] += amount
        else:
            entry = [now, amount]
            entries.append(entry)
        self.used += amount
        self.charged += amount
        if now - self._paced_at >= SAMPLE_S:
            self._sample(now)
        return entry

    def give_back(self, amount: float, mark: list[float], now: float) -> None:
        if mark[0] + self.period_s > now:
            amount = min(amount, mark[1])
            mark[1] -= amount
            self.used -= amount
            self.returned += amount
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

    def units_by(self, at: float, now: float) -> float:
        room = self.room(now)
        back = sum(taken for began, taken in self._entries if began + self.period_s <= at)
        later = max(0.0, math.floor((at - now) / self.period_s) - 1.0)
        return room + back + later * self.capacity

    def resets_in(self, now: float) -> float | None:
        self.room(now)
        return self._entries[-1][0] + self.period_s - now if self._entries else 0.0

    def charges(self) -> list[list[float]]:
        """Return copies of what was charged and has not passed, oldest first: when, how much."""
        return [[at, amount] for at, amount in self._entries]

    def copy(self, capacity: float, period_s: float, now: float, label: str) -> "RollingWindow":
        """Return a guessed limit of *capacity* that has counted what this one has."""
        self.room(now)
        copied = RollingWindow(
            self.dimension, capacity, period_s, now, provenance=Provenance.INFERRED, label=label
        )
        copied._entries = deque([at, amount] for at, amount in self._entries)
        copied.used = self.used
        return copied

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

    def units_by(self, at: float, now: float) -> float:
        del at, now
        return math.inf

    def resets_in(self, now: float) -> float | None:
        del now
        return None

    def strain(self, now: float) -> float:
        """Return the used share; 0 of our own caution, which is no limit that could run low."""
        return 0.0 if self.label == CAUTIOUS else self.pressure(now)


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
