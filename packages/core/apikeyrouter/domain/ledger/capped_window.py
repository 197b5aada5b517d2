"""A hard cap: a window that gives out only what was set aside for it durably before.

The cap itself is kept in a store, which several processes share. A process borrows a block of
it, and only a block that is kept there is given out: a crash forgets what was left of a block,
never what was spent. What is given back is spent anew from the same block, until the turn of
its period ends.
"""

# ruff: noqa: D102 - the verbs are documented once, on `Window`
import math
from collections.abc import Callable
from typing import Any

from apikeyrouter.domain.ledger.window import EPSILON, Window
from apikeyrouter.domain.limits.observation import Algorithm, Dimension
from apikeyrouter.domain.limits.periods import Period, Turn

_PERIOD_NAMES = {
    "minutely": "minute", "hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month",
}  # fmt: skip

#: A block is borrowed in about so long; a store that fails may answer again in so long.
_BORROWED_IN_S, _ANSWERS_IN_S = 0.05, 1.0


def _nothing(_: "CappedWindow") -> None:
    return


class CappedWindow(Window):
    """A cap of which blocks are borrowed.

    Attributes:
        cap_id: Names it in the store.
        is_hard: Refuses what exceeds it; one that is soft counts only.
        turn: The stretch of its period that is now.
        reset_at: When that ends, by the router's clock.
        epoch: How many turns it has seen.
        granted: Units borrowed for this turn.
        left: Units that nobody has borrowed, when the store was last asked.
        leftover: The slice before, and units of it that were borrowed and not spent.
        elsewhere: Units that others have borrowed or spent in what counts beside this turn.
        asked: Units that were asked for and could not be given.
        low_at: With less room than that the next block should be borrowed.
        on_low: Told then, and when something could not be given.
        trouble: Why nothing can be borrowed, in the store's words; empty while it can.
    """

    __slots__ = (
        "asked", "cap_id", "elsewhere", "epoch", "granted", "is_hard", "left", "leftover",
        "low_at", "on_low",
        "period", "reset_at", "trouble", "turn", "wall_ahead_s",
    )  # fmt: skip
    algorithm = Algorithm.FIXED

    def __init__(
        self, cap_id: str, dimension: Dimension, capacity: float, period: Period, now: float,
        *, is_hard: bool = True, wall_ahead_s: float = 0.0,
    ) -> None:  # fmt: skip
        self.period = period
        super().__init__(dimension, capacity, period.length_s, now)
        self.cap_id = cap_id
        self.is_hard = is_hard
        self.wall_ahead_s = wall_ahead_s
        self.granted = self.elsewhere = self.asked = 0.0
        self.left = float(capacity)
        self.leftover: tuple[int, int] | None = None
        self.low_at = -math.inf
        self.on_low: Callable[[CappedWindow], None] = _nothing
        self.trouble = ""
        self.epoch = 0
        self.turn: Turn = period.turn_at(now + wall_ahead_s)
        self.reset_at = self.turn.ends_at - wall_ahead_s

    def _rename(self) -> None:
        name = self.period.name
        span = "in all" if name == "total" else f"per {_PERIOD_NAMES.get(name, name)}"
        self.name = f"{self.dimension.value} {span}"

    @property
    def spent(self) -> float:
        """Units that are spent or held, here and elsewhere."""
        return self.elsewhere + self.used

    def lacks(self, amount: float, now: float) -> bool:
        return self.is_hard and amount > self.room(now) + EPSILON

    def room(self, now: float) -> float:
        if now >= self.reset_at:
            self._begin_turn(now)
        return self.granted - self.used

    def take(self, amount: float, now: float) -> int:
        room = self.room(now) - amount
        self.used += amount
        self.charged += amount
        if room < self.low_at or room < 0.0:
            self.on_low(self)
        return self.epoch

    def give_back(self, amount: float, mark: int, now: float) -> None:
        self.room(now)
        if mark == self.epoch:
            amount = min(amount, self.used)
            self.used -= amount
            self.returned += amount

    def may_borrow(self, amount: float, now: float) -> bool:
        """Tell whether *amount* does not fit now, and may as soon as more is borrowed."""
        room = self.room(now)
        return room + EPSILON < amount <= room + self.left + EPSILON

    def fits_at(self, amount: float, now: float) -> float:
        if amount > self.capacity + EPSILON:
            return math.inf
        if amount <= self.room(now) + EPSILON:
            return now
        if self.may_borrow(amount, now):
            return now + (_BORROWED_IN_S if not self.trouble else _ANSWERS_IN_S)
        return self.reset_at

    def units_by(self, at: float, now: float) -> float:
        left = self.room(now) + max(0.0, self.left)
        if at < self.reset_at or self.period_s == math.inf:
            return left
        return left + self.capacity * (1.0 + math.floor((at - self.reset_at) / self.period_s))

    def resets_in(self, now: float) -> float | None:
        self.room(now)
        return None if self.reset_at == math.inf else self.reset_at - now

    def strain(self, now: float) -> float:
        self.room(now)
        return min(1.0, self.spent / self.capacity) if self.is_hard else 0.0

    def note_short(self, amount: float) -> None:
        """Note that *amount* could not be given, though the cap may have it."""
        self.asked = max(self.asked, amount)
        self.on_low(self)

    def grant(self, amount: float, turn: Turn) -> bool:
        """Add a block that is kept in the store; tell whether its turn is still the one."""
        if turn.number != self.turn.number:
            return False
        self.granted += amount
        return True

    def forfeit(self, keep: float, now: float) -> float:
        """Give out no more than *keep* of what was borrowed; return what is taken away."""
        surplus = max(0.0, self.room(now) - keep)
        self.granted -= surplus
        return surplus

    def resize(self, capacity: float, provenance: Any = None) -> None:
        """Change the cap; of a lower one nothing is given out before the store was asked."""
        del provenance
        self.left += capacity - self.capacity
        self.capacity = float(capacity)

    def follow_wall(self, ahead_s: float, now: float) -> None:
        """End with the turns of a wall clock that now reads *ahead_s* beyond ours."""
        self.wall_ahead_s = ahead_s
        turn = self.period.turn_at(now + ahead_s)
        # A clock that was set back does not bring back what was spent.
        if turn.number > self.turn.number:
            self._begin_turn(now)
        elif turn.number == self.turn.number:
            self.reset_at = turn.ends_at - ahead_s

    def _begin_turn(self, now: float) -> None:
        turn = self.period.turn_at(now + self.wall_ahead_s)
        if turn.number <= self.turn.number:
            # The clock reads what it has read before: look again later, and give nothing twice.
            self.reset_at = max(turn.ends_at - self.wall_ahead_s, now + 1.0)
            return
        surplus = math.floor(self.granted - self.used)
        # Of a rolling cap what was not spent may be had again; any other begins anew.
        is_left = self.is_hard and self.period.is_rolling and surplus > 0
        self.leftover = (self.turn.number, surplus) if is_left else None
        self.turn, self.reset_at = turn, turn.ends_at - self.wall_ahead_s
        self.epoch += 1
        # What slices before it hold is known once the store was asked.
        self.used = self.granted = self.elsewhere = self.asked = 0.0
        self.left, self.low_at = self.capacity, -math.inf
