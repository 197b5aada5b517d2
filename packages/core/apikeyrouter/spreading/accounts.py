"""Accounts: their waits and learned limits, and which key is of which."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from apikeyrouter.composition import RouterParts
from apikeyrouter.domain.accounts.scope_record import scope_data
from apikeyrouter.domain.accounts.searching.search_record import search_of
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.quota_scope import Membership, QuotaScope
from apikeyrouter.infrastructure.spreading.notice import Notice
from apikeyrouter.spreading.scope_news import ScopeNews, by_our_clock
from apikeyrouter.spreading.subject import Subject

#: Scopes that nobody has asked for here, and what others tell of them.
_WAITING_KEPT = 4096
#: Of calls within the last minute more than these are not told one by one.
_CALLS_TOLD = 256
_BY_HAND = ("configured", "alone")


class AccountSubject(Subject):
    """What is known of one scope.

    Args:
        take_up: Makes a change that others have told, if it makes sense.
    """

    kind = "account"

    def __init__(
        self,
        parts: RouterParts,
        clock: Callable[[], float],
        *,
        take_up: Callable[[str, Callable[[], None]], bool],
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._take_up = take_up
        self._waiting: OrderedDict[str, Notice] = OrderedDict()
        registry = parts.registry
        self._news = ScopeNews(
            parts.context.ledger, parts.search,
            calendars_of=lambda name: registry.calendars.get(name, {}),
            prior_of=lambda name: registry.admissions.get(name, Admission()),
        )  # fmt: skip
        self._take_up_before = registry.take_up
        registry.take_up = self._begin

    def tell(self, name: str) -> Mapping[str, Any] | None:
        """Return what is known of a scope."""
        scope = self._parts.registry.find(*_parted(name))
        if scope is None:
            return None
        data = scope_data(scope, self._parts.search, self._clock())
        search = data["search"]
        if search is not None and len(search["log"]) > _CALLS_TOLD:
            search["log"] = []
        return data

    def essence(self, body: Mapping[str, Any]) -> Hashable:
        """Return limits, waits and refusals: levels and counts change with every request."""
        windows = [
            (w["kind"], w["dimension"], w["label"], w["capacity"], w["period_s"], w["provenance"])
            for w in body["windows"]
        ]
        counts, search = body["counts"], body["search"] or {}
        guesses = [_essence_of(search.get(name)) for name in ("pace", "minute")]
        charge = body["charge"] and repr(body["charge"]["rules"])
        return repr((windows, body["wait"], counts["refused_at"], guesses, charge))

    def take_up(self, notice: Notice, *, changed_at: float) -> None:
        """Fold in what another process knows; at once, or when the scope is first asked for."""
        del changed_at
        if notice.body is None:
            return
        _parted(notice.name)
        scope = self._parts.registry.find(*_parted(notice.name))
        if scope is not None:
            self._fold_in(scope, notice)
            self._parts.routes.rest_scope(scope)
            self._parts.routes.refresh_scope(scope)
            return
        self._waiting[notice.name] = notice
        self._waiting.move_to_end(notice.name)
        if len(self._waiting) > _WAITING_KEPT:
            self._waiting.popitem(last=False)

    def _fold_in(self, scope: QuotaScope, notice: Notice) -> None:
        registry = self._parts.registry
        data = by_our_clock(notice.body or {}, notice.ahead_s)
        self._news.fold_in(scope, data, self._clock(), registry.wall_ahead_s)
        is_searched = self._parts.search.state_of(scope) is not None
        if data["search"] is not None and not is_searched:
            self._parts.search.resume(scope, search_of(data["search"]))

    def _begin(self, scope: QuotaScope) -> None:
        """Bring a scope that is new here to what was kept of it, and to what others told."""
        if self._take_up_before is not None:
            self._take_up_before(scope)
        notice = self._waiting.pop(name_of(scope), None)
        if notice is not None:
            self._take_up(self.kind, lambda: self._fold_in(scope, notice))


class MemberSubject(Subject):
    """Whose account a key is of, as providers told or was found out."""

    kind = "member"

    def __init__(self, parts: RouterParts) -> None:
        self._parts = parts

    def tell(self, name: str) -> Mapping[str, Any] | None:
        """Return whose account a key is of."""
        slot = self._parts.manager.slot_by_id.get(name)
        if slot is None:
            return None
        member = self._parts.registry.membership(slot)
        return {
            "account": member.account, "basis": member.basis, "confidence": member.confidence,
        }  # fmt: skip

    def take_up(self, notice: Notice, *, changed_at: float) -> None:
        """Move the key as another process did."""
        body = notice.body or {}
        told = Membership(str(body["account"]), str(body["basis"]), float(body["confidence"]))
        registry, slot = self._parts.registry, self._parts.manager.slot_by_id.get(notice.name)
        if slot is None or notice.at < changed_at:
            return
        before = registry.membership(slot)
        if told.account == before.account or told.basis == "configured":
            return
        if told.basis in ("told", "inferred"):
            registry.join(slot, told.account, basis=told.basis, confidence=told.confidence)
        elif before.basis not in _BY_HAND:
            registry.part(slot, basis=before.basis)


def name_of(scope: QuotaScope) -> str:
    """Return the name by which a scope is spread."""
    return "\n".join((scope.provider_id, scope.membership.account, scope.group))


def _parted(name: str) -> tuple[str, str, str]:
    provider_id, account, group = name.split("\n")
    return provider_id, account, group


def _essence_of(guess: Mapping[str, Any] | None) -> Hashable:
    """Return a guess by about a tenth: it creeps up with every answer."""
    if guess is None:
        return None
    rate = float(guess.get("rate", guess["capacity"]))
    return guess["kind"], round(8.0 * math.log(max(rate, 1e-9)))
