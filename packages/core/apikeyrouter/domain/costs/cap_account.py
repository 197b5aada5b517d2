"""Accounts of hard caps and budgets: windows of which blocks are borrowed."""

import math

from apikeyrouter.domain.costs.prices import usd_of
from apikeyrouter.domain.ledger.algorithms import Concurrent
from apikeyrouter.domain.ledger.capped_window import CappedWindow
from apikeyrouter.domain.ledger.ledger import Amounts, LedgerAccount, Shortfall
from apikeyrouter.domain.limits.declared_limits import DECLARABLE
from apikeyrouter.domain.limits.observation import DAY_S, HOUR_S, MINUTE_S, Dimension
from apikeyrouter.domain.limits.periods import Period
from apikeyrouter.domain.models.routing_decision import RoutingObjective

_PERIOD_OF = {MINUTE_S: "minutely", HOUR_S: "hourly", DAY_S: "daily"}


class CapAccount(LedgerAccount):
    """Windows that bound one owner, and hold through a crash.

    Attributes:
        counts_attempts: Every attempt that a provider may have counted counts here too.
        is_budget: It is money.
        is_hard: It refuses what exceeds it.
        unpriced: Requests whose cost nobody knew.
        when_over: What requests are served by once it is spent.
    """

    __slots__ = ("counts_attempts", "is_budget", "is_hard", "unpriced", "when_over")

    def __init__(
        self,
        account_id: str,
        *,
        counts_attempts: bool = False,
        is_budget: bool = False,
        is_hard: bool = True,
    ) -> None:
        super().__init__(account_id)
        self.counts_attempts = counts_attempts
        self.is_budget = is_budget
        self.is_hard = is_hard
        self.unpriced = 0
        self.when_over: RoutingObjective | None = None

    def is_spent(self, now: float) -> bool:
        """Tell whether one of its caps is used up."""
        for window in self.capped():
            window.room(now)
            if window.spent >= window.capacity:
                return True
        return False

    def capped(self) -> list[CappedWindow]:
        """Return its windows that are caps."""
        return [window for window in self.windows if isinstance(window, CappedWindow)]

    def shortfall(
        self, amounts: Amounts, now: float, *, past_guesses: bool = False
    ) -> Shortfall | None:
        """Return the first window without room; what may be borrowed for it is asked for."""
        lack = super().shortfall(amounts, now, past_guesses=past_guesses)
        if lack is not None:
            for window in self.short_of_blocks(amounts, now):
                window.note_short(amounts[window.index])
        return lack

    def may_come_back(self, lack: Shortfall, now: float) -> bool:
        """Tell whether calls that are under way here may give back what is short."""
        for window in self.capped():
            if window.index == lack.index and window.lacks(lack.asked, now):
                free = window.room(now) + window.left + self.held(window)
                return 0.0 < lack.asked <= free and self.in_flight > 0
        return False

    def short_of_blocks(self, amounts: Amounts, now: float) -> list[CappedWindow]:
        """Return the windows that lack *amounts* only until more is borrowed."""
        return [
            window
            for window in self.capped()
            if window.is_hard and window.may_borrow(amounts[window.index], now)
        ]


def refusal_text(account: CapAccount, lack: Shortfall, now: float) -> str:
    """Say which cap refuses a request, why, and what to do."""
    window = next((window for window in account.capped() if window.index == lack.index), None)
    if lack.index < 0:
        return f"{account.id} is hard, and {lack.what}: try again"
    if lack.asked == math.inf:
        return (
            f"{account.id} is hard, and nobody has told what this model costs: add it under "
            "prices, or set unknown_price: allow"
        )
    asked, left, most = (_shown(account, units) for units in (lack.asked, lack.left, lack.capacity))
    if window is not None:
        left = _shown(account, max(0.0, lack.left) + window.left)
        if window.trouble:
            return (
                f"{account.id} cannot set aside {asked}, and spends nothing that is not set aside: "
                f"the store does not answer ({window.trouble})"
            )
    text = f"{account.id} has {left} of {most} left, and this may need {asked}"
    if lack.fits_at == math.inf:
        return f"{text}: raise it, or ask for less, such as by a lower max_tokens"
    return f"{text}; it begins anew in {max(0.0, lack.fits_at - now):.1f} s"


def _shown(account: CapAccount, units: float) -> str:
    return f"${usd_of(units):,.6f}" if account.is_budget else f"{units:,.0f}"


def limit_windows(
    owner: str, limits: dict[str, float], now: float, *, calls: bool, wall_ahead_s: float
) -> list[CappedWindow | Concurrent]:
    """Build the windows of limits by name (`rpm`, `tpm`, …) as hard caps of *owner*.

    Minutes, hours and days are the clock's, in UTC.

    Args:
        calls: Count calls at once too; of those nothing outlives the process.
    """
    windows: list[CappedWindow | Concurrent] = []
    for name, capacity in limits.items():
        dimension, period_s = DECLARABLE[name]
        if dimension is not Dimension.CONCURRENCY:
            windows.append(
                CappedWindow(
                    f"{owner}:{name}", dimension, capacity, Period(_PERIOD_OF[period_s]), now,
                    wall_ahead_s=wall_ahead_s,
                )
            )  # fmt: skip
        elif calls:
            windows.append(Concurrent(dimension, capacity, 0.0, now))
    return windows
