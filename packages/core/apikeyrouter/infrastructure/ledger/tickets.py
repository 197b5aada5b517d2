"""A hold of this process's as the shared ledger knows it."""

from typing import Protocol

from apikeyrouter.domain.ledger.ledger import Amounts, Hold
from apikeyrouter.domain.ledger.window import INDEX_OF
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.infrastructure.ledger.account_link import AccountLink
from apikeyrouter.infrastructure.ledger.orders import Marks

_CONCURRENCY = INDEX_OF[Dimension.CONCURRENCY]
_REQUESTS = INDEX_OF[Dimension.REQUESTS]


class OnEnd(Protocol):
    """Has the end of a hold told."""

    def __call__(self, ticket: "Ticket", actual: list[float], *, is_unsent: bool) -> None:
        """Tell that *ticket* has ended at *actual*."""


class Ticket:
    """From the local reservation to its end.

    Attributes:
        marks: What the shared ledger knows its charges by.
        is_admitted: The shared ledger has it.
        is_alone: It was let in while the shared ledger could not be asked.
        is_confirmed: The shared ledger knows that the provider has seen it.
    """

    __slots__ = (
        "_ended_at", "_is_refused", "_on_end", "hold", "is_admitted", "is_alone", "is_confirmed",
        "link", "marks",
    )  # fmt: skip

    def __init__(self, link: AccountLink, hold: Hold, on_end: OnEnd) -> None:
        self.link = link
        self.hold = hold
        self.marks: Marks = {}
        self.is_admitted = self.is_alone = self.is_confirmed = self._is_refused = False
        self._ended_at: Amounts | None = None
        self._on_end = on_end

    def begin(self) -> None:
        """Follow the hold; local windows have counted it already."""
        self.link.go_ahead(self.hold.amounts)
        self.hold.ticket = self

    def admit(self, marks: Marks) -> None:
        """Note that the shared ledger has set it aside."""
        self.is_admitted = True
        self.marks = marks
        self.link.go_ahead(self.hold.amounts, -1.0)
        self.link.note_admitted(1, 1)
        if self._ended_at is not None:
            # It was given up while the answer was on its way.
            self._end(self._ended_at)

    def refuse(self) -> None:
        """Note that the shared ledger has not; the local part is given back next."""
        self._is_refused = True
        if self._ended_at is not None:
            self.link.go_ahead(self.hold.amounts, -1.0)

    def admit_alone(self) -> None:
        """Note that it was let in without the shared ledger."""
        self.is_alone = True
        self.link.own_calls += 1
        self.link.go_ahead(self.hold.amounts, -1.0)
        self.link.go_on_alone(self.hold.amounts)
        if self._ended_at is not None:
            self._end(self._ended_at)

    def ended(self, actual: Amounts) -> None:
        """Note that the hold has ended at what was used."""
        if self.is_admitted or self.is_alone:
            self._end(actual)
        elif self._is_refused:
            self.link.go_ahead(self.hold.amounts, -1.0)
        else:
            self._ended_at = actual

    def change(self, actual: Amounts) -> list[float]:
        """Return what its end has changed, by dimension."""
        changes = [used - asked for used, asked in zip(actual, self.hold.amounts, strict=True)]
        changes[_CONCURRENCY] = -self.hold.amounts[_CONCURRENCY]
        return changes

    def _end(self, actual: Amounts) -> None:
        if self.is_alone:
            self.link.own_calls -= 1
        else:
            self.link.go_ahead(self.change(actual))
        self._on_end(self, list(actual), is_unsent=not actual[_REQUESTS])
