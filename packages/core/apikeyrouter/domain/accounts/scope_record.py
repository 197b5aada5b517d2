"""What lasts of a scope: its windows, its waits, what was counted and found out.

A record is taken up when its scope is first asked for. Limits that are declared now go
before those that were declared when it was kept; the level goes over to them.
"""

from collections.abc import Mapping
from typing import Any

from apikeyrouter.domain.accounts.charge_learning import Belief, ChargeLearner
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.accounts.searching.search_record import search_data, search_of
from apikeyrouter.domain.accounts.window_record import window_data, window_of
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.ledger.algorithms import Concurrent
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.quota_scope import Membership, QuotaScope

_COUNTS = ("served", "served_tokens", "refused", "refused_at", "refusals_in_row")
_RULES = ("counts_cap", "larger_of", "input_only", "settles", "counts_cached", "by_bytes")


def scope_data(scope: QuotaScope, search: LimitSearch, now: float) -> dict[str, Any]:
    """Return what lasts of a scope, as of *now*."""
    member, wait, found = scope.membership, scope.cooldown, search.state_of(scope)
    guesses = found.windows() if found is not None else []
    charge = scope.charge
    return {
        "provider": scope.provider_id,
        "account": member.account,
        "group": scope.group,
        "basis": member.basis,
        "confidence": member.confidence,
        "wait": [wait.until, wait.cause, wait.detail],
        "counts": {name: getattr(scope.statistics, name) for name in _COUNTS},
        "windows": [
            window_data(window, now)
            for window in scope.account.windows
            if not any(window is guess for guess in guesses)
        ],
        "search": None if found is None else search_data(found, now),
        "charge": None if charge is None or not charge.belief.answers else _belief_data(charge),
    }


def restore_scope(
    scope: QuotaScope,
    data: Mapping[str, Any],
    search: LimitSearch,
    *,
    calendars: Mapping[float, Calendar],
    wall_ahead_s: float,
    prior: Admission,
) -> None:
    """Bring a scope, fresh but for its declared limits, to what was kept of it.

    Raises:
        KeyError, TypeError, ValueError: The data are none of this version; nothing is changed.
    """
    kept = [
        window_of(window, calendars.get(window["period_s"]), wall_ahead_s)
        for window in data["windows"]
    ]
    found = None if data["search"] is None else search_of(data["search"])
    counts = {name: data["counts"][name] for name in _COUNTS}
    until, cause, detail = data["wait"]
    learner = None if data["charge"] is None else _learner(data["charge"], prior)
    for window in kept:
        _take_up(scope, window)
    for name, count in counts.items():
        setattr(scope.statistics, name, count)
    scope.cooldown.extend(until, cause, detail)
    scope.charge = learner
    if found is not None:
        search.resume(scope, found)


def member_of(data: Mapping[str, Any]) -> Membership:
    """Return whose account a kept scope is of."""
    return Membership(str(data["account"]), str(data["basis"]), float(data["confidence"]))


def _take_up(scope: QuotaScope, kept: Window) -> None:
    windows = scope.account.windows
    for place, window in enumerate(windows):
        is_same = (window.dimension, window.label) == (kept.dimension, kept.label)
        if not is_same or window.declared is None:
            continue
        if kept.declared == window.declared:
            # Unless what a report told of its period says otherwise, it is the one declared.
            windows[place] = kept
            return
        if window.period_s == kept.period_s:
            if not isinstance(window, Concurrent):
                window.take(kept.used, kept.at)
            return
    if kept.declared is None:
        windows.append(kept)


def _belief_data(charge: ChargeLearner) -> dict[str, Any]:
    belief = charge.belief
    rules = {name: getattr(belief.admission, name) for name in _RULES}
    return {"answers": belief.answers, "confidence": belief.confidence, "rules": rules}


def belief_of(data: Mapping[str, Any]) -> Belief:
    """Return what is believed of how an account charges.

    Raises:
        KeyError, TypeError, ValueError: The data are none of this version.
    """
    rules = Admission(**{name: bool(data["rules"][name]) for name in _RULES})
    return Belief(rules, int(data["answers"]), float(data["confidence"]))


def _learner(data: Mapping[str, Any], prior: Admission) -> ChargeLearner:
    learner = ChargeLearner(prior)
    learner.adopt(belief_of(data))
    return learner
