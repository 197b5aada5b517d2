"""A refusal is explained by a pace, or by what was let in within the last minute.

One refusal may be chance: one call more finds out. The second in a row is none. A pace is what a
bucket of a minute would have let in; where a call is refused although such a bucket should have
refilled, the last minute is counted instead.
"""

from collections.abc import Callable

from apikeyrouter.domain.accounts.searching.doubt import NEAR, Doubts, GuessedMinute
from apikeyrouter.domain.accounts.searching.pace import Pace
from apikeyrouter.domain.accounts.searching.ramp import Scouts
from apikeyrouter.domain.accounts.searching.search_state import (
    LATEST_ONE_MORE_S,
    Explanation,
    Gate,
    SearchState,
)
from apikeyrouter.domain.feed.events import Event, LimitLearned
from apikeyrouter.domain.ledger.algorithms import Concurrent
from apikeyrouter.domain.ledger.ledger import Ledger
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension, Provenance
from apikeyrouter.domain.quota_scope import QuotaScope

#: What a refusal leaves of the pace: of one measured for long, for a moment, and not at all.
_EXACT, _ROUGH, _BLIND = 0.98, 0.9, 0.7
_EXACT_AFTER_S, _ROUGH_AFTER_S = 20.0, 5.0
#: Beside known limits, or after so few calls, one refusal may be chance; a second within this
#: time is none. A pace found by so few calls is rough: no slower than this, and soon doubled.
_TELLING_CALLS = 10
#: Between two refusals in a row no more was let in than what was under way already.
_CHANCE_CALLS = 1
#: Refusals closer than so many calls let in between are no chance, though each told a wait.
_FREQUENT_CALLS = 5
#: So many of the calls under way at a refusal, and such a part of them, are not refused by chance.
_MANY_CALLS, _MANY_OF = 4, 0.15
#: Refusals within so long of each other are of one burst.
_BURST_S = 0.3
#: After so long some answer has shown that the refusal was chance.
_GATE_S = 1.0
_ROUGH_PER_S = 0.5
#: A bucket that should have refilled by so many units and let nothing in is none.
_SURELY_REFILLED = 1.4
#: Calls overtake each other on their way: a guessed minute is a little longer.
_MINUTE_AND_JITTER_S = MINUTE_S + 0.2
#: Of a rolling minute so much more is tried a second.
_PROBE_PER_S = 0.001
#: After one refusal that may be chance a call is tried so soon.
CHANCE_S = 0.25


