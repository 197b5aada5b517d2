"""The quota ledger: reserve over several accounts or over none, then settle or cancel, once.

A `LedgerAccount` owns windows: a provider's quota scope has one, a client with limits of its own
another. A `Reservation` holds what one attempt may use of each account it touches, all or nothing.
Amounts travel as a vector with one place a dimension (`INDEX_OF`). Plain arithmetic over a given
now: no clock, no lock, no waiting.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from apikeyrouter.domain.ledger.window import DIMENSIONS, EPSILON, INDEX_OF, Window
from apikeyrouter.domain.limits.observation import Dimension

Amounts = Sequence[float]
_MOMENT_S = 1e-6
_CONCURRENCY = INDEX_OF[Dimension.CONCURRENCY]
_REQUESTS = INDEX_OF[Dimension.REQUESTS]
#: A strain this old is as good as a new one, unless something was charged or given back.
STRAIN_FRESH_S = 0.02


def amounts_of(**units: float) -> list[float]:
    """Build a vector from dimension names (`requests=1, input_tokens=5`)."""
    named = {name.replace("_", " "): value for name, value in units.items()}
    return [float(named.get(dimension.value, 0.0)) for dimension in DIMENSIONS]


def amounts_of_call(
    input_tokens: float, output_tokens: float, *, calls: float = 0.0
) -> list[float]:
    """Build the vector of one request, with so many *calls* at once."""
    # Written out, in the order of `Dimension`: every request with accounts of its own needs it.
    tokens = float(input_tokens + output_tokens)
    return [1.0, tokens, float(input_tokens), float(output_tokens), calls, 0.0, 0.0, 0.0]


_taken_at = attrgetter("taken_at")
#: No amount of anything.
NOTHING: Amounts = (0.0,) * len(DIMENSIONS)


class Shortfall(msgspec.Struct, frozen=True, array_like=True):
    """Why something could not be set aside. It is kept in decision records: new fields come last.

    Attributes:
        what: The dimension, or the reason of a cooldown.
        asked: Units asked, 0 for a cooldown.
        left: Units left.
        fits_at: Epoch seconds at which it will fit; `inf` when time alone does not help.
        provenance: Who told the limit.
        told_at: When the provider last spoke of it; `None` never.
        for_calls: It waits for a call to end, which no clock can predict.
        may_come_back: A call that ends may give back some of it, such as tokens it did not use.
        cause: The failure class behind it, if it was one.
        index: The dimension's place in a vector of amounts; -1 for a cooldown.
        account_id: Whose account is short; empty for a cooldown.
        is_guess: Only our own caution is in the way.
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
    account_id: str = ""
    is_guess: bool = False

    def holds_for(self, amounts: Amounts, now: float) -> bool:
        """Tell whether *amounts* lack the same at *now*, without looking again."""
        if self.fits_at <= now:
            return False
        return self.index < 0 or amounts[self.index] == self.asked


class Charge(msgspec.Struct, eq=False):
    """What one hold took of one window.

    Attributes:
        mark: What the window wants to know again when some of it is given back.
        charged_after: All units that the window had charged once this was taken.
    """

    window: Window
    amount: float
    mark: Any
    charged_after: float


class Hold(msgspec.Struct, eq=False):
    """One account's part of a reservation."""

    account: "LedgerAccount"
    amounts: Amounts
    taken_at: float
    charges: list[Charge] = []
    is_confirmed: bool = False
    is_open: bool = True
    #: Told of its end: what a ledger that several processes share has of it.
    ticket: Any = None

    def charge_on(self, window: Window) -> Charge | None:
        """Find what this hold took of *window*."""
        for charge in self.charges:
            if charge.window is window:
                return charge
        return None

    def confirm(self) -> None:
        """Note that the provider has seen this request: its report includes it."""
        if not self.is_confirmed:
            self.is_confirmed = True
            for charge in self.charges:
                charge.window.unconfirmed -= charge.amount


