"""One limit over one period, in the three ways in which providers count.

Law: a window is a function of the moments it is given. It never reads a clock, never waits, and a
moment before the last one it saw counts as that last one. Units are the caller's (requests or
tokens); periods and moments are seconds.

Beside the calls of its own keys a window may be drained by an *outside* user, at a steady rate or
at once. The outside user is refused like everybody else: it takes only what is there.

`possible` is what keys could have used at the very most: everything at the start and everything
that came since, each at once, less what the outside user took. `overdrawn` is what they used beyond
that, because a call may cost more in the end than it was charged when it was let in.
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import Final

EPSILON: Final = 1e-6


class Charge:
    """What one call was charged on one window, kept until the call is settled."""

    __slots__ = ("amount", "at")

    def __init__(self, amount: float, at: float) -> None:
        self.amount = amount
        self.at = at


class Window(ABC):
    """A limit over a period; call `advance` with the present moment before reading it."""

    __slots__ = (
        "_debt", "_forgiven", "_issued", "at", "limit", "outside", "outside_per_s", "period_s",
        "used",
    )  # fmt: skip

    def __init__(self, limit: float, period_s: float, start: float) -> None:
        self.limit = limit
        self.period_s = period_s
        self.at = start
        self.used = 0.0
        self.outside = 0.0
        self.outside_per_s = 0.0
        self._issued = limit
        # How much the greediest user would be overdrawn since the limit was lowered.
        self._debt = 0.0
        # What was overdrawn in periods that are over, and never paid back.
        self._forgiven = 0.0

    @abstractmethod
    def advance(self, now: float) -> None:
        """Refill, expire and drain up to *now*."""

    @abstractmethod
    def wait_s(self, amount: float) -> float:
        """Return the seconds until *amount* fits: 0 if it does now, `math.inf` if it never will."""

    @abstractmethod
    def reset_s(self) -> float:
        """Return the seconds until nothing is used any more, or until the window ends."""

    @abstractmethod
    def take(self, amount: float) -> Charge:
        """Use *amount* now, whether it fits or not."""

    @abstractmethod
    def settle(self, charge: Charge, actual: float) -> float:
        """Replace what *charge* took by *actual*; return the difference.

        Nothing happens if the time of the charge has passed.
        """

    def change(self, limit: float) -> None:
        """Set a new limit; what is used stays used."""
        if limit < self.limit:
            self._debt += self.limit - limit
        else:
            self._issue(limit - self.limit)
        self.limit = limit

    def begin_with(self, used: float) -> None:
        """Let *used* be taken already; for a fresh window only."""
        self.take(used)
        self._issued -= used

    def take_outside(self, amount: float) -> None:
        """Let the outside user take *amount* at once, or what is there of it."""
        taken = min(amount, self.remaining)
        self.outside += taken
        self.take(taken)

    def turns_at(self) -> float:
        """Return when it next gives much at once; `math.inf` if it gives steadily."""
        return math.inf

    @property
    def remaining(self) -> float:
        """What fits now, never below zero."""
        return max(0.0, self.limit - self.used)

    @property
    def possible(self) -> float:
        """How much the keys of the scope could have used since the start at the very most."""
        return max(0.0, self._issued - self.outside)

    @property
    def overdrawn(self) -> float:
        """How much more than `possible` the keys of the scope may have used."""
        return self._forgiven + self._excess()

    def _excess(self) -> float:
        """Return how much more is used now than may be."""
        return max(0.0, self.used - self.limit - self._debt)

    def _issue(self, amount: float) -> None:
        paid = min(self._debt, amount)
        self._debt -= paid
        self._issued += amount - paid

    def _never_fits(self, amount: float) -> bool:
        return amount > self.limit + EPSILON


class TokenBucket(Window):
    """Starts full and refills continuously; the burst is the whole limit."""

    __slots__ = ()

    def advance(self, now: float) -> None:
        """Refill (and drain) for the time since the last call."""
        elapsed = now - self.at
        if elapsed <= 0:
            return
        self.at = now
        refill = self.limit / self.period_s
        self._issue(refill * elapsed)
        if self.outside_per_s:
            self._drain(refill, elapsed)
        else:
            self.used = max(0.0, self.used - refill * elapsed)

    def _drain(self, refill: float, elapsed: float) -> None:
        """Refill while an outside user takes: exact, because both rates are constant."""
        overdrawn_s = (self.used - self.limit) / refill if refill and self.used > self.limit else 0
        if overdrawn_s >= elapsed:
            self.used -= refill * elapsed
            return
        self.used = min(self.used, self.limit)
        elapsed -= overdrawn_s
        net = self.outside_per_s - refill
        until_full_s = (self.limit - self.used) / net if net > 0 else math.inf
        free_s = min(elapsed, until_full_s)
        self.outside += self.outside_per_s * free_s + refill * (elapsed - free_s)
        self.used = min(self.limit, max(0.0, self.used + net * free_s))

    def wait_s(self, amount: float) -> float:
        """Return `(used + amount - limit) / (limit / period)`, at least 0."""
        missing = self.used + amount - self.limit
        if missing <= EPSILON:
            return 0.0
        if self._never_fits(amount) or self.limit <= 0:
            return math.inf
        return missing * self.period_s / self.limit

    def reset_s(self) -> float:
        """Return the seconds until the bucket is full again."""
        return self.used * self.period_s / self.limit if self.limit > 0 else 0.0

    def take(self, amount: float) -> Charge:
        """Use *amount*; a bucket may be overdrawn by a settlement, never by an admission."""
        self.used += amount
        return Charge(amount, self.at)

    def settle(self, charge: Charge, actual: float) -> float:
        """Give back or take the difference."""
        difference = actual - charge.amount
        self.used = max(0.0, self.used + difference)
        charge.amount = actual
        return difference


class FixedWindow(Window):
    """Counts from one reset instant to the next and forgets everything there."""

    __slots__ = ("begun",)

    def __init__(self, limit: float, period_s: float, start: float, anchor: float) -> None:
        """Begin at the last reset instant (*anchor* plus whole periods) at or before *start*."""
        super().__init__(limit, period_s, start)
        self.begun = anchor + math.floor((start - anchor) / period_s) * period_s

    def advance(self, now: float) -> None:
        """Start afresh if a reset instant has passed, and drain."""
        if now <= self.at:
            return
        since, self.at = self.at, now
        passed = math.floor((now - self.begun) / self.period_s)
        if passed <= 0:
            self._drain(now - since)
            return
        self._drain(self.begun + self.period_s - since)
        self.outside += (passed - 1) * min(self.limit, self.outside_per_s * self.period_s)
        self._forgiven += self._excess()
        self._issued += passed * self.limit
        self._debt = 0.0
        self.begun += passed * self.period_s
        self.used = 0.0
        self._drain(now - self.begun)

    def _drain(self, elapsed: float) -> None:
        taken = min(self.outside_per_s * elapsed, self.remaining)
        self.outside += taken
        self.used += taken

    def wait_s(self, amount: float) -> float:
        """Return the seconds until the next reset instant if *amount* does not fit."""
        if self.used + amount <= self.limit + EPSILON:
            return 0.0
        return math.inf if self._never_fits(amount) else self.reset_s()

    def reset_s(self) -> float:
        """Return the seconds until the next reset instant."""
        return self.turns_at() - self.at

    def turns_at(self) -> float:
        """Return the next reset instant."""
        return self.begun + self.period_s

    def take(self, amount: float) -> Charge:
        """Use *amount* of this window."""
        self.used += amount
        return Charge(amount, self.at)

    def settle(self, charge: Charge, actual: float) -> float:
        """Correct the count, unless the window of the charge is over."""
        if charge.at < self.begun:
            return 0.0
        difference = actual - charge.amount
        self.used = max(0.0, self.used + difference)
        charge.amount = actual
        return difference


class RollingWindow(Window):
    """Counts what was used within the last period, call by call."""

    __slots__ = ("_charges", "_peak", "_periods", "_start")

    def __init__(self, limit: float, period_s: float, start: float) -> None:
        super().__init__(limit, period_s, start)
        self._start = start
        self._periods = 0
        # The most that was overdrawn in the present period, counted from the start.
        self._peak = 0.0
        self._charges: deque[Charge] = deque()

    def advance(self, now: float) -> None:
        """Forget the charges that are a period old, and drain."""
        if now <= self.at:
            return
        elapsed, self.at = now - self.at, now
        while self._charges and self._charges[0].at + self.period_s <= now:
            self.used -= self._charges.popleft().amount
        if not self._charges:
            self.used = 0.0
        periods = math.floor((now - self._start) / self.period_s)
        if periods > self._periods:
            self._forgiven += self._peak
            self._issued += (periods - self._periods) * self.limit
            self._debt = 0.0
            self._peak = super()._excess()
            self._periods = periods
        if self.outside_per_s:
            self.take_outside(self.outside_per_s * min(elapsed, self.period_s))

    def wait_s(self, amount: float) -> float:
        """Return the seconds until enough of the oldest charges are a period old."""
        missing = self.used + amount - self.limit
        if missing <= EPSILON:
            return 0.0
        if self._never_fits(amount):
            return math.inf
        for charge in self._charges:
            missing -= charge.amount
            if missing <= EPSILON:
                return charge.at + self.period_s - self.at
        return math.inf

    def turns_at(self) -> float:
        """Return when the next whole period begins, counted from the start."""
        return self._start + (self._periods + 1) * self.period_s

    def reset_s(self) -> float:
        """Return the seconds until the newest charge is a period old."""
        return self._charges[-1].at + self.period_s - self.at if self._charges else 0.0

    def take(self, amount: float) -> Charge:
        """Use *amount* for one period from now."""
        charge = Charge(amount, self.at)
        self._charges.append(charge)
        self.used += amount
        self._peak = max(self._peak, super()._excess())
        return charge

    def settle(self, charge: Charge, actual: float) -> float:
        """Correct the charge in its place, unless it is a period old."""
        if charge.at + self.period_s <= self.at:
            return 0.0
        difference = actual - charge.amount
        self.used = max(0.0, self.used + difference)
        self._peak = max(self._peak, super()._excess())
        charge.amount = actual
        return difference

    def _excess(self) -> float:
        return self._peak
