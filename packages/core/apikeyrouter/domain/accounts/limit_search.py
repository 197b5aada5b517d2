"""What is done about limits that nobody tells: few calls first, then a cautious search.

A scope of which nothing is known gets few calls at once, and one more with
every answer. A refusal that no known limit explains says two things: so many
calls at once were too many, and so many a second were. Both become windows:
they fall at once to what was let in, stay there, and are raised by little
after ever longer while; so the search closes in on the limit and costs few
refusals. What a provider tells takes their place. A provider that asks to slow
down gets half the pace, which then grows back.
"""

from collections.abc import Callable
from dataclasses import dataclass

from apikeyrouter.domain.ledger.algorithms import Concurrent
from apikeyrouter.domain.ledger.ledger import Ledger
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.ledger.window import CAUTIOUS, Window
from apikeyrouter.domain.models.events import Event, LimitLearned
from apikeyrouter.domain.models.observation import MINUTE_S, Algorithm, Dimension, Provenance
from apikeyrouter.domain.quota_scope import QuotaScope

#: Calls at once on a scope of which nothing is known; one more for each that succeeds.
FIRST_CALLS = 8
#: So many calls at once are held back no more.
TRUSTED_CALLS = 64
#: A limit is raised by one call at once no sooner than this after the last time.
_ONE_MORE_AFTER_S = 10.0
#: A pace may be this far ahead of itself.
_BURST_S = 1.0
#: What a refusal leaves of the pace: of one measured for long, for a moment, and not at all.
_EXACT, _ROUGH, _BLIND = 0.98, 0.9, 0.7
_EXACT_AFTER_S, _ROUGH_AFTER_S = 20.0, 5.0
#: Below its ceiling a pace grows back within this time; over it by this share a second.
_RECOVERY_S = 30.0
_NEAR = 0.95
_PROBE_PER_S = 0.002
#: How long the pace stays under its ceiling; doubled whenever a refusal confirms it.
_FIRST_HOLD_S, _LONGEST_HOLD_S = 30.0, 600.0
_SAME = 0.1
_SLOWEST_PER_S = 1.0 / MINUTE_S
#: A known limit that is used up to here explains a refusal.
_EXPLAINS_FROM = 0.9
#: Beside known limits, or after so few calls, one refusal may be chance; a second within this
#: time is none. A pace found by so few calls is rough: no slower than this, and soon doubled.
_PUZZLED_FOR_S = 120.0
_TELLING_CALLS = 10
_DOUBLES_IN_S, _ROUGH_PER_S = 5.0, 0.5


class Pace(TokenBucket):
    """Requests a second, as found by refusals.

    Attributes:
        ceiling: The pace at which the last refusal came.
        wanted_at: When it last held somebody up; an idle pace does not grow.
        is_rough: It was found by so few calls that it may be far too slow.
        is_passing: It goes once it has grown back to its ceiling.
    """

    __slots__ = (
        "ceiling", "grown_at", "hold_s", "is_passing", "is_rough", "probe_at", "wanted_at",
    )  # fmt: skip

    def __init__(self, per_s: float, ceiling: float, now: float, *, is_passing: bool) -> None:
        super().__init__(
            Dimension.REQUESTS, 1.0, 1.0, now, provenance=Provenance.INFERRED, label="paced"
        )
        self.ceiling = ceiling
        self.hold_s = _FIRST_HOLD_S
        self.is_passing = is_passing
        self.is_rough = False
        self.wanted_at = self.grown_at = now
        self.probe_at = now + self.hold_s
        self.go_at(per_s)
        # Nothing of it is free yet: the refusal said that everything is used.
        self.used = self.capacity

    def lacks(self, amount: float, now: float) -> bool:
        """Tell whether *amount* has to wait, and remember that somebody had to."""
        lacks = super().lacks(amount, now)
        if lacks:
            self.wanted_at = now
        return lacks

    def go_at(self, per_s: float) -> None:
        """Let so many requests a second pass from now on."""
        per_s = max(per_s, _SLOWEST_PER_S)
        self.capacity = max(1.0, per_s * _BURST_S)
        self.period_s = self.capacity / per_s
        self._pace_at(per_s)

    def grow(self, now: float) -> None:
        """Raise it as time allows: fast to just under the ceiling, little by little beyond."""
        elapsed, self.grown_at = now - self.grown_at, now
        if now - self.wanted_at > _ONE_MORE_AFTER_S:
            return
        near = _NEAR * self.ceiling
        if self.is_rough:
            self.go_at(self.rate * 2.0 ** min(elapsed / _DOUBLES_IN_S, 3.0))
        elif self.rate < near:
            self.go_at(min(near, self.rate + self.ceiling * elapsed / _RECOVERY_S))
        elif now >= self.probe_at:
            self.go_at(self.rate + self.ceiling * _PROBE_PER_S * elapsed)

    def fall(self, to: float, ceiling: float, now: float) -> None:
        """Go slower after a refusal; one where the last one was confirms both."""
        agrees = abs(ceiling - self.ceiling) <= _SAME * self.ceiling
        self.hold_s = min(_LONGEST_HOLD_S, 2.0 * self.hold_s) if agrees else _FIRST_HOLD_S
        self.confidence = 1.0 - 0.5 * (1.0 - self.confidence) if agrees else 0.3
        self.ceiling = ceiling
        self.probe_at = now + self.hold_s
        self.go_at(to)

    def _rename(self) -> None:
        self.name = f"paced {self.dimension.value}"