class LedgerAccount:
    """Windows that bound one owner, and the holds that are open on them.

    Attributes:
        windows: In order of checking.
        in_flight: Open holds.
        observed_at: When a provider last spoke of any window; `None` never.
        on_capacity: Called when a call that ended gave something back.
        last_strain: The used share of its tightest window when it was last asked for.
        strained_at: When that was; `-inf` once something has moved.
        shared: What a ledger that several processes share has of it; `None` without one.
    """

    counts_attempts = False  # an attempt that another follows counts elsewhere alone
    __slots__ = (
        "id", "in_flight", "last_strain", "observed_at", "on_capacity", "open", "shared",
        "strained_at", "windows",
    )  # fmt: skip

    def __init__(self, account_id: str, windows: Sequence[Window] = ()) -> None:
        self.id = account_id
        self.windows: list[Window] = list(windows)
        self.open: set[Hold] = set()
        self.in_flight = 0
        self.observed_at: float | None = None
        self.on_capacity: Callable[[], None] | None = None
        self.shared: Any = None
        self.last_strain = 0.0
        self.strained_at = -math.inf

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

    def shortfall(
        self, amounts: Amounts, now: float, *, past_guesses: bool = False
    ) -> Shortfall | None:
        """Return the first window without room for *amounts*, or `None`.

        Args:
            past_guesses: Windows that are our own caution alone do not count.
        """
        for window in self.windows:
            asked = amounts[window.index]
            if asked > 0.0 and window.lacks(asked, now) and not (past_guesses and window.is_guess):
                return self._lack_of(window, asked, now)
        return None if self.shared is None else self.shared.shortfall(now)

    def take(self, amounts: Amounts, now: float) -> Hold:
        """Charge *amounts* whether or not they fit; the ledger has looked."""
        hold = Hold(self, amounts, now)
        for window in self.windows:
            amount = amounts[window.index]
            if amount > 0.0:
                mark = window.take(amount, now)
                window.unconfirmed += amount
                hold.charges.append(Charge(window, amount, mark, window.charged))
        self.open.add(hold)
        self.in_flight += 1
        self.strained_at = -math.inf
        return hold

    def end(self, hold: Hold, actual: Amounts, now: float) -> None:
        """End *hold* at what was used; concurrency always returns whole.

        Raises:
            RuntimeError: It has ended already.
        """
        if not hold.is_open:
            raise RuntimeError("a hold ends once; this one has ended already")
        hold.confirm()
        hold.is_open = False
        self.open.discard(hold)
        self.in_flight -= 1
        self.strained_at = -math.inf
        came_back = False
        for charge in hold.charges:
            window = charge.window
            is_call = window.index == _CONCURRENCY
            surplus = charge.amount - (0.0 if is_call else actual[window.index])
            if surplus > 0.0:
                window.give_back(surplus, charge.mark, now)
                came_back = True
            elif surplus < 0.0:
                window.take(-surplus, now)
        if hold.ticket is not None:
            hold.ticket.ended(actual)
        if came_back and self.on_capacity is not None:
            self.on_capacity()

    def strain(self, now: float) -> float:
        """Return the used share of its tightest window; 0 while no limit is known.

        Of a window that empties at an instant counts what of its period is
        still to come: quota that would expire soon should be spent.
        """
        if now - self.strained_at < STRAIN_FRESH_S:
            return self.last_strain
        tightest = 0.0
        for window in self.windows:
            share = window.strain(now)
            if share > tightest:
                tightest = share
        self.strained_at, self.last_strain = now, tightest
        return tightest

    def note_report(self, now: float) -> None:
        """Note that a provider's report moved its windows."""
        self.observed_at = now
        self.strained_at = -math.inf

    def calls_by(self, at: float, amounts: Amounts, now: float) -> float:
        """Return how many calls of *amounts* can begin from now until *at* if nobody else calls.

        A call that ends may free more than that: its places, and what it did not use.
        """
        fewest = math.inf
        for window in self.windows:
            amount = amounts[window.index]
            if amount > 0.0:
                fewest = min(fewest, max(0.0, window.units_by(at, now)) // amount)
        return fewest

    def held(self, window: Window) -> float:
        """Return what open holds have set aside on *window*; it walks all holds: for reports."""
        return sum(
            charge.amount for hold in self.open for charge in hold.charges
            if charge.window is window
        )  # fmt: skip

    def take_over(self, old: "LedgerAccount") -> None:
        """Let the open holds of *old* end here, with the windows that they are charged to."""
        self.windows = list(old.windows)
        self.observed_at = old.observed_at
        for hold in old.open:
            hold.account = self
        self.open |= old.open
        self.in_flight += old.in_flight
        old.open, old.in_flight = set(), 0

    def _lack_of(self, window: Window, asked: float, now: float) -> Shortfall:
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
            account_id=self.id,
            is_guess=window.is_guess,
        )


