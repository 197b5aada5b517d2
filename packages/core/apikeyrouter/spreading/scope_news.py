"""What another process has learned of a scope, folded into what is known of it here.

Of every window that counts which the provider told last, whoever it told. Waits only grow, and
levels stay: what is used is no news but a sum.
"""

from collections.abc import Callable, Mapping
from typing import Any

from apikeyrouter.domain.accounts.charge_learning import ChargeLearner
from apikeyrouter.domain.accounts.scope_record import belief_of
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.accounts.window_record import window_of
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.ledger.algorithms import FixedWindow
from apikeyrouter.domain.ledger.ledger import Ledger
from apikeyrouter.domain.ledger.remaining_bucket import RemainingBucket
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import Provenance
from apikeyrouter.domain.quota_scope import QuotaScope

#: Fields that are instants by their writer's clock, wherever they stand.
_INSTANTS = frozenset(
    {
        "at", "observed_at", "reset_at", "wanted_at", "grown_at", "probe_at", "since", "raised_at",
        "minute_grown_at", "refused_at",
    }
)  # fmt: skip
#: Fields that are lists whose first place is an instant, or lists of such.
_BEGIN_WITH_INSTANT = frozenset({"wait", "ended_at", "charges", "log"})
_SAME_S, _SAME_UNITS = 0.1, 1e-6
_REFUSALS_TOLD = 64


def by_our_clock(data: Mapping[str, Any], ahead_s: float) -> dict[str, Any]:
    """Return what a process whose clock is *ahead_s* ahead tells of a scope, in our instants."""
    if abs(ahead_s) < _SAME_S:
        return dict(data)
    return {name: _shifted(name, value, ahead_s) for name, value in data.items()}


class ScopeNews:
    """Folds in what others tell of scopes.

    Args:
        calendars_of: What a provider's limits of a period end with.
        prior_of: How a provider charges by its catalogue row.
    """

    def __init__(
        self,
        ledger: Ledger,
        search: LimitSearch,
        *,
        calendars_of: Callable[[str], Mapping[float, Calendar]],
        prior_of: Callable[[str], Admission],
    ) -> None:
        self._ledger = ledger
        self._search = search
        self._calendars_of = calendars_of
        self._prior_of = prior_of

    def fold_in(
        self, scope: QuotaScope, data: Mapping[str, Any], now: float, wall_ahead_s: float
    ) -> None:
        """Fold what another process tells (`scope_data`, in our instants) into *scope*.

        Raises:
            KeyError, TypeError, ValueError: The data are none of this version; nothing is changed.
        """
        calendars = self._calendars_of(scope.provider_id)
        # Each as it is there, and empty: to stand in the place of one whose level is known here.
        told = [
            tuple(
                window_of({**facts, **level}, calendars.get(facts["period_s"]), wall_ahead_s)
                for level in ({}, _EMPTY)
            )
            for facts in data["windows"]
        ]
        until, cause, detail = data["wait"]
        until, cause, detail = float(until), str(cause), str(detail)
        refused_at = float(data["counts"]["refused_at"])
        in_row = min(_REFUSALS_TOLD, int(data["counts"]["refusals_in_row"]))
        belief = None if data["charge"] is None else belief_of(data["charge"])
        for window, empty in told:
            # Who declares a limit does so to every process.
            if window.provenance not in _OWN_WORDS and window.observed_at is not None:
                self._fold_window(scope, window, empty, now)
        if until > now:
            scope.cooldown.extend(until, cause, detail)
        if refused_at > scope.statistics.refused_at and refused_at <= now + _SAME_S:
            scope.statistics.refused_at = refused_at
            scope.statistics.refusals_in_row = max(scope.statistics.refusals_in_row, in_row)
        if belief is not None:
            if scope.charge is None:
                scope.charge = ChargeLearner(self._prior_of(scope.provider_id))
            scope.charge.adopt(belief)

    def _fold_window(self, scope: QuotaScope, told: Window, empty: Window, now: float) -> None:
        mine = _match(scope, told)
        if mine is None:
            self._ledger.adopt(told, scope.account, now, None)
            self._search.told(scope)
            return
        if mine.observed_at is not None and mine.observed_at >= (told.observed_at or 0.0):
            return
        if type(mine) is not type(told) or mine.period_s != told.period_s:
            self._ledger.replace(mine, empty, scope.account, now)
            empty.observed_at = told.observed_at
        elif isinstance(mine, RemainingBucket):
            return
        else:
            if abs(mine.capacity - told.capacity) > _SAME_UNITS:
                mine.room(now)
                mine.resize(told.capacity, told.provenance)
            mine.provenance, mine.confidence = told.provenance, told.confidence
            if isinstance(mine, FixedWindow) and isinstance(told, FixedWindow):
                _align(mine, told, now)


#: Limits that a process has not been told by a provider.
_OWN_WORDS = (Provenance.DECLARED, Provenance.INFERRED)
_EMPTY: Mapping[str, Any] = {"used": 0.0, "charges": []}


def _match(scope: QuotaScope, told: Window) -> Window | None:
    """Find the window that *told* is about: of its period, else the one it was corrected from."""
    same = [
        window
        for window in scope.account.windows
        if (window.dimension, window.label) == (told.dimension, told.label)
    ]
    by_period = [window for window in same if window.period_s == told.period_s]
    if by_period:
        return by_period[0]
    declared = [w for w in same if w.declared is not None and w.declared == told.declared]
    open_ended = [window for window in same if isinstance(window, RemainingBucket)]
    return next(iter(declared or open_ended), None)


def _align(mine: FixedWindow, told: FixedWindow, now: float) -> None:
    if mine.calendar is None and now < told.reset_at != mine.reset_at:
        mine.align(told.reset_at, now)


def _shifted(name: str, value: Any, by_s: float) -> Any:
    """Return *value* of the field *name*, every instant in it earlier by *by_s*."""
    if isinstance(value, Mapping):
        return {inner: _shifted(inner, one, by_s) for inner, one in value.items()}
    if name == "windows" and isinstance(value, list):
        return [_shifted("", one, by_s) for one in value]
    if name in _BEGIN_WITH_INSTANT and isinstance(value, list) and value:
        if isinstance(value[0], list):
            return [_shifted(name, one, by_s) for one in value]
        return [_earlier(value[0], by_s), *value[1:]]
    return _earlier(value, by_s) if name in _INSTANTS else value


def _earlier(value: Any, by_s: float) -> Any:
    """Return an instant by our clock; 0 says that there is none."""
    is_instant = isinstance(value, int | float) and value > 0
    return value - by_s if is_instant else value
