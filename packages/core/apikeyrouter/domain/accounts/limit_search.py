"""What is done about undisclosed limits: few calls first, then a cautious search.

A scope of which nothing is known gets few calls at once, and more with every answer and with time.
A refusal that no known limit explains has three explanations:

- too many *calls at once*: then another call may begin as soon as one ends;
- too fast a *pace*: then one may begin when a bucket has refilled by one;
- too many within *the last minute*: then room returns in the rhythm in which it was spent.

Each is believed as long as it predicts what is let in. First that is tried which costs least if
it is wrong: with calls still under way the first explanation, at once; then the second, after a
moment; a call that is refused although a bucket should have refilled leaves the third. What one
account of a provider has shown is tried first with its siblings.

A guess is raised by little after ever longer while, so that the search closes in on the limit and
costs few refusals. What a provider tells takes its place. A provider that asks to slow down gets
half the pace, which then grows back.
"""

from collections.abc import Callable

from apikeyrouter.domain.accounts.pace import (
    ROUGH_AFTER_S,
    TELLING_CALLS,
    Pace,
    measured_pace,
)
from apikeyrouter.domain.accounts.ramp import Ramp
from apikeyrouter.domain.accounts.search_state import (
    LATEST_ONE_MORE_S,
    PUZZLED_FOR_S,
    Explanation,
    SearchState,
    Trial,
    has_told_limits,
    tight_windows,
)
from apikeyrouter.domain.feed.events import Event, LimitLearned
from apikeyrouter.domain.ledger.algorithms import RollingWindow
from apikeyrouter.domain.ledger.ledger import Ledger
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension, Provenance
from apikeyrouter.domain.quota_scope import QuotaScope

#: Calls at once on a scope of which nothing is known; one more for each that succeeds, and
#: for each second in which they all were busy.
FIRST_CALLS = 4
#: So many calls at once are held back no more.
TRUSTED_CALLS = 64
#: So many calls let in against so many that a bucket would have let in tell calls at once.
_TELLING_MORE, _TELLING_LEAST = 2.0, 6
#: A bucket that should have refilled by so many units and let nothing in is none.
_SURELY_REFILLED = 1.4
#: Calls overtake each other on their way: a guessed minute is a little longer.
_MINUTE_AND_JITTER_S = MINUTE_S + 0.2
#: Of a rolling minute so much more is tried a second.
_PROBE_PER_S = 0.001


_CALLS = Explanation.CALLS_AT_ONCE