#: What one attempt asks of each account; the provider's own comes first.
Lines = Sequence[tuple[LedgerAccount, Amounts]]


class Reservation(msgspec.Struct, frozen=True, eq=False):
    """What one attempt has set aside, an account's part each, in the order of its lines."""

    holds: tuple[Hold, ...]

    @property
    def first(self) -> Hold:
        """The part of the account that was named first: the provider's."""
        return self.holds[0]

    def confirm(self) -> None:
        """Note that the provider has seen this request."""
        for hold in self.holds:
            hold.confirm()


class Ledger:
    """Reserve, settle, cancel: the only verbs that move windows for traffic."""

    __slots__ = ("open_count",)

    def __init__(self) -> None:
        self.open_count = 0

    def reserve(
        self, lines: Lines, now: float, *, past_guesses: bool = False
    ) -> Reservation | Shortfall:
        """Set aside the amounts of every line, or none of them.

        Args:
            lines: Pairs of account and amounts by dimension; zero places are not touched.
            now: Epoch seconds. Windows are refilled first.
            past_guesses: Windows that are our own caution alone keep nothing out.

        Returns:
            The open reservation; or the first window without room, whose it is, and the
            instant it will have some (`inf` when the amount exceeds the limit).
        """
        for account, amounts in lines:
            lack = account.shortfall(amounts, now, past_guesses=past_guesses)
            if lack is not None:
                return lack
        self.open_count += 1
        return Reservation(tuple([account.take(amounts, now) for account, amounts in lines]))

    def settle(self, reservation: Reservation, actuals: Sequence[Amounts], now: float) -> None:
        """End *reservation*: correct every window from the estimate to what was used.

        Args:
            actuals: What was used of each account, in the order of the lines.

        Raises:
            RuntimeError: It has ended already.
        """
        for hold, actual in zip(reservation.holds, actuals, strict=True):
            hold.account.end(hold, actual, now)
        self.open_count -= 1

    def keep(self, reservation: Reservation, now: float) -> None:
        """End *reservation* at its estimate: what was sent, and of whose use nothing was told."""
        self.settle(reservation, [hold.amounts for hold in reservation.holds], now)

    def cancel(self, reservation: Reservation, now: float, *, counted: Sequence[bool] = ()) -> None:
        """End *reservation* and return everything.

        Args:
            counted: Of which holds the request itself stays charged, in their order.
        """
        actuals = []
        for place, hold in enumerate(reservation.holds):
            actual = [0.0] * len(DIMENSIONS)
            if counted and counted[place]:
                actual[_REQUESTS] = hold.amounts[_REQUESTS]
            actuals.append(actual)
        self.settle(reservation, actuals, now)

    def adopt(self, window: Window, account: LedgerAccount, now: float, seen: Hold | None) -> None:
        """Put a newly learned *window* under all open holds of *account*.

        *seen* is the hold whose answer taught us: the report includes its charge already.
        """
        account.windows.append(window)
        # In the order in which they were sent, so that a report's age tells which it counts.
        for hold in sorted(account.open, key=_taken_at):
            amount = hold.amounts[window.index]
            if amount <= 0.0:
                continue
            mark = window.take(0.0 if hold is seen else amount, now)
            if not hold.is_confirmed:
                window.unconfirmed += amount
            hold.charges.append(Charge(window, amount, mark, window.charged))

    def replace(self, old: Window, new: Window, account: LedgerAccount, now: float) -> None:
        """Put *new* in the place of *old*, with what is used and held there."""
        new.take(old.used, now)
        new.charged, new.unconfirmed = old.charged, old.unconfirmed
        new.returned, new.corrected, new.disproved = old.returned, old.corrected, old.disproved
        new.observed_at, new.declared = old.observed_at, old.declared
        account.windows[account.windows.index(old)] = new
        for hold in account.open:
            for charge in hold.charges:
                if charge.window is old:
                    charge.window, charge.mark = new, new.take(0.0, now)
