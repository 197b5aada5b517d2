"""Limits without the shared ledger: each of the processes last known has its even part of them.

Local windows go on counting what is known of the whole; beside each stands one of a part of its
size. Whatever the processes do, together they take no more than the whole.
"""

import math
from typing import Any

from apikeyrouter.domain.ledger.algorithms import Concurrent, FixedWindow, RollingWindow
from apikeyrouter.domain.ledger.capped_window import CappedWindow
from apikeyrouter.domain.ledger.ledger import Amounts, Hold, Ledger, LedgerAccount, Shortfall
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import Provenance
from apikeyrouter.infrastructure.ledger.account_link import AccountLink
from apikeyrouter.infrastructure.ledger.tickets import Ticket

_Signature = tuple[object, ...]


class DividedLimits:
    """Sets aside what is let in while nobody else can be asked."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._parts: dict[AccountLink, tuple[LedgerAccount, _Signature]] = {}
        self._held: dict[Ticket, Hold] = {}

    def admit(self, tickets: list[Ticket], processes: int, now: float) -> Shortfall | None:
        """Set aside this process's part of every account's limits, or nothing.

        Args:
            processes: How many share the limits.
        """
        lines = [(self._part_of(t, processes, now), t.hold.amounts) for t in tickets]
        outcome = self._ledger.reserve(lines, now)
        if isinstance(outcome, Shortfall):
            return outcome
        self._held.update(zip(tickets, outcome.holds, strict=True))
        return None

    def end(self, ticket: Ticket, actual: Amounts, now: float) -> None:
        """Correct what was set aside to what was used."""
        hold = self._held.pop(ticket, None)
        if hold is not None:
            hold.account.end(hold, actual, now)

    def clear(self) -> None:
        """Forget all parts: the whole can be asked for again."""
        self._parts.clear()
        self._held.clear()

    def _part_of(self, ticket: Ticket, processes: int, now: float) -> LedgerAccount:
        link, whole = ticket.link, ticket.link.account
        signature: _Signature = (
            processes, *[(id(w), w.capacity, w.period_s) for w in whole.windows],
        )  # fmt: skip
        known = self._parts.get(link)
        if known is not None and known[1] == signature:
            part = known[0]
        else:
            # What this very request has taken of the whole is not used yet.
            asked = ticket.hold.amounts
            part = LedgerAccount(
                whole.id,
                [
                    _part(window, asked[window.index], processes, now)
                    for window in whole.windows
                    if not isinstance(window, CappedWindow)
                ],
            )
            part.on_capacity = whole.on_capacity
            self._parts[link] = part, signature
        _make_room(part, ticket.hold.amounts, now)
        return part


def _part(whole: Window, asked: float, processes: int, now: float) -> Window:
    """Return a window of an even part of *whole*, used in proportion."""
    left = max(0.0, whole.room(now) + asked)
    capacity = whole.capacity / processes
    part_left = min(capacity, left / processes)
    part: Window
    if isinstance(whole, Concurrent):
        fewest = 1.0 if whole.provenance is Provenance.INFERRED else 0.0
        return Concurrent(
            whole.dimension, max(fewest, math.floor(capacity)), 0.0, now, **_common(whole)
        )
    if isinstance(whole, TokenBucket):
        part = TokenBucket(whole.dimension, capacity, whole.period_s, now, **_common(whole))
    elif isinstance(whole, FixedWindow):
        part = FixedWindow(
            whole.dimension, capacity, whole.period_s, now,
            reset_at=whole.reset_at, calendar=whole.calendar, wall_ahead_s=whole.wall_ahead_s,
            **_common(whole),
        )  # fmt: skip
    else:
        part = RollingWindow(whole.dimension, capacity, whole.period_s, now, **_common(whole))
    part.keep_no_slack()
    part.mirror(capacity - part_left, now)
    return part


def _common(whole: Window) -> dict[str, Any]:
    return {"provenance": whole.provenance, "label": whole.label}


def _make_room(part: LedgerAccount, amounts: Amounts, now: float) -> None:
    """Let a bucket grow to what is asked at once, at the same refill and the same level."""
    for window in part.windows:
        asked = amounts[window.index]
        if isinstance(window, TokenBucket) and asked > window.capacity:
            window.room(now)
            more, rate = asked - window.capacity, window.rate
            window.resize(asked, window.provenance)
            window.repace(asked / rate)
            window.mirror(window.used + more, now)


def refused(account: LedgerAccount, now: float) -> Shortfall:
    """Return what an account is short of that spends nothing on one process's word alone."""
    return Shortfall(
        "the shared ledger cannot be reached", 0.0, 0.0, now + 1.0, account_id=account.id
    )