class PaceSearch:
    """Keeps guessed paces and minutes of scopes.

    Args:
        chance_s: Seconds after which a refusal that may be chance is tried again.
    """

    def __init__(
        self, ledger: Ledger, *, emit: Callable[[Event], None], chance_s: float = CHANCE_S
    ) -> None:
        self._chance_s = chance_s
        self._ledger = ledger
        self._emit = emit
        self._search_of: dict[QuotaScope, SearchState] = {}
        #: What accounts of a provider have shown: its siblings are alike until they differ.
        self._shown: dict[str, Explanation] = {}
        self._doubts = Doubts()

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
                    self._too_fast(other, search, now, is_shown=True)

    def _note_let_in(self, scope: QuotaScope, search: SearchState, now: float) -> None:
        """Fold in that a call was let in since the last refusal."""
        let_in = admitted(scope) - search.served
        if search.has_stood_still and let_in > 0:
            search.has_stood_still = False
            # A long standstill is no part of the pace; a short one refilled what follows.
            if now - search.since > _ROUGH_AFTER_S:
                search.since = now
        if search.gate is not None:
            self._open_gate(scope, search, search.gate, now)
        if search.pace is not None and let_in >= _TELLING_CALLS:
            search.is_paced = True

    def _too_fast(
        self,
        scope: QuotaScope,
        search: SearchState,
        now: float,
        *,
        waits: bool = False,
        is_shown: bool = False,
    ) -> float | None:
        """Slow down after a refusal that calls at once do not explain.

        Args:
            waits: A wait was told.
            is_shown: A sibling has shown the reason: it is no chance.
        """
        if search.minute is not None:
            return self._lower_minute(scope, search, search.minute, now)
        if not waits and self._is_passing(scope, search, now):
            # What waits goes out little by little.
            self._close_gate(scope, search, now, one_by_one=True)
            return None
        let_in, elapsed = admitted(scope) - search.served, now - search.since
        knows_limits = knows_limits_of(scope)
        if not knows_limits and self._is_minute(scope, search, let_in, now):
            return self._count_minute(scope, search, now)
        if not is_shown and self._may_be_chance(scope, search, now, waits=waits):
            search.puzzled = admitted(scope)
            self._close_gate(scope, search, now, one_by_one=waits)
            # A bucket would have refilled by one very soon: that must not pass for chance.
            return self._chance_s if knows_limits else 0.0
        self._drop_gate(scope, search)
        search.puzzled = admitted(scope)
        if not knows_limits:
            self._shown.setdefault(scope.provider_id, Explanation.PACE)
        if let_in <= 0 and (not search.is_paced or elapsed < _BURST_S):
            return None
        search.since, search.served = now, admitted(scope)
        search.has_stood_still = True
        # Beside known limits the first guess is a rough one: what else is limited is not requests.
        is_rough = let_in < _TELLING_CALLS or (knows_limits and search.pace is None)
        self._slow_to(scope, search, *_measured(search, let_in, elapsed), now, False)
        if search.pace is not None:
            search.pace.is_rough = is_rough
            is_told = waits or knows_limits
            if is_told:
                search.pace.doubt = None
            elif search.pace.doubt is None:
                search.pace.doubt = self._doubts.of(scope.provider_id, now)
        return None

    def _is_passing(self, scope: QuotaScope, search: SearchState, now: float) -> bool:
        """Tell whether a refusal has no reason that lasts, as guesses before it had none."""
        let_in, elapsed_s = scope.statistics.served - search.served, now - search.since
        if not self._doubts.is_passing(scope.provider_id, let_in, elapsed_s, now):
            return False
        search.since, search.served = now, scope.statistics.served
        return True

    def _begin_anew(self, scope: QuotaScope, now: float) -> None:
        """Forget what was guessed of a provider's accounts: one lets in far more."""
        provider_id = scope.provider_id
        self._doubts.refute(provider_id, self._search_of[scope].guessed_per_s(), now)
        self._shown.pop(provider_id, None)
        for other, search in self._search_of.items():
            if other.provider_id == provider_id and search.doubt() is not None:
                self._drop_pace(other, search)
                self._drop_minute(other, search)
                self._drop_gate(other, search)
                search.begin_anew(admitted(other), now)

    def _refused_too(self, scope: QuotaScope, search: SearchState, now: float) -> float | None:
        """Fold in that a call was refused which began before the last refusal did.

        Where that one may have been chance, many of them tell that it was none.
        """
        gate = search.gate
        if gate is None or isinstance(gate.window, Scouts) or search.minute is not None:
            return None
        gate.refused += 1
        if gate.refused >= max(_MANY_CALLS, _MANY_OF * gate.calls):
            return self._too_fast(scope, search, now, is_shown=True)
        return None

    def _may_be_chance(
        self, scope: QuotaScope, search: SearchState, now: float, *, waits: bool
    ) -> bool:
        """Tell whether one refusal may have no reason that lasts: the next calls find out.

        One at a pace that is being tried has a reason, and so have two in a row: soon after each
        other where a wait was told, and without a call let in between where none was.
        """
        pace = search.pace
        if pace is not None and not pace.is_rough and now >= pace.probe_at:
            return False
        if pace is None and self._shown.get(scope.provider_id) is Explanation.PACE:
            return False
        most = _FREQUENT_CALLS if waits else _CHANCE_CALLS
        return search.puzzled < 0 or admitted(scope) - search.puzzled > most

    def _close_gate(
        self, scope: QuotaScope, search: SearchState, now: float, *, one_by_one: bool
    ) -> None:
        """Let one call beside those under way find out whether a refusal was chance.

        Args:
            one_by_one: There may be room for few: scouts go first, also when a wait is over.
        """
        self._drop_gate(scope, search)
        calls = scope.account.in_flight
        if one_by_one:
            window: Concurrent = Scouts(now)
            scope.account.windows.append(window)
        else:
            window = Concurrent(
                Dimension.CONCURRENCY, calls + 1, 0.0, now,
                provenance=Provenance.INFERRED, label="trying",
            )  # fmt: skip
            self._ledger.adopt(window, scope.account, now, None)
        search.gate = Gate(window, now, scope.statistics.served, calls)
        scope.is_searched = True

    def _open_gate(self, scope: QuotaScope, search: SearchState, gate: Gate, now: float) -> None:
        if isinstance(gate.window, Scouts):
            is_open = gate.window.ended > _FREQUENT_CALLS
        else:
            answered = scope.statistics.served - gate.served
            is_open = answered > gate.calls or now - gate.since >= _GATE_S
        if is_open:
            self._drop_gate(scope, search)

    def _drop_gate(self, scope: QuotaScope, search: SearchState) -> None:
        gate, search.gate = search.gate, None
        if gate is not None:
            lift(gate.window, scope)

    def _is_minute(self, scope: QuotaScope, search: SearchState, let_in: int, now: float) -> bool:
        """Tell whether a bucket should have let something in since the last refusal."""
        pace = search.pace
        if self._shown.get(scope.provider_id) is Explanation.LAST_MINUTE:
            return True
        if pace is None or pace.is_passing or pace.is_rough or search.is_paced or let_in > 0:
            return False
        return pace.ceiling * (now - search.since) >= _SURELY_REFILLED

    def _count_minute(self, scope: QuotaScope, search: SearchState, now: float) -> float:
        """Take what was let in within the last minute for the limit of every minute."""
        count = _within_last_minute(scope, search, now)
        self._drop_pace(scope, search)
        minute = GuessedMinute.of(search.log, count, _MINUTE_AND_JITTER_S, now, "guessed")
        minute.doubt = self._doubts.of(scope.provider_id, now)
        minute.doubt.rounds.rest(now)
        search.minute, search.minute_grown_at = minute, now
        self._ledger.adopt(minute, scope.account, now, None)
        # What open holds have taken is in the log only once it is answered.
        scope.is_searched = True
        self._show(scope, Explanation.LAST_MINUTE, now)
        for other, waiting in list(self._search_of.items()):
            if other.provider_id == scope.provider_id and waiting.has_guessed_pace(
                admitted(other), now
            ):
                self._count_minute(other, waiting, now)
        self._tell(scope, minute, None, count, now)
        return max(0.0, minute.fits_at(1.0, now) - now)

    def _lower_minute(
        self, scope: QuotaScope, search: SearchState, minute: GuessedMinute, now: float
    ) -> float:
        minute.doubt.restart(now)
        before, minute.capacity = minute.capacity, _within_last_minute(scope, search, now)
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
        return (admitted(scope) - search.served) / max(1.0, now - search.since)

    def _drop_pace(self, scope: QuotaScope, search: SearchState) -> None:
        pace, search.pace = search.pace, None
        if pace is not None:
            lift(pace, scope)

    def _drop_minute(self, scope: QuotaScope, search: SearchState) -> None:
        minute, search.minute = search.minute, None
        if minute is not None:
            lift(minute, scope)

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


