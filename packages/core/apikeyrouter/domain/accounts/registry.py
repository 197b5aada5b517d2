"""Which key draws on which scope.

A scope is (provider, account, group). The account is what the operator says, else
the provider's, else an inference, else the key itself. The group is the model
where a provider limits each model apart, else all models together. Keys that
come to share an account share its scopes from then on.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.feed.events import Event, ScopesJoined
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.key_records import FROM_CONFIGURATION, ORIGIN
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.algorithms import Concurrent, FixedWindow, make_window
from apikeyrouter.domain.ledger.ledger import Ledger, LedgerAccount
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.account_rules import AccountRules
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.declared_limits import DECLARABLE
from apikeyrouter.domain.limits.observation import (
    Algorithm,
    Dimension,
    Provenance,
)
from apikeyrouter.domain.quota_scope import Membership, QuotaScope

ALL_MODELS = "*"
#: What an operator has said stays.
_BY_HAND = ("configured", "alone")
#: Bases that nobody declares again: they are kept for the key's return.
_FOUND_OUT = ("told", "inferred", "alone")
#: Accounts without a key of which something is still known.
_LEFT_KEPT = 256


class AccountRegistry:
    """Scopes by owner, and the owner of each key."""

    def __init__(
        self,
        ledger: Ledger,
        search: LimitSearch,
        *,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        on_capacity: Callable[[QuotaScope], None],
    ) -> None:
        self._ledger = ledger
        self._search = search
        self._clock = clock
        self._emit = emit
        self._on_capacity = on_capacity
        #: Scopes by group, of each account by provider and name.
        self._accounts: dict[tuple[str, str], dict[str, QuotaScope]] = {}
        self._membership: dict[str, Membership] = {}
        #: The keys of an account by provider and name, in order of arrival.
        self._slots_of: dict[tuple[str, str], dict[KeySlot, None]] = {}
        #: Accounts whose keys were all withdrawn, oldest first.
        self._left: dict[tuple[str, str], None] = {}
        #: Provider -> period in seconds -> what its limits of that period end with.
        self.calendars: dict[str, Mapping[float, Calendar]] = {}
        #: Provider -> how it charges by its catalogue row.
        self.admissions: dict[str, Admission] = {}
        #: What calendars read beyond our own clock, by which everything else is measured.
        self.wall_ahead_s = 0.0
        #: What operators have said, beside what keys declare.
        self.rules = AccountRules()
        #: Gives a scope what the rules say, once its declared limits and what was kept are there.
        self.hold: Callable[[QuotaScope], None] = lambda _: None
        #: Brings a scope that is new here to what was kept of it.
        self.take_up: Callable[[QuotaScope], None] | None = None
        #: Whose account keys were found to be of before, until they are first asked for.
        self.kept_members: dict[str, Membership] = {}
        #: Told when a key moved from one account to another.
        self.on_move: Callable[[KeySlot], None] = lambda _: None
        #: Told of a scope that is new.
        self.on_found: Callable[[QuotaScope], None] = lambda _: None
        #: Told of a scope whose limits turned out other than believed.
        self.on_learned: Callable[[QuotaScope], None] = lambda _: None
        #: Told of a key that was found to be of another account.
        self.on_member: Callable[[KeySlot], None] = lambda _: None
        #: Told how far the wall clock is ahead when it was set.
        self.on_wall: Callable[[float], None] = lambda _: None
        #: Told of a scope that is no more.
        self.on_drop: Callable[[QuotaScope], None] = lambda _: None

    def __iter__(self) -> Iterator[QuotaScope]:
        return (scope for scopes in self._accounts.values() for scope in scopes.values())

    def scope_for(self, slot: KeySlot, group: str) -> QuotaScope:
        """Return the scope that *slot* draws on for *group*; made at first sight."""
        member = self.membership(slot)
        scopes = self._accounts.setdefault((slot.provider_id, member.account), {})
        scope = scopes.get(group)
        if scope is None:
            scope = scopes[group] = self._found(slot, member, group)
            self.on_found(scope)
        return scope

    def find(self, provider_id: str, account: str, group: str) -> QuotaScope | None:
        """Return a scope if anybody has asked for it."""
        return self._accounts.get((provider_id, account), {}).get(group)

    def scopes_of(self, slot: KeySlot) -> list[QuotaScope]:
        """Return every scope of the key's account, one a group in use."""
        account = self.membership(slot).account
        return list(self._accounts.get((slot.provider_id, account), {}).values())

    def drop_idle(self, scope: QuotaScope, now: float) -> None:
        """Forget a scope that nobody asks for and that holds and waits for nothing."""
        if scope.index.candidates or scope.account.open or scope.cooldown.until > now:
            return
        scopes = self._accounts.get((scope.provider_id, scope.membership.account), {})
        if scopes.get(scope.group) is scope:
            del scopes[scope.group]
            self._drop(scope)

    def membership(self, slot: KeySlot) -> Membership:
        """Return whose account *slot* is of, and how we know."""
        member = self._membership.get(slot.id)
        if member is None:
            kept = self.kept_members.pop(slot.id, None)
            member = self.said_of(slot) or kept or Membership(slot.id, "own", 1.0)
            self._enlist(slot, member)
        return member

    def said_of(self, slot: KeySlot) -> Membership | None:
        """Return whose account *slot* is of by an operator's word; `None` if none was said."""
        facts, members = slot.record.metadata, self.rules.of(slot.provider_id).members
        declared = facts.get("scope")
        if slot.id in members and not (declared and facts.get(ORIGIN) == FROM_CONFIGURATION):
            account = members[slot.id]
            return Membership(account or slot.id, "configured" if account else "alone")
        return Membership(str(declared), "configured") if declared else None

    def slots_of(self, scope: QuotaScope) -> list[KeySlot]:
        """Return the keys that draw on the account of *scope*."""
        return list(self._slots_of.get((scope.provider_id, scope.membership.account), ()))

    def join(self, slot: KeySlot, account: str, *, basis: str, confidence: float) -> bool:
        """Move *slot* to *account* unless something surer is known; tell whether it moved."""
        before = self.membership(slot)
        if account == before.account or before.basis in _BY_HAND:
            return False
        if before.basis == "told" and basis != "told":
            return False
        if self._is_closed(slot.provider_id, account):
            return False
        self._move(slot, Membership(account, basis, confidence))
        if basis != "told":
            for scope in self.scopes_of(slot):
                scope.membership = Membership(account, basis, confidence)
        self._tell(account, slot, basis, confidence, joined=True)
        return True

    def part(self, slot: KeySlot, *, basis: str) -> None:
        """Give *slot* an account of its own again: evidence turned."""
        before = self.membership(slot)
        self._move(slot, Membership(slot.id, "own", 1.0))
        self._tell(before.account, slot, basis, before.confidence, joined=False)

    def _tell(
        self, account: str, slot: KeySlot, basis: str, confidence: float, *, joined: bool
    ) -> None:
        event = ScopesJoined(account, slot.id, joined, basis, confidence, at=self._clock())
        self._emit(event)
        self.on_member(slot)

    def overrule(self, slot: KeySlot, account: str | None) -> None:
        """Put *slot* where the operator says; `None` makes it its own, and nobody joins it."""
        basis = "configured" if account else "alone"
        self._move(slot, Membership(account or slot.id, basis, 1.0))

    def obey(self, slot: KeySlot) -> None:
        """Put *slot* where the rules say, if they say anything of it."""
        member = self.said_of(slot)
        if member is None or member == self.membership(slot):
            return
        self._move(slot, member)
        for scope in self.scopes_of(slot):
            scope.membership = member

    def redeclare(self, slot: KeySlot, before: Mapping[str, Any]) -> None:
        """Follow what is declared of *slot* by now, and was declared as *before*."""
        facts = slot.record.metadata
        declared = facts.get("scope")
        if declared != before.get("scope") and slot.id in self._membership:
            member = self.said_of(slot) or Membership(slot.id, "own", 1.0)
            if member != self._membership[slot.id]:
                self._move(slot, member)
        limits, old = facts.get("limits") or {}, before.get("limits") or {}
        if limits == old and declared == before.get("scope"):
            return
        for scope in self.scopes_of(slot):
            self.undeclare(scope, old.keys() - limits.keys())
            changed = {name: limit for name, limit in limits.items() if old.get(name) != limit}
            self.declare(scope.account, changed, self._clock(), scope.provider_id)
            self.hold(scope)
            scope.account.strained_at = -math.inf
            scope.notify_capacity()

    def restate(
        self, account: LedgerAccount, limits: Mapping[str, float], before: Mapping[str, float]
    ) -> None:
        """Put *limits* on an owner's account in the place of those *before*; its use stays."""
        for name in before.keys() - limits.keys():
            window = account.window(*DECLARABLE[name])
            if window is not None:
                account.windows.remove(window)
        changed = {name: limit for name, limit in limits.items() if before.get(name) != limit}
        self.declare(account, changed, self._clock())
        account.strained_at = -math.inf
        if account.on_capacity is not None:
            account.on_capacity()

    def undeclare(self, scope: QuotaScope, names: Iterable[str]) -> None:
        """Take limits back that were declared; what reports have told stays."""
        for name in names:
            window = scope.account.window(*DECLARABLE[name])
            if window is not None and window.provenance is Provenance.DECLARED:
                scope.account.windows.remove(window)
            elif window is not None:
                window.declared = None
        if not scope.account.windows and self._search.state_of(scope) is None:
            self._search.begin(scope, self._clock())

    def withdraw(self, slot: KeySlot) -> None:
        """Let go of a key; what is known of its account stays, should it come back."""
        member = self._membership.pop(slot.id, None)
        if member is None:
            return
        if member.basis in _FOUND_OUT:
            self.kept_members[slot.id] = member
        name = slot.provider_id, member.account
        mates = self._slots_of[name]
        mates.pop(slot, None)
        if not mates:
            del self._slots_of[name]
            self._left[name] = None
            if len(self._left) > _LEFT_KEPT:
                oldest = next(iter(self._left))
                del self._left[oldest]
                for scope in self._accounts.pop(oldest, {}).values():
                    self._drop(scope)

    def follow_wall(self, ahead_s: float) -> None:
        """Move the ends of days and months: the wall clock now reads *ahead_s* beyond ours."""
        now, self.wall_ahead_s = self._clock(), ahead_s
        for scope in self:
            dated = [window for window in scope.account.windows if isinstance(window, FixedWindow)]
            for window in dated:
                window.follow_wall(ahead_s, now)
            if dated:
                scope.notify_capacity()
        self.on_wall(ahead_s)

    def _is_closed(self, provider_id: str, account: str) -> bool:
        members = self._slots_of.get((provider_id, account), ())
        return any(self._membership[slot.id].basis == "alone" for slot in members)

    def _enlist(self, slot: KeySlot, member: Membership) -> None:
        name = slot.provider_id, member.account
        self._membership[slot.id] = member
        self._slots_of.setdefault(name, {})[slot] = None
        if name in self._left:
            del self._left[name]
            self._declare_anew(name, slot.record.metadata.get("limits") or {})

    def _declare_anew(self, name: tuple[str, str], limits: Mapping[str, float]) -> None:
        """Put *limits* in the place of those that an account had until its keys went."""
        for scope in self._accounts.get(name, {}).values():
            self.undeclare(scope, DECLARABLE.keys() - limits.keys())
            windows = {known: scope.account.window(*DECLARABLE[known]) for known in limits}
            changed = {
                known: limit
                for known, limit in limits.items()
                if (window := windows[known]) is None or window.declared != limit
            }
            self.declare(scope.account, changed, self._clock(), scope.provider_id)

    def _move(self, slot: KeySlot, member: Membership) -> None:
        before = self._membership.get(slot.id)
        if before is None:
            self._enlist(slot, member)
            self.on_move(slot)
            return
        name = slot.provider_id, before.account
        mates = self._slots_of[name]
        mates.pop(slot, None)
        self._enlist(slot, member)
        self._carry_over(slot, name, is_last=not mates)
        self.on_move(slot)
        if not mates:
            del self._slots_of[name]
            for scope in self._accounts.pop(name, {}).values():
                self._drop(scope)

    def _drop(self, scope: QuotaScope) -> None:
        self._search.forget(scope)
        self.on_drop(scope)

    def _carry_over(self, slot: KeySlot, before: tuple[str, str], *, is_last: bool) -> None:
        """Take along what is known: a told wait always, and the limits when nobody stays behind.

        Windows go as they are, with what open holds have taken from them.
        """
        account = self._membership[slot.id].account
        known = self._accounts.get((slot.provider_id, account), {})
        for group, old in list(self._accounts.get(before, {}).items()):
            is_new = group not in known
            new = self.scope_for(slot, group)
            if new.cooldown.take_over(old.cooldown):
                new.statistics.refusals_in_row = old.statistics.refusals_in_row
            if is_last and is_new:
                new.statistics, new.is_searched = old.statistics, old.is_searched
                new.account.take_over(old.account)
                new.charge = old.charge
                self._search.follow(old, new)

    def _found(self, slot: KeySlot, member: Membership, group: str) -> QuotaScope:
        now = self._clock()
        name = f"{slot.provider_id}/{member.account}"
        scope = QuotaScope(
            id=name if group == ALL_MODELS else f"{name}/{group}",
            provider_id=slot.provider_id,
            membership=member,
            group=group,
            on_capacity=self._on_capacity,
        )
        ruled = self.rules.limits_of(slot.provider_id, member.account, group)
        limits = {**(slot.record.metadata.get("limits") or {}), **ruled}
        self.declare(scope.account, limits, now, slot.provider_id)
        if self.take_up is not None:
            self.take_up(scope)
        self.hold(scope)
        if not scope.account.windows and self._search.state_of(scope) is None:
            self._search.begin(scope, now)
        return scope

    def declare(
        self, account: LedgerAccount, limits: dict[str, float], now: float, provider_id: str = ""
    ) -> None:
        """Put declared *limits* (`rpm`, `tpm`, …) on *account*; what reports say corrects them.

        Without a provider they are the owner's own, and given out to the last unit.
        """
        for name, capacity in limits.items():
            dimension, period_s = DECLARABLE[name]
            known = account.window(dimension, period_s)
            if known is not None:
                known.resize(capacity, Provenance.DECLARED)
                known.declared = float(capacity)
            elif dimension is Dimension.CONCURRENCY:
                self._ledger.adopt(Concurrent(dimension, capacity, 0.0, now), account, now, None)
            else:
                window = self.window_for(
                    provider_id, dimension, capacity, period_s, now, provenance=Provenance.DECLARED
                )
                if not provider_id:
                    window.keep_no_slack()
                self._ledger.adopt(window, account, now, None)

    def window_for(
        self,
        provider_id: str,
        dimension: Dimension,
        capacity: float,
        period_s: float,
        now: float,
        *,
        provenance: Provenance,
        algorithm: Algorithm | None = None,
        label: str = "",
    ) -> Window:
        """Build a window as the provider runs those of this period.

        Args:
            algorithm: When it is known; else the provider's calendar decides, and
                continuous refill is what most providers have.
        """
        calendar = self.calendars.get(provider_id, {}).get(period_s)
        if calendar is not None and algorithm in (None, Algorithm.FIXED):
            return FixedWindow(
                dimension, capacity, period_s, now,
                calendar=calendar, wall_ahead_s=self.wall_ahead_s,
                provenance=provenance, label=label,
            )  # fmt: skip
        return make_window(
            algorithm or Algorithm.TOKEN_BUCKET, dimension, capacity, period_s, now,
            provenance=provenance, label=label,
        )  # fmt: skip
