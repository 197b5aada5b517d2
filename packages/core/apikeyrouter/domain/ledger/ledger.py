"""The quota ledger: reserve on every window or on none, then settle or cancel, once.

A `Scope` owns windows; several keys may point to it. A `Reservation` is the
hold of one attempt over all windows it touches. Amounts travel as a vector
with one place a dimension (`windows.INDEX_OF`). Plain arithmetic over a
given now: no clock, no lock, no waiting.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from apikeyrouter.domain.ledger.window import DIMENSIONS, EPSILON, INDEX_OF, Window
from apikeyrouter.domain.models.observation import Dimension

Amounts = Sequence[float]
_MOMENT_S = 1e-6
_CONCURRENCY = INDEX_OF[Dimension.CONCURRENCY]
_REQUESTS = INDEX_OF[Dimension.REQUESTS]


def amounts_of(**units: float) -> list[float]:
    """Build a vector from dimension names (`requests=1, input_tokens=5`)."""
    named = {name.replace("_", " "): value for name, value in units.items()}
    return [float(named.get(dimension.value, 0.0)) for dimension in DIMENSIONS]


class Shortfall(msgspec.Struct, frozen=True):
    """Why something could not be set aside.

    Attributes:
        what: The dimension, or the reason of a cooling.
        asked: Units asked, 0 for a cooling.
        left: Units left.
        fits_at: Epoch seconds at which it will fit; `inf` when time alone does not help.
        provenance: Who told the limit.
        told_at: When the provider last spoke of it; `None` never.
        for_calls: It waits for a call to end, which no clock foretells.
        may_come_back: A call that ends may give back some of it, such as tokens it did not use.
        cause: The failure class behind it, if it was one.
        index: The dimension's place in a vector of amounts; -1 for a cooling.
    """

    what: str
    asked: float
    left: float
    fits_at: float
    provenance: str = ""
    told_at: float | None = None
    capacity: float = 0.0
    period_s: float = 0.0
    for_calls: bool = False
    may_come_back: bool = False
    cause: str = ""
    index: int = -1

    def holds_for(self, amounts: Amounts, now: float) -> bool:
        """Tell whether *amounts* lack the same at *now*, without looking again."""
        if self.fits_at <= now:
            return False
        return self.index < 0 or amounts[self.index] == self.asked


@dataclass(slots=True, eq=False)
class Scope:
    """Who owns limits: provider, account and model group. Keys point to it.

    Attributes:
        account: The owner's name: configured, told by the provider, or the key's id.
        group: Model name when limits are per model, `*` when all models share.
        windows: What bounds it; order is the order of checking.
        wake_at: Told or inferred wait: no call before it.
        why: What it waits for, in words.
        streak: Refusals in a row without a success between.
        is_searched: Some of its windows are guesses that every answer may change.
        is_watched: It is compared with others that may draw on the same account.
        cause: The failure class that it waits for; empty when it does not.
        confidence: How sure it is that its keys share it; 1 when configured or told.
        sleepers: Places in orders where it is put aside; while there are some, `on_room` is called.
        on_room: Called when room came back early or a wait ended.
    """

    id: str
    provider_id: str
    account: str
    group: str = "*"
    windows: list[Window] = field(default_factory=list)
    wake_at: float = 0.0
    why: str = ""
    cause: str = ""
    streak: int = 0
    served: int = 0
    served_tokens: int = 0
    refused: int = 0
    refused_at: float = 0.0
    in_flight: int = 0
    observed_at: float | None = None
    basis: str = "own"
    confidence: float = 1.0
    is_searched: bool = False
    is_watched: bool = False
    sleepers: int = 0
    #: The strain at one instant is asked for several times; what moves windows resets it.
    strained_at: float = -1.0
    last_strain: float = 0.0
    open: set["Reservation"] = field(default_factory=set, repr=False)
    on_room: Callable[["Scope"], None] | None = field(default=None, repr=False)
    #: How each model fares here; kept by the candidates.
    health_by_model: dict[str, Any] = field(default_factory=dict, repr=False)
    #: Where its keys take turns, by pool; filed by the candidate index.
    candidates: dict[Any, list[Any]] = field(default_factory=dict, repr=False)

    def window(
        self, dimension: Dimension, period_s: float | None = None, label: str = ""
    ) -> Window | None:
        """Find the window of *dimension*, the one of *period_s* if given."""
        for window in self.windows:
            if window.dimension is dimension and window.label == label and (
                period_s is None or window.period_s == period_s
            ):  # fmt: skip
                return window
        return None

    def strain(self, now: float) -> float:
        """Return the used share of its tightest window; 0 while no limit is known.

        Of a window that empties at an instant counts what of its period is
        still to come: what would expire soon is there to be spent.
        """
        if now == self.strained_at:
            return self.last_strain
        tightest = 0.0
        for window in self.windows:
            share = window.strain(now)
            if share > tightest:
                tightest = share
        self.strained_at, self.last_strain = now, tightest
        return tightest

    def calls_by(self, at: float, amounts: Amounts, now: float) -> float:
        """Return how many calls of *amounts* can begin from now until *at* if nobody else calls.

        A call that ends may free more than that: its places, and what it did not use.
        """
        if self.wake_at >= at:
            return 0.0
        fewest = math.inf
        for window in self.windows:
            amount = amounts[window.index]
            if amount > 0.0:
                fewest = min(fewest, max(0.0, window.units_by(at, now)) // amount)
        return fewest

    def held(self, window: Window) -> float:
        """Return what open holds have set aside on *window*; walks the holds, for people."""
        return sum(
            line.amount for hold in self.open for line in hold.lines if line.window is window
        )

    def take_over(self, old: "Scope") -> None:
        """Let the open holds of *old* end here: the room that they return is wanted here."""
        for hold in old.open:
            hold.scope = self
        self.open |= old.open
        self.in_flight += old.in_flight
        old.open, old.in_flight = set(), 0

    def notify_capacity(self) -> None:
        """Tell whoever listens that something may fit sooner than was thought."""
        if self.sleepers and self.on_room is not None:
            self.on_room(self)


class Line(msgspec.Struct, eq=False):
    """One window's part of a reservation."""

    window: Window
    amount: float
    mark: Any
    charged_after: float