def admitted(scope: QuotaScope) -> int:
    """Return how many calls were let in: those under way have not been refused either."""
    shared = scope.account.shared
    elsewhere: int = 0 if shared is None else shared.admitted_elsewhere
    return scope.statistics.served + scope.account.in_flight + elsewhere


def under_way(scope: QuotaScope) -> int:
    """Return how many calls are under way, those of other processes included."""
    shared = scope.account.shared
    elsewhere: int = 0 if shared is None else shared.calls_elsewhere
    return scope.account.in_flight + elsewhere


def is_one_too_many(scope: QuotaScope, beside: int, now: float) -> bool:
    """Tell whether a refused call was one more than *beside* others that may be let in at once.

    Not where as many were let in of late.
    """
    return beside > 0 and beside >= scope.statistics.proven_calls(now)


def lift(window: Window, scope: QuotaScope) -> None:
    """Take a guessed window away: something may fit sooner."""
    scope.account.windows.remove(window)
    scope.notify_capacity()


def knows_limits_of(scope: QuotaScope) -> bool:
    """Tell whether any limit of the scope was declared or told."""
    return any(window.provenance is not Provenance.INFERRED for window in scope.account.windows)


def _within_last_minute(scope: QuotaScope, search: SearchState, now: float) -> float:
    """Return how many calls were let in within the last minute, those under way included."""
    search.log.room(now)
    return max(1.0, search.log.used + scope.account.in_flight)


def _measured(search: SearchState, let_in: int, elapsed: float) -> tuple[float, float]:
    """Return the pace to go at, and the one that was refused, from what was let in since.

    The first refusal ends a bucket that began full, as those of a minute do. Between two
    refusals exactly what refilled was let in, so the longer the time, the surer the pace.
    """
    pace = search.pace
    if pace is None:
        # After a guess was refuted nobody knows whether the bucket was full.
        full_s = 1.0 if search.has_begun_anew else MINUTE_S
        per_s = let_in / (full_s + elapsed)
        if let_in < _TELLING_CALLS:
            per_s = max(per_s, _ROUGH_PER_S)
        return NEAR * per_s, per_s
    if elapsed < _ROUGH_AFTER_S:
        return _BLIND * pace.rate, pace.rate
    per_s = min(pace.rate, let_in / elapsed)
    return per_s * (_EXACT if elapsed >= _EXACT_AFTER_S else _ROUGH), per_s
