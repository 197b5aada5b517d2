"""What an answer's figures do to the ledger: windows appear, grow, shrink and move.

The provider is right. A limit nobody knew becomes a window; a limit that
differs from ours replaces it; `remaining` below what our own traffic explains
means that somebody else draws on the scope, and the window follows at once.
Whether a window refills continuously or at an instant is voted on by its
reset: a bucket's grows with use, a fixed window's stays where it is.
"""

import math
from collections.abc import Callable

from apikeyrouter.domain.accounts.charge_learning import Belief, CallCharge, ChargeLearner
from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.feed.events import Event, LimitLearned
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.ledger.algorithms import FixedWindow
from apikeyrouter.domain.ledger.ledger import Hold, Ledger
from apikeyrouter.domain.ledger.remaining_bucket import RemainingBucket
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.ledger.window import INDEX_OF, Ballot, Window
from apikeyrouter.domain.limits.observation import (
    MINUTE_S,
    PERIODS_S,
    Algorithm,
    Dimension,
    ObservedLimit,
    Provenance,
)
from apikeyrouter.domain.quota_scope import QuotaScope

#: Resets told in whole seconds, and read a moment later, still name the same instant.
_SAME_INSTANT_S = 1.1
_VOTES_TO_CHANGE = 2
#: Calls of an unknown fixed window are refused a little after its instant by a slow clock.
_RESET_SLACK_S = 0.05
_MAX_VOTES = 3


