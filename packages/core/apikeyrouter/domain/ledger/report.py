"""The ledger as people read it: states in words, forecasts as ranges."""

import math
from collections.abc import Sequence

from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.window import CAUTIOUS, Window
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    MONTH_S,
    Algorithm,
    Dimension,
    Provenance,
)
from apikeyrouter.domain.models.quota_state import (
    CapacityEstimate,
    CapacityState,
    CapacityUnit,
    ExhaustionPrediction,
    QuotaState,
    TimeWindow,
    WindowState,
)
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.quota_scope import QuotaScope

_ABUNDANT_ABOVE = 0.4
_CONSTRAINED_ABOVE = 0.1
_PERIOD_OF: dict[TimeWindow, float] = {
    TimeWindow.MINUTE: MINUTE_S,
    TimeWindow.HOURLY: HOUR_S,
    TimeWindow.DAILY: DAY_S,
    TimeWindow.MONTHLY: MONTH_S,
}
_METHOD_OF = {
    Provenance.HEADER: "exact",
    Provenance.ERROR_BODY: "exact",
    Provenance.ADMIN_API: "exact",
    Provenance.DECLARED: "estimated",
    Provenance.OPERATOR: "estimated",
    Provenance.INFERRED: "bounded",
}
#: A forecast from a rate this new is worth little.
_SETTLED_AFTER_S = 15.0


def quota_state_of(
    slot: KeySlot, scopes: Sequence[QuotaScope], now: float, time_window: TimeWindow | None
) -> QuotaState:
    """Describe what *slot* may still use of its *scopes*."""
    period = _PERIOD_OF.get(time_window) if time_window is not None else None
    owned = [
        (scope, window)
        for scope in scopes
        for window in scope.account.windows
        if window.label != CAUTIOUS and (period is None or window.period_s == period)
    ]
    windows = [window for _, window in owned]
    limits = [window for window in windows if window.algorithm is not Algorithm.CONCURRENT]
    tightest = max(limits or windows, key=lambda window: window.pressure(now), default=None)
    wake_at = max([slot.cooldown.until, *(scope.cooldown.until for scope in scopes)])
    state = QuotaState(
        id=f"quota-{slot.id}",
        key_id=slot.id,
        scope_id=scopes[0].id if scopes else "",
        capacity_state=_word_for(tightest, wake_at, now),
        updated_at=instant(now),
        windows=[_window_state(scope, window, now) for scope, window in owned],
        used_requests=sum(scope.statistics.served for scope in scopes),
        used_tokens=sum(scope.statistics.served_tokens for scope in scopes),
    )
    if tightest is not None:
        _describe(state, tightest, now)
    if wake_at > now:
        state.reset_at = instant(min(wake_at, 4e9))
    return state


def window_states(scope: QuotaScope, now: float) -> list[WindowState]:
    """Describe the windows of one scope."""
    return [_window_state(scope, window, now) for window in scope.account.windows]


def _window_state(scope: QuotaScope, window: Window, now: float) -> WindowState:
    room = window.room(now)
    return WindowState(
        dimension=window.dimension.value,
        algorithm=window.algorithm.value,
        period_s=window.period_s,
        capacity=window.capacity,
        used=max(0.0, window.used),
        remaining=max(0.0, room),
        provenance=window.provenance.value,
        confidence=window.confidence,
        age_s=now - window.observed_at if window.observed_at is not None else None,
        resets_in_s=window.resets_in(now),
        drift_per_s=window.drift_per_s,
        charge=_charge_on(scope, window),
    )


def _charge_on(scope: QuotaScope, window: Window) -> str:
    if scope.charge is None or window.dimension is not Dimension.TOKENS:
        return ""
    return scope.charge.belief.tell()


def predict(slot: KeySlot, scopes: Sequence[QuotaScope], now: float) -> ExhaustionPrediction:
    """Predict the first exhaustion over all windows of *scopes*."""
    soonest: ExhaustionPrediction | None = None
    for scope in scopes:
        for window in scope.account.windows:
            seen = _predict_window(slot, scope, window, now)
            if seen is None:
                continue
            at = seen.predicted_exhaustion_at
            best = soonest.predicted_exhaustion_at if soonest else None
            if soonest is None or (at is not None and (best is None or at < best)):
                soonest = seen
    return soonest or ExhaustionPrediction(key_id=slot.id)


def _predict_window(
    slot: KeySlot, scope: QuotaScope, window: Window, now: float
) -> ExhaustionPrediction | None:
    if window.algorithm is Algorithm.CONCURRENT or window.capacity <= 0:
        return None
    room = max(0.0, window.room(now))
    pace, spread = window.pace(now)
    refill = window.refills_per_s()
    told = ExhaustionPrediction(
        key_id=slot.id,
        scope_id=scope.id,
        window=window.name,
        usage_rate_per_s=pace,
        confidence=round(window.confidence * min(1.0, window.watched_s(now) / _SETTLED_AFTER_S), 2),
    )
    drains = pace - refill
    if drains <= 0 or pace <= 0:
        return told
    dry_in = room / drains
    slow, fast = pace * (1 - spread) - refill, pace * (1 + spread) - refill
    told.predicted_exhaustion_at = instant(min(now + dry_in, 4e9))
    told.earliest = instant(min(now + room / fast, 4e9))
    told.latest = instant(min(now + room / slow, 4e9)) if slow > 0 else None
    resets_in = window.resets_in(now)
    told.before_reset = bool(refill) or resets_in is None or dry_in < resets_in
    return told


def _word_for(tightest: Window | None, wake_at: float, now: float) -> CapacityState:
    if wake_at > now:
        return CapacityState.EXHAUSTED
    if tightest is None:
        return CapacityState.ABUNDANT
    left = 1.0 - tightest.pressure(now)
    if left > _ABUNDANT_ABOVE:
        return CapacityState.ABUNDANT
    if left > _CONSTRAINED_ABOVE:
        return CapacityState.CONSTRAINED
    least = 1.0 / tightest.capacity if tightest.capacity > 0 else math.inf
    return CapacityState.CRITICAL if left >= least else CapacityState.EXHAUSTED


def _describe(state: QuotaState, window: Window, now: float) -> None:
    room = max(0.0, window.room(now))
    state.total_capacity = window.capacity
    state.used_capacity = max(0.0, window.used)
    state.capacity_unit = _unit_of(window.dimension)
    state.time_window = next(
        (name for name, period in _PERIOD_OF.items() if period == window.period_s),
        TimeWindow.CUSTOM,
    )
    resets_in = window.resets_in(now)
    state.reset_at = instant(now + resets_in) if resets_in is not None else None
    state.remaining_capacity = CapacityEstimate(
        value=room,
        min_value=max(0.0, room - window.unconfirmed),
        max_value=room,
        confidence=window.confidence,
        estimation_method=_METHOD_OF[window.provenance],
        last_verified=instant(window.observed_at) if window.observed_at is not None else None,
    )


def _unit_of(dimension: Dimension) -> CapacityUnit:
    if dimension is Dimension.REQUESTS:
        return CapacityUnit.REQUESTS
    if dimension in (Dimension.TOKENS, Dimension.INPUT_TOKENS, Dimension.OUTPUT_TOKENS):
        return CapacityUnit.TOKENS
    return CapacityUnit.MIXED
