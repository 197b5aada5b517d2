"""How fast limits are used, when they run dry, and what choices make of it."""

from typing import Any

import pytest

from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.algorithms import make_window
from apikeyrouter.domain.ledger.report import predict
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import DAY_S, HOUR_S, MINUTE_S, Algorithm, Dimension
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective, instant
from apikeyrouter.domain.quota_scope import Membership, QuotaScope
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.scoring import make_score

pytestmark = pytest.mark.unit
SLOT = KeySlot(
    record=APIKey(id="k", provider_id="p", key_material="x", created_at=instant(0.0)), secret="x"
)


def scope_with(*windows: Window) -> QuotaScope:
    scope = QuotaScope("s", "p", Membership("a"))
    scope.account.windows.extend(windows)
    return scope


def window_of(algorithm: Algorithm, capacity: float, period_s: float, **more: Any) -> Window:
    return make_window(algorithm, Dimension.REQUESTS, capacity, period_s, 0.0, **more)


def use(window: Window, per_s: float, seconds: int, start: int = 0) -> float:
    """Take *per_s* units each second; return the last instant."""
    for second in range(start + 1, start + seconds + 1):
        window.take(per_s, float(second))
    return float(start + seconds)


@pytest.mark.parametrize(
    ("algorithm", "capacity", "period_s", "per_s", "dry_at", "before_reset"),
    [
        (Algorithm.FIXED, 1000, HOUR_S, 5.0, 200.0, True),
        (Algorithm.FIXED, 1000, MINUTE_S * 2, 5.0, 200.0, False),
        (Algorithm.TOKEN_BUCKET, 600, MINUTE_S, 15.0, 120.0, True),
        (Algorithm.TOKEN_BUCKET, 600, MINUTE_S, 5.0, None, True),
        (Algorithm.FIXED, 1000, HOUR_S, 0.0, None, True),
    ],
    ids=["before its reset", "after its reset", "faster than it refills", "slower", "idle"],
)
def test_exhaustion_is_foreseen_from_the_pace(
    algorithm: Algorithm,
    capacity: float,
    period_s: float,
    per_s: float,
    dry_at: float | None,
    before_reset: bool,
) -> None:
    more = {"reset_at": period_s} if algorithm is Algorithm.FIXED else {}
    window = window_of(algorithm, capacity, period_s, **more)
    now = use(window, per_s, 40)
    told = predict(SLOT, [scope_with(window)], now)
    assert told.usage_rate_per_s == pytest.approx(per_s, rel=0.05, abs=1e-9)
    if dry_at is None:
        assert told.predicted_exhaustion_at is None
        return
    assert told.predicted_exhaustion_at.timestamp() == pytest.approx(dry_at, abs=12.0)
    assert told.earliest <= told.predicted_exhaustion_at <= told.latest
    assert told.before_reset is before_reset
    assert told.confidence == 1.0


def test_range_is_wide_while_the_pace_jumps_and_confidence_low_while_it_is_new() -> None:
    steady, jumping = (window_of(Algorithm.FIXED, 1e4, HOUR_S, reset_at=HOUR_S) for _ in range(2))
    use(steady, 10.0, 60)
    for second in range(1, 61):
        jumping.take(20.0 * (second // 5 % 2), float(second))
    sure, unsure = (predict(SLOT, [scope_with(w)], 60.0) for w in (steady, jumping))
    assert sure.latest - sure.earliest < unsure.predicted_exhaustion_at - unsure.earliest
    fresh = window_of(Algorithm.FIXED, 1e4, HOUR_S, reset_at=HOUR_S)
    now = use(fresh, 10.0, 3)
    assert predict(SLOT, [scope_with(fresh)], now).confidence <= 0.2


def test_the_first_of_several_windows_to_run_dry_is_told() -> None:
    minute = window_of(Algorithm.TOKEN_BUCKET, 600, MINUTE_S)
    day = window_of(Algorithm.FIXED, 500, DAY_S, reset_at=DAY_S)
    for window in (minute, day):
        use(window, 5.0, 40)
    assert predict(SLOT, [scope_with(minute, day)], 40.0).window == "requests per day"


def candidate_with(window: Window, **more: Any) -> Candidate:
    candidate = Candidate(pool=None, scope=scope_with(window), priority=0, **more)
    candidate.add(SLOT)
    return candidate


@pytest.mark.parametrize(
    ("preferred", "other"),
    [
        # Half used each: one empties in a minute, the other in an hour.
        ((500.0, 0.0, 60.0), (500.0, 0.0, HOUR_S)),
        # The same share used and the same reset: one is used too fast to last.
        ((500.0, 0.01, HOUR_S), (500.0, 5.0, HOUR_S)),
        # Nearly used up but about to expire, against nearly fresh and running out.
        ((800.0, 0.0, 10.0), (300.0, 8.0, HOUR_S)),
    ],
    ids=["what expires soon", "what lasts", "what expires before what runs out"],
)
def test_what_would_expire_is_spent_and_what_would_run_out_is_spared(
    preferred: tuple[float, float, float], other: tuple[float, float, float]
) -> None:
    score = make_score(RoutingObjective())
    scores = []
    for used, per_s, resets_in_s in (preferred, other):
        window = window_of(Algorithm.FIXED, 1000, HOUR_S, reset_at=40.0 + resets_in_s)
        now = use(window, per_s, 40)
        window.used = used
        scores.append(score(candidate_with(window), now))
    assert scores[0] < scores[1]


@pytest.mark.parametrize("objective", list(ObjectiveType))
def test_every_objective_puts_what_runs_low_at_the_end_of_the_order(
    objective: ObjectiveType,
) -> None:
    score = make_score(RoutingObjective(primary=objective))
    low, fresh = (window_of(Algorithm.TOKEN_BUCKET, 100, MINUTE_S) for _ in range(2))
    low.used = 99.0
    assert score(candidate_with(low), 0.0) > 1.0 >= score(candidate_with(fresh), 0.0)


def test_weighted_objectives_add() -> None:
    window = window_of(Algorithm.TOKEN_BUCKET, 100, MINUTE_S)
    fast, slow = candidate_with(window), candidate_with(window)
    fast.health.note_success(0.1, 0.0)
    slow.health.note_success(4.0, 0.0)
    slow.health.success = fast.health.success = 1.0
    only_reliable = make_score(RoutingObjective(primary="reliability"))
    also_fast = make_score(RoutingObjective(weights={"reliability": 0.5, "latency": 0.5}))
    assert only_reliable(fast, 0.0) == only_reliable(slow, 0.0)
    assert also_fast(fast, 0.0) < also_fast(slow, 0.0)
