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
half the pace, which then grows back. One that is too busy for a call beside those it serves gets
no more than those, and soon more again.
"""

from apikeyrouter.domain.accounts.searching.pace_search import (
    PaceSearch,
    admitted,
    is_one_too_many,
    knows_limits_of,
    lift,
    under_way,
)
from apikeyrouter.domain.accounts.searching.ramp import Ramp
from apikeyrouter.domain.accounts.searching.search_state import (
    LATEST_ONE_MORE_S,
    Explanation,
    SearchState,
    Trial,
)
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import MINUTE_S, Algorithm, Provenance
from apikeyrouter.domain.quota_scope import QuotaScope

#: Calls at once on a scope of which nothing is known; one more for each that succeeds, and
#: for each second in which they all were busy.
FIRST_CALLS = 4
#: So many calls at once are held back no more.
TRUSTED_CALLS = 64
#: More calls at once are tried so soon after a busy provider has refused one, and at the latest.
_BUSY_S, _LATEST_BUSY_S = 0.5, 10.0
#: A known limit that is used up to here explains a refusal.
_EXPLAINS_FROM = 0.9
#: So many calls let in against so many that a bucket would have let in tell calls at once.
_TELLING_MORE, _TELLING_LEAST = 2.0, 6
_CALLS = Explanation.CALLS_AT_ONCE


class LimitSearch(PaceSearch):
    """Keeps the inferred windows of scopes."""

    def begin(self, scope: QuotaScope, now: float) -> None:
        """Let few calls at once through until something is learned of *scope*."""
        self._hold_back(scope, self._search(scope, now), FIRST_CALLS, now)

    def answered(self, scope: QuotaScope, now: float) -> None:
        """Fold in one call that was let in. Only asked while `scope.is_searched`."""
        search = self._search(scope, now)
        search.log.take(1.0, now)
        self._note_let_in(scope, search, now)
        if search.trial is not None:
            self._weigh(scope, search.trial, now)
        if search.ramp is not None:
            self._open_up(scope, search, search.ramp, now)
        self._grow(scope, search, now)
        if search.is_refuted(now):
            self._begin_anew(scope, now)
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
        tight = _tight_windows(scope, now)
        if is_first:
            for window in tight:
                window.widen_margin()
        if told or tight:
            return None
        search = self._search(scope, now)
        calls, doubt = under_way(scope), search.doubt()
        if doubt is not None and doubt.rounds.is_under_way(now):
            doubt.rounds.refuse(now)
            return 0.0
        if waits and not is_first:
            search.discount_one()
        if waits and search.explanation is None and search.trial is None:
            search.explanation = self._shown.get(scope.provider_id, Explanation.PACE)
        if is_first and search.explanation is _CALLS:
            if search.served_before == admitted(scope) - calls:
                # Nothing was let in since the last one: calling at once would go on for ever.
                search.explanation = Explanation.PACE
                return self._too_fast(scope, search, now, waits=waits)
            search.served_before = admitted(scope) - calls
        if calls < scope.statistics.proven_calls(now) and search.trial is None:
            # So many at once were let in a moment ago: they are not what is refused.
            if search.explanation is _CALLS:
                return 0.0
            if is_first:
                return self._too_fast(scope, search, now, waits=waits)
            return self._refused_too(scope, search, now)
        search.is_met = True
        search.raised_at = now
        if search.explanation in (None, _CALLS):
            self._hold_back(scope, search, calls, now)
        if not is_first:
            may_be_calls = search.trial is not None or search.explanation is _CALLS
            return 0.0 if may_be_calls else None
        if self._may_be_calls(scope, search, calls, now):
            if search.explanation is _CALLS:
                search.one_more_s = min(LATEST_ONE_MORE_S, 2.0 * search.one_more_s)
            return 0.0
        return self._too_fast(scope, search, now, waits=waits)

    def busy(self, scope: QuotaScope, began_at: float, now: float) -> None:
        """Fold in that a call was refused by a provider that is too busy.

        Where not even one was under way beside it, calls at once are not what it is busy with.
        """
        calls, search = under_way(scope), self._search_of.get(scope)
        if calls == 0 and search is not None and search.busy_step:
            self._let_all_in(scope, search)
        if not is_one_too_many(scope, calls, now):
            return
        search = self._search(scope, now)
        if not search.busy_step:
            search.one_more_s = _BUSY_S
        elif began_at >= search.raised_at:
            search.one_more_s = min(_LATEST_BUSY_S, 2.0 * search.one_more_s)
        search.is_met, search.raised_at, search.busy_step = True, now, 1
        self._hold_back(scope, search, calls, now)

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
        """Go on searching for *new* where *old* was; it bears other keys' name for the same."""
        search = self._search_of.pop(old, None)
        if search is not None:
            self._search_of[new] = search
        else:
            self._search_of.pop(new, None)

    def forget(self, scope: QuotaScope) -> None:
        """Let go of a scope that is no more."""
        self._search_of.pop(scope, None)

    def let_go(self, scope: QuotaScope, window: Window) -> None:
        """Lift a guess that another process, which shares the account, has lifted."""
        search = self._search_of.get(scope)
        if search is not None and window in (search.ramp, search.pace, search.minute):
            search.ramp = None if search.ramp is window else search.ramp
            search.pace = None if search.pace is window else search.pace
            search.minute = None if search.minute is window else search.minute
            lift(window, scope)
            self._note_searched(scope, search)

    def state_of(self, scope: QuotaScope) -> SearchState | None:
        """Return what is being found out of *scope*; `None` if nothing is."""
        return self._search_of.get(scope)

    def resume(self, scope: QuotaScope, search: SearchState) -> None:
        """Go on with a search that was kept; its guesses are in force from now on."""
        self._search_of[scope] = search
        scope.account.windows += search.windows()
        if search.explanation is not None:
            self._shown.setdefault(scope.provider_id, search.explanation)
        self._note_searched(scope, search)

    def _search(self, scope: QuotaScope, now: float) -> SearchState:
        search = self._search_of.get(scope)
        if search is None:
            search = self._search_of[scope] = SearchState(now, admitted(scope))
        return search

    def _note_searched(self, scope: QuotaScope, search: SearchState) -> None:
        guesses = search.ramp, search.pace, search.minute, search.gate
        scope.is_searched = any(guesses) or not knows_limits_of(scope)

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
            let_in = admitted(scope) - search.served
            search.trial = Trial(now, admitted(scope), let_in / (MINUTE_S + elapsed_s))
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
        return admitted(scope) - trial.served if trial is not None else 0

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
            ramp.capacity *= 2 if knows_limits_of(scope) else 1
            ramp.capacity += 1
        elif ramp.used >= ramp.capacity - 1 and now - search.raised_at >= search.one_more_s:
            self._raise(search, ramp, now)
        if ramp.capacity > TRUSTED_CALLS:
            self._let_all_in(scope, search)
        else:
            scope.notify_capacity()

    def _raise(self, search: SearchState, ramp: Window, now: float) -> None:
        ramp.capacity += max(1, search.busy_step)
        search.raised_at = now
        if search.busy_step > 1:
            # More than before were let in: whatever kept the provider busy is passing.
            search.one_more_s = max(_BUSY_S, search.one_more_s / 2.0)
        search.busy_step *= 2

    def _let_all_in(self, scope: QuotaScope, search: SearchState) -> None:
        ramp, search.ramp = search.ramp, None
        if search.busy_step:
            search.busy_step, search.is_met = 0, False
        if ramp is not None:
            lift(ramp, scope)


def _tight_windows(scope: QuotaScope, now: float) -> list[Window]:
    """Return the known limits that explain a refusal: there is little left of them."""
    return [
        window
        for window in scope.account.windows
        if window.provenance is not Provenance.INFERRED
        and window.algorithm is not Algorithm.CONCURRENT
        and window.pressure(now) >= _EXPLAINS_FROM
    ]