class LimitSearch:
    """Keeps the inferred windows of scopes."""

    def __init__(self, ledger: Ledger, *, emit: Callable[[Event], None]) -> None:
        self._ledger = ledger
        self._emit = emit
        self._search_of: dict[QuotaScope, SearchState] = {}
        #: What accounts of a provider have shown: its siblings are alike until they differ.
        self._shown: dict[str, Explanation] = {}

    def begin(self, scope: QuotaScope, now: float) -> None:
        """Let few calls at once through until something is learned of *scope*."""
        self._hold_back(scope, self._search(scope, now), FIRST_CALLS, now)

    def answered(self, scope: QuotaScope, now: float) -> None:
        """Fold in one call that was let in. Only asked while `scope.is_searched`."""
        search = self._search(scope, now)
        search.log.take(1.0, now)
        if search.has_stood_still and _admitted(scope) > search.served:
            search.has_stood_still = False
            # A long standstill is no part of the pace; a short one refilled what follows.
            if now - search.since > ROUGH_AFTER_S:
                search.since = now
        if search.trial is not None:
            self._weigh(scope, search.trial, now)
        if search.ramp is not None:
            self._open_up(scope, search, search.ramp, now)
        self._grow(scope, search, now)
        self._note_searched(scope, search)

    def refused(
        self,
        scope: QuotaScope,
        now: float,
        *,
        told: bool,
        is_first: bool,
        waits: bool = False,
    ) -> float | None:
        """Fold in one refusal.

        Args:
            told: It told figures, which are windows by now.
            waits: It told how long to wait: that is said of a pace.
            is_first: Of the calls that were under way together.

        Returns:
            Seconds after which it is worth calling again, by what is believed now; `None`
            leaves that to the failure table.
        """
        tight = tight_windows(scope, now)
        if is_first:
            for window in tight:
                window.widen_margin()
        if told or tight:
            return None
        search = self._search(scope, now)
        calls, knows_limits = scope.account.in_flight, has_told_limits(scope)
        if waits and search.explanation is None and search.trial is None:
            search.explanation = self._shown.get(scope.provider_id, Explanation.PACE)
        if not knows_limits:
            search.is_met = True
            search.raised_at = now
            if search.explanation in (None, _CALLS):
                self._hold_back(scope, search, calls, now)
            if not is_first:
                may_be_calls = search.trial is not None
                return 0.0 if may_be_calls or search.explanation is _CALLS else None
            if self._may_be_calls(scope, search, calls, now):
                if search.explanation is _CALLS:
                    search.one_more_s = min(LATEST_ONE_MORE_S, 2.0 * search.one_more_s)
                return 0.0
        if is_first:
            return self._too_fast(scope, search, now, knows_limits=knows_limits)
        return None

    def slowed(self, scope: QuotaScope, now: float) -> None:
        """Halve the pace of *scope*: its provider asked for it."""
        search = self._search(scope, now)
        recent = search.pace.rate if search.pace is not None else self._recent(scope, search, now)
        self._slow_to(scope, search, recent / 2.0, recent, now, is_passing=True)

    def told(self, scope: QuotaScope) -> None:
        """Give way to limits that the provider has told."""
        search = self._search_of.get(scope)
        if search is None:
            return
        if search.pace is not None and not search.pace.is_passing:
            self._drop_pace(scope, search)
        self._drop_minute(scope, search)
        self._note_searched(scope, search)

    def follow(self, old: QuotaScope, new: QuotaScope) -> None:
        """Go on searching for *new* where *old* was; it has other keys' name for the same."""
        search = self._search_of.pop(old, None)
        if search is not None:
            self._search_of[new] = search
        else:
            self._search_of.pop(new, None)

    def forget(self, scope: QuotaScope) -> None:
        """Let go of a scope that is no more."""
        self._search_of.pop(scope, None)

    def _search(self, scope: QuotaScope, now: float) -> SearchState:
        search = self._search_of.get(scope)
        if search is None:
            search = self._search_of[scope] = SearchState(now, _admitted(scope))
        return search

    def _note_searched(self, scope: QuotaScope, search: SearchState) -> None:
        is_guessed = search.ramp is not None or search.pace is not None or search.minute is not None
        scope.is_searched = is_guessed or not has_told_limits(scope)

    # -- calls at once ------------------------------------------------------

    def _may_be_calls(self, scope: QuotaScope, search: SearchState, calls: int, now: float) -> bool:
        """Tell whether too many calls at once explain a refusal with *calls* still under way."""
        if search.explanation is None:
            search.explanation = self._shown.get(scope.provider_id)
        if search.explanation is _CALLS:
            return calls > 0 or self._let_in(scope, search.trial) > 0
        if search.explanation is not None:
            return False
        trial = search.trial
        if trial is None:
            if calls == 0:
                return False
            elapsed_s = now - search.since
            let_in = _admitted(scope) - search.served
            search.trial = Trial(now, _admitted(scope), let_in / (MINUTE_S + elapsed_s))
            return True
        trial.refused += 1
        # Of several that began together the first may have been counted with others to be refused.
        if calls > 0 and (
            trial.refused == 1 or self._let_in(scope, trial) >= _TELLING_MORE * trial.refused
        ):
            return True
        self._show(scope, Explanation.PACE, now)
        return False

    def _weigh(self, scope: QuotaScope, trial: Trial, now: float) -> None:
        """Believe in calls at once when far more was let in than any bucket would."""
        let_in = self._let_in(scope, trial)
        refilled = trial.per_s * (now - trial.since)
        if let_in >= _TELLING_LEAST and let_in > _TELLING_MORE * refilled:
            self._show(scope, _CALLS, now)

    def _let_in(self, scope: QuotaScope, trial: Trial | None) -> int:
        return _admitted(scope) - trial.served if trial is not None else 0

    def _show(self, scope: QuotaScope, explanation: Explanation, now: float) -> None:
        """Take an explanation for true, and try it first with siblings that have none."""
        self._shown[scope.provider_id] = explanation
        for other, search in self._search_of.items():
            if other is scope:
                search.explanation = explanation
                search.trial = None
            elif other.provider_id == scope.provider_id and search.trial is not None:
                search.trial = None
                search.explanation = explanation
                if explanation is Explanation.PACE:
                    self._too_fast(other, search, now, knows_limits=False)

    def _hold_back(self, scope: QuotaScope, search: SearchState, calls: int, now: float) -> None:
        calls = max(1, calls)
        if (ramp := search.ramp) is not None:
            # Time, or their want of patience, may have let more in than it counts by itself.
            most = min(calls, ramp.capacity) if ramp.is_met else calls
            ramp.is_met = search.is_met
            ramp.resize(most, Provenance.INFERRED)
            ramp.confidence = 0.3
        elif calls < TRUSTED_CALLS:
            search.ramp = Ramp(calls, now)
            search.ramp.is_met = search.is_met
            self._ledger.adopt(search.ramp, scope.account, now, None)
        scope.is_searched = True

    def _open_up(self, scope: QuotaScope, search: SearchState, ramp: Window, now: float) -> None:
        if not search.is_met:
            # Known limits are no reason to hold back; that the other keys' answers are on
            # their way is one not to give everything that waits to the first that came.
            ramp.capacity *= 2 if has_told_limits(scope) else 1
            ramp.capacity += 1
        elif ramp.used >= ramp.capacity - 1 and now - search.raised_at >= search.one_more_s:
            ramp.capacity += 1
            search.raised_at = now
        if ramp.capacity > TRUSTED_CALLS:
            self._drop_ramp(scope, search)
        else:
            scope.notify_capacity()

    # -- pace, and the last minute -----------------------------------------

    def _too_fast(
        self, scope: QuotaScope, search: SearchState, now: float, *, knows_limits: bool
    ) -> float | None:
        """Slow down after a refusal that calls at once do not explain."""
        if search.minute is not None:
            return self._lower_minute(scope, search, search.minute, now)
        let_in, elapsed = _admitted(scope) - search.served, now - search.since
        if not knows_limits and self._is_minute(scope, search, let_in, now):
            return self._count_minute(scope, search, now)
        puzzled_before = now - search.puzzled_at < PUZZLED_FOR_S
        search.puzzled_at = now
        tells_little = knows_limits or let_in < TELLING_CALLS
        if let_in <= 0 or (tells_little and not puzzled_before):
            return None
        search.since, search.served = now, _admitted(scope)
        search.has_stood_still = True
        self._slow_to(
            scope, search, *measured_pace(search.pace, let_in, elapsed), now, knows_limits
        )
        if search.pace is not None:
            search.pace.is_rough = let_in < TELLING_CALLS
        return None

    def _is_minute(self, scope: QuotaScope, search: SearchState, let_in: int, now: float) -> bool:
        """Tell whether a bucket should have let something in since the last refusal."""
        pace = search.pace
        if self._shown.get(scope.provider_id) is Explanation.LAST_MINUTE:
            return True
        if pace is None or pace.is_passing or pace.is_rough or let_in > 0:
            return False
        return pace.ceiling * (now - search.since) >= _SURELY_REFILLED

    def _count_minute(self, scope: QuotaScope, search: SearchState, now: float) -> float:
        """Take what was let in within the last minute for the limit of every minute."""
        search.log.room(now)
        count = max(1.0, search.log.used + scope.account.in_flight)
        if search.pace is not None:
            self._drop_pace(scope, search)
        minute = search.log.copy(count, _MINUTE_AND_JITTER_S, now, "guessed")
        search.minute, search.minute_grown_at = minute, now
        self._ledger.adopt(minute, scope.account, now, None)
        # What open holds have taken is in the log only once it is answered.
        scope.is_searched = True
        self._show(scope, Explanation.LAST_MINUTE, now)
        for other, waiting in list(self._search_of.items()):
            if other.provider_id == scope.provider_id and waiting.has_guessed_pace(
                _admitted(other), now
            ):
                self._count_minute(other, waiting, now)
        self._tell(scope, minute, None, count, now)
        return max(0.0, minute.fits_at(1.0, now) - now)

    def _lower_minute(
        self, scope: QuotaScope, search: SearchState, minute: RollingWindow, now: float
    ) -> float:
        search.log.room(now)
        before, minute.capacity = (
            minute.capacity,
            max(1.0, search.log.used + scope.account.in_flight),
        )
        search.one_more_s = min(LATEST_ONE_MORE_S, 2.0 * search.one_more_s)
        search.minute_grown_at = now
        self._tell(scope, minute, before, minute.capacity, now)
        return max(1.0, minute.fits_at(1.0, now) - now)

    def _grow(self, scope: QuotaScope, search: SearchState, now: float) -> None:
        pace, minute = search.pace, search.minute
        if pace is not None:
            pace.grow(now)
            if pace.is_passing and pace.rate >= pace.ceiling:
                self._drop_pace(scope, search)
        if minute is not None and now - search.minute_grown_at >= 3.0 * search.one_more_s:
            minute.capacity += max(1.0, _PROBE_PER_S * minute.capacity)
            search.minute_grown_at = now - 2.0 * search.one_more_s

    def _slow_to(
        self,
        scope: QuotaScope,
        search: SearchState,
        to: float,
        ceiling: float,
        now: float,
        is_passing: bool,
    ) -> None:
        pace, before = search.pace, None
        if pace is None:
            pace = search.pace = Pace(to, ceiling, now, is_passing=is_passing)
            self._ledger.adopt(pace, scope.account, now, None)
            # Calls that are under way were let in by the pace before it.
            pace.used = pace.capacity
        else:
            before = pace.rate * MINUTE_S
            pace.fall(to, ceiling, now)
        scope.is_searched = True
        self._tell(scope, pace, before, pace.rate * MINUTE_S, now)

    def _recent(self, scope: QuotaScope, search: SearchState, now: float) -> float:
        """Return the requests a second of late."""
        for window in scope.account.windows:
            if window.dimension is Dimension.REQUESTS and window.pace(now)[0] > 0:
                return window.pace(now)[0]
        return (_admitted(scope) - search.served) / max(1.0, now - search.since)

    def _drop_ramp(self, scope: QuotaScope, search: SearchState) -> None:
        assert search.ramp is not None  # noqa: S101 - the callers have looked
        scope.account.windows.remove(search.ramp)
        search.ramp = None
        scope.notify_capacity()

    def _drop_pace(self, scope: QuotaScope, search: SearchState) -> None:
        assert search.pace is not None  # noqa: S101 - the callers have looked
        scope.account.windows.remove(search.pace)
        search.pace = None
        scope.notify_capacity()

    def _drop_minute(self, scope: QuotaScope, search: SearchState) -> None:
        if search.minute is not None:
            scope.account.windows.remove(search.minute)
            search.minute = None
            scope.notify_capacity()

    def _tell(
        self, scope: QuotaScope, window: Window, before: float | None, after: float, now: float
    ) -> None:
        self._emit(
            LimitLearned(
                at=now,
                scope_id=scope.id,
                window=window.name,
                before=before,
                after=after,
                provenance=Provenance.INFERRED.value,
            )
        )


def _admitted(scope: QuotaScope) -> int:
    """Return how many calls were let in: those under way have not been refused either."""
    return scope.statistics.served + scope.account.in_flight
