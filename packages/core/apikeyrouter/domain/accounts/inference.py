"""Which keys share an account, found out from what providers count.

A window knows what went out through its own keys, and what its provider has
counted; the rest was taken by somebody else. Where that rest is just what
other keys of ours sent meanwhile, they draw on the same account. Scopes that
see more counted than they sent are watched beside each other; every comparison
rules out groups that do not fit, and one that all its members come to is
joined. A joined scope goes on being doubted: if less is counted than its keys
sent, they part again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.remaining_bucket import RemainingBucket
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.domain.quota_scope import QuotaScope

INFERRED = "inferred"
#: Scopes of equal limits that are watched beside each other.
_WATCHED = 16
#: Units that must have been taken before two counts are compared, and the tolerance.
_TELLING_UNITS = 12.0
_TOLERANCE_UNITS, _TOLERANCE = 2.0, 0.12
#: A group must have stood so many comparisons, of every member.
_AGREEMENTS = 3
#: Of more scopes than these not every group is tried: only pairs, and all together.
_FEW = 9
_CONFIDENCE_AT_FIRST, _MOST_CONFIDENCE = 0.875, 0.99
#: A scope that is surprised no more for so long is watched no more.
_FORGOTTEN_AFTER_S = 60.0
#: A joined scope is judged after so many units and seconds; the share of what was sent and not
#: counted that speaks against it, and how often in a row it must. Bursts alone do not part.
_DOUBT_UNITS, _DOUBT_S, _DOUBT = 20.0, 5.0, 0.25
_DOUBTS_TO_PART = 2
#: Keys that parted are left apart for so long, and twice as long the next time.
_APART_FOR_S = 600.0

_Limit = tuple[str, float, float, str]
_Family = tuple[str, str, _Limit, frozenset[_Limit]]
_Watches = dict[QuotaScope, "_Watch"]


@dataclass(slots=True)
class _Count:
    """What one scope saw counted by a moment, and what each watched scope had sent by then."""

    counted: float
    sent_by: dict[QuotaScope, float]


@dataclass(slots=True)
class _Watch:
    """One scope under watch.

    Attributes:
        begun: The count that the next comparison starts from; `None` until there is one.
        groups: Those with whom it may share, as far as nothing has ruled them out;
            `None` before the first comparison.
        compared: How many comparisons they have stood.
    """

    window: Window
    surprised_at: float
    begun: _Count | None = None
    groups: list[frozenset[QuotaScope]] | None = None
    compared: int = 0

    def begin(self) -> None:
        """Begin anew."""
        self.begun = self.groups = None
        self.compared = 0

    def rule_out(self, foreign: float, sent_by_others: Mapping[QuotaScope, float]) -> None:
        """Keep the groups whose calls are what was counted beyond our own."""
        groups = self.groups
        if groups is None:
            groups = list(_groups_of(sent_by_others))
        tolerance = max(_TOLERANCE_UNITS, _TOLERANCE * foreign)
        self.groups = [
            group
            for group in groups
            if abs(sum(sent_by_others.get(s, 0.0) for s in group) - foreign) <= tolerance
        ]
        self.compared += 1
        if not self.groups:
            self.groups, self.compared = None, 0

    def decided(self, scope: QuotaScope) -> frozenset[QuotaScope] | None:
        """Return the group that is left, with *scope* in it; `None` while it is not sure."""
        if self.compared < _AGREEMENTS or self.groups is None or len(self.groups) != 1:
            return None
        return self.groups[0] | {scope}


@dataclass(slots=True)
class _Doubt:
    """A joined scope on trial: what was sent and disproved when the trial began.

    Attributes:
        against: Trials in a row that spoke against it.
    """

    sent: float
    disproved: float
    since: float
    against: int = 0


@dataclass(slots=True)
class _Parted:
    """A key that was joined in error: not to be joined again before a moment."""

    until: float = 0.0
    pause_s: float = _APART_FOR_S


class ScopeInference:
    """Watches scopes, joins those that share an account, and parts them again."""

    def __init__(self, book: AccountRegistry) -> None:
        self._book = book
        #: Scopes of one provider whose limits are of the same kinds and sizes.
        self._families: dict[_Family, _Watches] = {}
        self._doubts: dict[QuotaScope, _Doubt] = {}
        self._parted: dict[str, _Parted] = {}
        book.on_drop = self._drop

    def note(self, scope: QuotaScope, now: float, *, is_surprised: bool) -> None:
        """Fold in that a report of *scope* was held against its windows.

        Args:
            is_surprised: More was counted than our own keys of the scope sent.
        """
        if scope.membership.basis == INFERRED:
            self._doubt(scope, now)
        if not is_surprised and not scope.is_watched:
            return
        window = _telling_window(scope)
        if window is None:
            return
        family = self._families.setdefault(_family_of(scope, window), {})
        watch = family.get(scope)
        if watch is None or watch.window is not window:
            self._begin(family, scope, window, now)
            return
        if is_surprised or window.drift_per_s > 0.0:
            watch.surprised_at = now
        elif now - watch.surprised_at > _FORGOTTEN_AFTER_S:
            self._forget(family, scope)
            return
        if _compare(family, scope, watch, now):
            self._join_if_agreed(family, watch.decided(scope), now)

    def _drop(self, scope: QuotaScope) -> None:
        """Let go of a scope that is no more, and of families that nobody is left in."""
        self._doubts.pop(scope, None)
        for family in self._families.values():
            if scope in family:
                self._forget(family, scope)
        self._families = {name: family for name, family in self._families.items() if family}

    def _begin(self, family: _Watches, scope: QuotaScope, window: Window, now: float) -> None:
        """Watch one more; all begin anew, so that each knows what it sent."""
        for other in self._families.values():
            if scope in other and other is not family:
                self._forget(other, scope)
        if scope not in family and len(family) >= _WATCHED:
            self._forget(family, min(family, key=lambda s: family[s].surprised_at))
        family[scope] = _Watch(window, now)
        scope.is_watched = True
        for watch in family.values():
            watch.begin()

    def _forget(self, family: _Watches, scope: QuotaScope) -> None:
        family.pop(scope, None)
        scope.is_watched = False
        # Groups that still have it in them could be told from others no more.
        for watch in family.values():
            watch.begin()

    def _join_if_agreed(
        self, family: _Watches, group: frozenset[QuotaScope] | None, now: float
    ) -> None:
        """Join *group* once every member has come to it."""
        if group is None or any(
            member not in family or family[member].decided(member) != group for member in group
        ):
            return
        for scope in group:
            self._forget(family, scope)
        group = frozenset(scope for scope in group if self._book.slots_of(scope))
        if len(group) < 2:
            return
        # The operator's or the provider's name for the account wins, then the busiest.
        first = min(group, key=_rank_of)
        for scope in group:
            if scope is first:
                continue
            for slot in self._book.slots_of(scope):
                parted = self._parted.get(slot.id)
                if parted is None or parted.until <= now:
                    self._book.join(
                        slot,
                        first.membership.account,
                        basis=INFERRED,
                        confidence=_CONFIDENCE_AT_FIRST,
                    )
        for window in first.account.windows:
            window.forget_drift()
        self._doubts.pop(first, None)

    def _doubt(self, scope: QuotaScope, now: float) -> None:
        """Part a joined scope whose provider counts less than its keys sent."""
        window = _telling_window(scope)
        if window is None:
            return
        sent = _sent(window)
        doubt = self._doubts.get(scope)
        if doubt is None or sent < doubt.sent:
            self._doubts[scope] = _Doubt(sent, window.disproved, now)
            return
        if sent - doubt.sent < _DOUBT_UNITS or now - doubt.since < _DOUBT_S:
            return
        share = (window.disproved - doubt.disproved) / (sent - doubt.sent)
        against = doubt.against + 1 if share > _DOUBT else 0
        self._doubts[scope] = _Doubt(sent, window.disproved, now, against)
        if not against:
            member = scope.membership
            surer = min(_MOST_CONFIDENCE, 1.0 - 0.5 * (1.0 - member.confidence))
            scope.membership = replace(member, confidence=surer)
        if against < _DOUBTS_TO_PART:
            return
        del self._doubts[scope]
        for slot in self._book.slots_of(scope):
            if self._book.membership(slot).basis == INFERRED:
                self._part(slot, now)
        rest = [self._book.membership(slot) for slot in self._book.slots_of(scope)]
        basis, confidence = (rest[0].basis, rest[0].confidence) if rest else ("own", 1.0)
        scope.membership = replace(scope.membership, basis=basis, confidence=confidence)

    def _part(self, slot: KeySlot, now: float) -> None:
        parted = self._parted.setdefault(slot.id, _Parted())
        parted.until = now + parted.pause_s
        parted.pause_s *= 2.0
        self._book.part(slot, basis=INFERRED)


def _compare(family: _Watches, scope: QuotaScope, watch: _Watch, now: float) -> bool:
    """Hold what *scope* saw counted against what each other sent; tell whether it was telling."""
    sent_by = {other: _sent(other_watch.window) for other, other_watch in family.items()}
    count = _Count(watch.window.counted(now), sent_by)
    begun = watch.begun
    if begun is None:
        watch.begun = count
        return False
    sent = {other: units - begun.sent_by.get(other, units) for other, units in sent_by.items()}
    foreign = count.counted - begun.counted - sent.pop(scope)
    if max(foreign, *sent.values(), 0.0) < _TELLING_UNITS:
        return False
    watch.begun = count
    watch.rule_out(foreign, sent)
    return True


def _groups_of(others: Iterable[QuotaScope]) -> Iterable[frozenset[QuotaScope]]:
    """Return every group of *others*; of many only each alone, and all together."""
    scopes = tuple(others)
    sizes: Iterable[int] = range(1, len(scopes) + 1)
    if len(scopes) >= _FEW:
        sizes = (1, len(scopes))
    return (frozenset(group) for size in sizes for group in combinations(scopes, size))


def _rank_of(scope: QuotaScope) -> tuple[bool, int, str]:
    """Rank by whose name an account should have: one that was given, else the busiest's."""
    is_own = scope.membership.basis in ("own", INFERRED)
    return is_own, -scope.statistics.served, scope.id


def _telling_window(scope: QuotaScope) -> Window | None:
    """Return the window whose count tells most: requests, which are never estimated."""
    told = [w for w in scope.account.windows if w.observed_at is not None and w.period_s > 0.0]
    requests = (w for w in told if w.dimension is Dimension.REQUESTS)
    return next(requests, None) or next(iter(told), None)


def _family_of(scope: QuotaScope, window: Window) -> _Family:
    """Return what scopes that may share an account have in common: every limit that is told."""
    told = (w for w in scope.account.windows if w.observed_at is not None)
    limits = frozenset(_limit_of(w) for w in told if not isinstance(w, RemainingBucket))
    return scope.provider_id, scope.group, _limit_of(window), limits


def _limit_of(window: Window) -> _Limit:
    return window.dimension.value, window.capacity, window.period_s, window.label


def _sent(window: Window) -> float:
    return window.charged - window.returned