@dataclass(slots=True)
class _Search:
    """What is being found out of one scope.

    Attributes:
        ramp: Lets few calls at once through; one more with every answer until `is_met`.
        since: When counting began, at the first call or the last refusal.
        served: The scope's count of answers at that instant.
        has_stood_still: Nothing was let in since that refusal.
        puzzled_at: The last refusal that no known limit explained.
    """

    since: float
    served: int
    has_stood_still: bool = False
    ramp: Window | None = None
    is_met: bool = False
    raised_at: float = 0.0
    pace: Pace | None = None
    puzzled_at: float = -_PUZZLED_FOR_S


class LimitSearch:
    """Keeps the inferred windows of scopes."""

    def __init__(self, ledger: Ledger, *, emit: Callable[[Event], None]) -> None:
        self._ledger = ledger
        self._emit = emit
        self._search_of: dict[QuotaScope, _Search] = {}

    def begin(self, scope: QuotaScope, now: float) -> None:
        """Let few calls at once through until something is learned of *scope*."""
        self._hold_back(scope, self._search(scope, now), FIRST_CALLS, now)

    def answered(self, scope: QuotaScope, now: float) -> None:
        """Fold in one call that was let in. Only asked while `scope.is_searched`."""
        search = self._search(scope, now)
        if search.has_stood_still:
            search.has_stood_still = False
            # A long standstill is no part of the pace; a short one refilled what follows.
            if now - search.since > _ROUGH_AFTER_S:
                search.since = now
        if search.ramp is not None:
            self._open_up(scope, search, search.ramp, now)
        pace = search.pace
        if pace is not None:
            pace.grow(now)
            if pace.is_passing and pace.rate >= pace.ceiling:
                self._drop_pace(scope, search)
        scope.is_searched = search.ramp is not None or search.pace is not None

    def refused(self, scope: QuotaScope, now: float, *, told: bool, is_first: bool) -> None:
        """Fold in one refusal.

        Args:
            told: It told figures, which are windows by now.
            is_first: Of the calls that were under way together.
        """
        tight = _tight_windows(scope, now)
        if is_first:
            for window in tight:
                window.widen_margin()
        if told or tight:
            return
        search = self._search(scope, now)
        knows_limits = _knows_limits(scope)
        if not knows_limits:
            search.is_met = True
            search.raised_at = now
            self._hold_back(scope, search, scope.account.in_flight, now)
        if not is_first:
            return
        puzzled_before = now - search.puzzled_at < _PUZZLED_FOR_S
        search.puzzled_at = now
        let_in, elapsed = scope.statistics.served - search.served, now - search.since
        tells_little = knows_limits or let_in < _TELLING_CALLS
        if let_in <= 0 or (tells_little and not puzzled_before):
            return
        search.since, search.served, search.has_stood_still = now, scope.statistics.served, True
        self._slow_to(scope, search, *_measured(search.pace, let_in, elapsed), now, knows_limits)
        if search.pace is not None:
            search.pace.is_rough = let_in < _TELLING_CALLS

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
        scope.is_searched = search.ramp is not None or search.pace is not None

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

    def _search(self, scope: QuotaScope, now: float) -> _Search:
        search = self._search_of.get(scope)
        if search is None:
            search = self._search_of[scope] = _Search(now, scope.statistics.served)
        return search

    def _hold_back(self, scope: QuotaScope, search: _Search, calls: int, now: float) -> None:
        calls = max(1, calls)
        if search.ramp is not None:
            search.ramp.resize(min(calls, search.ramp.capacity), Provenance.INFERRED)
            search.ramp.confidence = 0.3
        elif calls < TRUSTED_CALLS:
            search.ramp = Concurrent(
                Dimension.CONCURRENCY, calls, 0.0, now,
                provenance=Provenance.INFERRED, label=CAUTIOUS,
            )  # fmt: skip
            self._ledger.adopt(search.ramp, scope.account, now, None)
        scope.is_searched = True

    def _open_up(self, scope: QuotaScope, search: _Search, ramp: Window, now: float) -> None:
        if not search.is_met:
            # Known limits are no reason to hold back; that the other keys' answers are on
            # their way is one not to give everything that waits to the first that came.
            ramp.capacity *= 2 if _knows_limits(scope) else 1
            ramp.capacity += 1
        elif ramp.used >= ramp.capacity - 1 and now - search.raised_at >= _ONE_MORE_AFTER_S:
            ramp.capacity += 1
            search.raised_at = now
        if ramp.capacity > TRUSTED_CALLS:
            self._drop_ramp(scope, search)
        else:
            scope.notify_capacity()

    def _slow_to(
        self,
        scope: QuotaScope,
        search: _Search,
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
        self._emit(
            LimitLearned(
                at=now,
                scope_id=scope.id,
                window=pace.name,
                before=before,
                after=pace.rate * MINUTE_S,
                provenance=Provenance.INFERRED.value,
            )
        )

    def _recent(self, scope: QuotaScope, search: _Search, now: float) -> float:
        """Return the requests a second of late."""
        for window in scope.account.windows:
            if window.dimension is Dimension.REQUESTS and window.pace(now)[0] > 0:
                return window.pace(now)[0]
        return (scope.statistics.served - search.served) / max(1.0, now - search.since)

    def _drop_ramp(self, scope: QuotaScope, search: _Search) -> None:
        assert search.ramp is not None  # noqa: S101 - the callers have looked
        scope.account.windows.remove(search.ramp)
        search.ramp = None
        scope.notify_capacity()

    def _drop_pace(self, scope: QuotaScope, search: _Search) -> None:
        assert search.pace is not None  # noqa: S101 - the callers have looked
        scope.account.windows.remove(search.pace)
        search.pace = None
        scope.notify_capacity()


def _measured(pace: Pace | None, let_in: int, elapsed: float) -> tuple[float, float]:
    """Return the pace to go at, and the one that was refused, from what was let in since.

    The first refusal ends a bucket that began full, as those of a minute do. Between two
    refusals exactly what refilled was let in, so the longer the time, the surer the pace.
    """
    if pace is None:
        per_s = let_in / (MINUTE_S + elapsed)
        if let_in < _TELLING_CALLS:
            per_s = max(per_s, _ROUGH_PER_S)
        return _NEAR * per_s, per_s
    if elapsed < _ROUGH_AFTER_S:
        return _BLIND * pace.rate, pace.rate
    per_s = min(pace.rate, let_in / elapsed)
    return per_s * (_EXACT if elapsed >= _EXACT_AFTER_S else _ROUGH), per_s


def _knows_limits(scope: QuotaScope) -> bool:
    return any(window.provenance is not Provenance.INFERRED for window in scope.account.windows)


def _tight_windows(scope: QuotaScope, now: float) -> list[Window]:
    """Return the known limits that explain a refusal: there is little left of them."""
    return [
        window
        for window in scope.account.windows
        if window.provenance is not Provenance.INFERRED
        and window.algorithm is not Algorithm.CONCURRENT
        and window.pressure(now) >= _EXPLAINS_FROM
    ]