class Reservation:
    """Amounts set aside on all windows of one attempt. Ends exactly once."""

    __slots__ = ("amounts", "confirmed", "ended", "lines", "scope", "taken_at")

    def __init__(self, scope: Scope, amounts: Amounts, taken_at: float) -> None:
        self.scope = scope
        self.amounts = amounts
        self.taken_at = taken_at
        self.lines: list[Line] = []
        self.confirmed = False
        self.ended = False

    def line_of(self, window: Window) -> Line | None:
        """Find this reservation's line on *window*."""
        for line in self.lines:
            if line.window is window:
                return line
        return None

    def confirm(self) -> None:
        """Note that the provider has seen this request: its report includes it."""
        if not self.confirmed:
            self.confirmed = True
            for line in self.lines:
                line.window.unconfirmed -= line.amount


class Ledger:
    """Reserve, settle, cancel: the only verbs that move windows for traffic."""

    __slots__ = ("open_count",)

    def __init__(self) -> None:
        self.open_count = 0

    def shortfall(self, scope: Scope, amounts: Amounts, now: float) -> Shortfall | None:
        """Return the first reason why *amounts* does not fit now, or `None`.

        Of nothing, an empty vector, only a told wait is a reason.
        """
        if scope.wake_at > now:
            return _waits(scope)
        for window in scope.windows if amounts else ():
            asked = amounts[window.index]
            if asked > 0.0 and window.lacks(asked, now):
                return _lack_of(window, asked, now)
        return None

    def reserve(self, scope: Scope, amounts: Amounts, now: float) -> Reservation | Shortfall:
        """Set aside *amounts* on all of the scope's windows, or on none.

        Args:
            scope: Whose windows, and whose told waits, apply.
            amounts: Vector by dimension; zero places are not touched.
            now: Epoch seconds. Windows are refilled first.

        Returns:
            The open hold, or the first thing without room and the instant it
            will have some (`inf` when the amount exceeds the limit).
        """
        if scope.wake_at > now:
            return _waits(scope)
        windows = scope.windows
        for window in windows:
            amount = amounts[window.index]
            if amount > 0.0 and window.lacks(amount, now):
                return _lack_of(window, amount, now)
        hold = Reservation(scope, amounts, now)
        lines = hold.lines
        for window in windows:
            amount = amounts[window.index]
            if amount > 0.0:
                mark = window.take(amount, now)
                window.unconfirmed += amount
                lines.append(Line(window, amount, mark, window.charged))
        scope.open.add(hold)
        scope.in_flight += 1
        scope.strained_at = -1.0
        self.open_count += 1
        return hold

    def settle(self, hold: Reservation, actual: Amounts, now: float) -> None:
        """End *hold*: correct every window from the estimate to what was used.

        Concurrency always returns whole. ShutdownState twice is an error of ours.
        """
        self._end(hold)
        came_back = False
        for line in hold.lines:
            window = line.window
            if window.index == _CONCURRENCY:
                window.give_back(line.amount, line.mark, now)
                came_back = True
                continue
            surplus = line.amount - actual[window.index]
            if surplus > 0.0:
                window.give_back(surplus, line.mark, now)
                came_back = True
            elif surplus < 0.0:
                window.take(-surplus, now)
        if came_back:
            hold.scope.notify_capacity()

    def cancel(self, hold: Reservation, now: float, *, counted: bool = False) -> None:
        """End *hold* and return everything; with *counted* the request itself stays charged."""
        actual = [0.0] * len(DIMENSIONS)
        if counted:
            actual[_REQUESTS] = hold.amounts[_REQUESTS]
        self.settle(hold, actual, now)

    def adopt(self, window: Window, scope: Scope, now: float, seen: Reservation | None) -> None:
        """Put a newly learned *window* under all open holds of *scope*.

        *seen* is the hold whose answer taught us: the report includes its charge already.
        """
        scope.windows.append(window)
        for hold in scope.open:
            amount = hold.amounts[window.index]
            if amount <= 0.0:
                continue
            # The report that taught us the window includes the charge of the hold it came with.
            mark = window.take(0.0 if hold is seen else amount, now)
            if not hold.confirmed:
                window.unconfirmed += amount
            hold.lines.append(Line(window, amount, mark, window.charged))

    def replace(self, old: Window, new: Window, scope: Scope, now: float) -> None:
        """Put *new* in the place of *old*, with what is used and held there."""
        new.take(old.used, now)
        new.charged, new.unconfirmed = old.charged, old.unconfirmed
        new.returned, new.corrected, new.disproved = old.returned, old.corrected, old.disproved
        new.observed_at, new.declared = old.observed_at, old.declared
        scope.windows[scope.windows.index(old)] = new
        for hold in scope.open:
            for line in hold.lines:
                if line.window is old:
                    line.window, line.mark = new, new.take(0.0, now)

    def _end(self, hold: Reservation) -> None:
        if hold.ended:
            raise RuntimeError("a reservation ends once; this one has ended already")
        hold.confirm()
        hold.ended = True
        hold.scope.open.discard(hold)
        hold.scope.in_flight -= 1
        hold.scope.strained_at = -1.0
        self.open_count -= 1


def _waits(scope: Scope) -> Shortfall:
    return Shortfall(scope.why or "told to wait", 0.0, 0.0, scope.wake_at, cause=scope.cause)


def _lack_of(window: Window, asked: float, now: float) -> Shortfall:
    # What does not fit now fits later, be it by less than a clock can tell.
    return Shortfall(
        what=window.name,
        asked=asked,
        left=window.room(now),
        fits_at=max(window.fits_at(asked, now), now + _MOMENT_S),
        provenance=window.provenance.value,
        told_at=window.observed_at,
        capacity=window.capacity,
        period_s=window.period_s,
        for_calls=window.index == _CONCURRENCY and asked <= window.capacity + EPSILON,
        index=window.index,
        may_come_back=window.index != _REQUESTS and asked <= window.capacity + EPSILON,
    )