class LimitLearning:
    """Folds observed limits into the windows of a scope."""

    def __init__(
        self,
        ledger: Ledger,
        book: AccountRegistry,
        search: LimitSearch,
        *,
        emit: Callable[[Event], None],
    ) -> None:
        self._ledger = ledger
        self._search = search
        self._book = book
        self._emit = emit
        #: What one account of a provider has shown; its siblings are alike until they differ.
        self._beliefs: dict[str, Belief] = {}

    def learn(
        self,
        scope: QuotaScope,
        limits: tuple[ObservedLimit, ...],
        now: float,
        *,
        hold: Hold | None = None,
    ) -> float:
        """Fold in what one answer told.

        Args:
            hold: Of the call that was answered; figures are as old as it at most.

        Returns:
            The units beyond our own traffic that the tightest window showed to
            be gone, as a share of its capacity: above zero somebody else draws
            on the scope.
        """
        surprise, eased = 0.0, False
        for told in limits:
            if told.dimension is Dimension.TOKENS and scope.charge is None:
                self._begin_charge(scope)
            window = self._known(scope, told)
            if window is None:
                if told.limit:
                    self._open(scope, told, now, hold)
                elif told.remaining is not None and told.limit is None:
                    self._open_remaining(scope, told, now, hold)
                continue
            if isinstance(window, RemainingBucket):
                if told.limit:
                    window = self._close_remaining(scope, window, told, now)
                elif told.remaining is not None:
                    since, _ = self._age_of(scope, window, now, hold)
                    window.note_remaining(told.remaining, now, since=since)
                    if window.turns_every_s is not None and window.ended_at is not None:
                        window = self._turn(
                            scope, window, window.ended_at[1], window.turns_every_s, now
                        )
            is_other = bool(told.limit) and abs((told.limit or 0.0) - window.capacity) > 0.5
            if window.provenance is Provenance.OPERATOR and (is_other or not told.limit):
                # Figures of another limit tell nothing of the one that an operator has set.
                continue
            if is_other:
                self._resize(scope, window, told, now)
            before = window
            fits_before = window.resets_in(now)
            window = self._vote(scope, window, told, now)
            eased = eased or window is not before or window.resets_in(now) != fits_before
            moved = self._hold_against(scope, window, told, now, hold)
            eased = eased or moved < 0.0
            surprise = max(surprise, moved / window.capacity if window.capacity > 0 else 0.0)
        if limits:
            scope.account.note_report(now)
        if eased:
            scope.notify_capacity()
        return surprise

    def learn_charge(
        self, scope: QuotaScope, call: CallCharge, limits: tuple[ObservedLimit, ...], now: float
    ) -> None:
        """Fold in by how much one answer's figures have fallen for the calls before it."""
        learner = scope.charge
        if learner is None or not call.reported(scope.account, limits, now):
            return
        self._beliefs[scope.provider_id] = learner.belief
        self._book.on_learned(scope)
        for sibling in self._book:
            if sibling.provider_id == scope.provider_id and sibling.charge is not None:
                sibling.charge.adopt(learner.belief)
        for window in scope.account.windows:
            if window.dimension is Dimension.TOKENS:
                # What looked like somebody else's use was ours.
                window.forget_drift()

    def _known(self, scope: QuotaScope, told: ObservedLimit) -> Window | None:
        """Find the window that *told* speaks of: same dimension, same label, same period."""
        for window in scope.account.windows:
            if (
                window.capacity == told.limit
                and window.dimension is told.dimension
                and window.label == told.label
                and told.period_s in (None, window.period_s)
            ):
                return window
        same = [
            window
            for window in scope.account.windows
            if window.dimension is told.dimension and window.label == told.label
        ]
        if told.period_s is not None:
            return next((window for window in same if _is_over(window, told.period_s)), None)
        period = told.inferred_period()
        by_period = [window for window in same if window.period_s == period]
        if by_period:
            return by_period[0]
        reported = [window for window in same if window.provenance is not Provenance.DECLARED]
        return next(iter(reported or same), None)

    def _open(self, scope: QuotaScope, told: ObservedLimit, now: float, hold: Hold | None) -> None:
        assert told.limit is not None  # noqa: S101 - checked by the caller
        algorithm = told.algorithm
        if told.dimension is Dimension.CONCURRENCY:
            period, algorithm = 0.0, Algorithm.CONCURRENT
        else:
            period = told.period_s or told.inferred_period() or _plain_period(told)
        window = self._book.window_for(
            scope.provider_id, told.dimension, told.limit, period, now,
            provenance=told.source, algorithm=algorithm, label=told.label,
        )  # fmt: skip
        if isinstance(window, FixedWindow):
            window.calendar = told.calendar or window.calendar
            window.wall_ahead_s = self._book.wall_ahead_s
            if told.reset_s is not None:
                window.align(now + told.reset_s + _RESET_SLACK_S, now)
            elif window.reset_at == math.inf:
                window.align(now + period, now)
        self._ledger.adopt(window, scope.account, now, hold)
        if isinstance(window, TokenBucket) and not told.algorithm and told.reset_s is not None:
            window.ballot = Ballot()
            window = self._vote(scope, window, told, now)
        self._hold_against(scope, window, told, now, hold)
        self._search.told(scope)
        self._tell(scope, window, None, now)
        scope.notify_capacity()

    def _open_remaining(
        self, scope: QuotaScope, told: ObservedLimit, now: float, hold: Hold | None
    ) -> None:
        """Begin with what remains, where neither limit nor reset is told."""
        if told.dimension is Dimension.CONCURRENCY or told.remaining is None:
            return
        mine = hold.amounts[INDEX_OF[told.dimension]] if hold is not None else 0.0
        window = RemainingBucket(
            told.dimension, told.remaining + mine, now,
            label=told.label, named_period_s=told.period_s,
        )  # fmt: skip
        self._ledger.adopt(window, scope.account, now, hold)
        since, _ = self._age_of(scope, window, now, hold)
        window.note_remaining(told.remaining, now, since=since)
        self._hold_against(scope, window, told, now, hold)
        self._search.told(scope)
        self._tell(scope, window, None, now)
        scope.notify_capacity()

    def _close_remaining(
        self, scope: QuotaScope, old: RemainingBucket, told: ObservedLimit, now: float
    ) -> Window:
        """Put the limit in place that is told after all."""
        assert told.limit is not None  # noqa: S101 - checked by the caller
        period = told.period_s or told.inferred_period() or _plain_period(told)
        new = self._book.window_for(
            scope.provider_id, told.dimension, told.limit, period, now,
            provenance=told.source, algorithm=told.algorithm, label=told.label,
        )  # fmt: skip
        self._ledger.replace(old, new, scope.account, now)
        self._tell(scope, new, old.capacity, now)
        return new

    def _turn(
        self, scope: QuotaScope, old: Window, ended_at: float, period_s: float, now: float
    ) -> Window:
        """Put a window in place that ends at the instants at which *old* was seen to end."""
        new = FixedWindow(
            old.dimension, old.capacity, period_s, now,
            reset_at=ended_at + period_s, provenance=old.provenance, label=old.label,
        )  # fmt: skip
        self._ledger.replace(old, new, scope.account, now)
        self._tell(scope, new, old.capacity, now)
        return new

    def _begin_charge(self, scope: QuotaScope) -> None:
        scope.charge = ChargeLearner(self._book.admissions.get(scope.provider_id, Admission()))
        belief = self._beliefs.get(scope.provider_id)
        if belief is not None:
            scope.charge.adopt(belief)

    def _resize(self, scope: QuotaScope, window: Window, told: ObservedLimit, now: float) -> None:
        assert told.limit is not None  # noqa: S101 - checked by the caller
        before = window.capacity
        window.room(now)
        window.resize(told.limit, told.source)
        self._tell(scope, window, before, now)
        if told.limit > before:
            scope.notify_capacity()

    def _hold_against(
        self,
        scope: QuotaScope,
        window: Window,
        told: ObservedLimit,
        now: float,
        hold: Hold | None,
    ) -> float:
        if told.remaining is None or told.dimension is Dimension.CONCURRENCY:
            return 0.0
        used = window.capacity - told.remaining
        since, age_s = self._age_of(scope, window, now, hold)
        # The report is rounded: down to whole units, or to the nearest step.
        step = told.rounding
        high = used if step <= 1.0 else used + 0.5 * step
        shared = scope.account.shared
        if shared is not None:
            moved: float | None = shared.observed(window, high - step, high, hold)
            if moved is not None:
                return moved
        return window.observe(high - step, high, since=since, age_s=age_s, now=now)

    def _age_of(
        self, scope: QuotaScope, window: Window, now: float, hold: Hold | None
    ) -> tuple[float, float]:
        """Return how old a report may be: units charged since, and seconds."""
        if hold is None or (scope.charge is not None and scope.charge.is_fresh):
            return 0.0, 0.0
        charge = hold.charge_on(window)
        since = window.charged - charge.charged_after if charge is not None else 0.0
        return since, max(0.0, now - hold.taken_at)

    def _vote(self, scope: QuotaScope, window: Window, told: ObservedLimit, now: float) -> Window:
        """Let the reset say how the window refills; return the window now in force."""
        ballot = window.ballot
        if isinstance(window, FixedWindow):
            if told.reset_s is not None:
                self._follow(window, told, now)
        elif ballot is None and isinstance(window, TokenBucket) and told.algorithm is None:
            ballot = window.ballot = Ballot()
        if ballot is None or told.reset_s is None or told.remaining is None:
            return window
        instant, used = now + told.reset_s, window.capacity - told.remaining
        grew = used - ballot.used
        if ballot.reset_at and grew == 0.0:
            return window
        ballot.longest_reset_s = max(ballot.longest_reset_s, told.reset_s)
        if ballot.reset_at and grew > 0 and isinstance(window, TokenBucket):
            # A bucket's reset moves on by what it has refilled meanwhile, and by what was used.
            moves_by_s = now - ballot.at + grew / window.rate
            if abs(instant - ballot.reset_at) > _SAME_INSTANT_S:
                ballot.votes = max(-_MAX_VOTES, ballot.votes - 1)
            elif moves_by_s > 2.0 * _SAME_INSTANT_S:
                ballot.votes += 1
            else:
                return window
        ballot.reset_at, ballot.used, ballot.at = instant, used, now
        if ballot.votes >= _VOTES_TO_CHANGE:
            return self._fix(scope, window, ballot, now)
        self._repace(window, told, ballot)
        return window

    def _follow(self, window: FixedWindow, told: ObservedLimit, now: float) -> None:
        assert told.reset_s is not None  # noqa: S101 - checked by the caller
        instant = now + told.reset_s + _RESET_SLACK_S
        if abs(instant - window.reset_at) > _SAME_INSTANT_S:
            window.align(instant, now)

    def _repace(self, window: Window, told: ObservedLimit, ballot: Ballot) -> None:
        """Correct the period of a bucket once a telling report came."""
        if not isinstance(window, TokenBucket) or told.period_s is not None or ballot.votes > 0:
            return
        period = told.inferred_period()
        if period is not None and period != window.period_s:
            window.repace(period)

    def _fix(self, scope: QuotaScope, old: Window, ballot: Ballot, now: float) -> Window:
        period = _next_period(ballot.longest_reset_s)
        return self._turn(scope, old, ballot.reset_at + _RESET_SLACK_S - period, period, now)

    def _tell(self, scope: QuotaScope, window: Window, before: float | None, now: float) -> None:
        self._emit(
            LimitLearned(
                at=now,
                scope_id=scope.id,
                window=window.name,
                before=before,
                after=window.capacity,
                provenance=window.provenance.value,
                declared=window.declared,
            )
        )
        self._book.on_learned(scope)


def _is_over(window: Window, period_s: float) -> bool:
    if isinstance(window, RemainingBucket):
        return window.named_period_s in (None, period_s)
    return window.period_s == period_s


def _plain_period(told: ObservedLimit) -> float:
    """Guess a period for a report that tells none: a minute, as most providers count."""
    return MINUTE_S if not told.reset_s else max(MINUTE_S, _next_period(told.reset_s))


def _next_period(seconds: float) -> float:
    return next((period for period in PERIODS_S if period >= seconds * 0.99), PERIODS_S[-1])
