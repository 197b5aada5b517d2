"""From the record of a request to what is counted of it, and from that to sums.

What clients and providers name is cut and cleaned here: no text can keep a batch from being
written, and no number can overflow a sum.
"""

from collections.abc import Iterable
from typing import Any

from apikeyrouter.domain.interfaces.moments import micros
from apikeyrouter.domain.interfaces.usage_records import (
    DIMENSIONS,
    HOUR_MICROS,
    SumQuery,
    UsageCounts,
    UsageQuery,
    UsageRow,
    UsageSum,
    hour_start,
)
from apikeyrouter.domain.routing.decision_record import DecisionRecord

_MOST_TEXT, _MOST = 200, 10**11
#: An hour and the values of `DIMENSIONS`.
Cell = tuple[int, str, str, str, str]


def usage_row_of(record: DecisionRecord) -> UsageRow:
    """Return what is counted of a request that has ended."""
    attempts, usage = record.attempts, record.usage
    last = attempts[-1] if attempts else None
    arrived_at = record.arrived_at
    ended_at = arrived_at if record.ended_at is None else record.ended_at
    answered_at = None if last is None else last.answered_at
    cost = None if usage is None else usage.cost_usd
    return UsageRow(
        int(ended_at * 1e6),
        _plain(record.request_id),
        _plain(record.client),
        # Names that nobody serves are made up, and may be any number.
        _plain(record.model) if last is not None or record.excluded else "",
        "" if last is None else last.provider_id,
        "" if last is None else last.key_id,
        _plain(record.endpoint),
        record.outcome,
        record.attempt_count,
        None if record.input_tokens is None else _bounded(record.input_tokens),
        None if record.output_tokens is None else _bounded(record.output_tokens),
        0 if usage is None else _bounded(usage.cached_tokens),
        None if cost is None else _bounded(cost * 1e6),
        _bounded(record.waited_s * 1000.0),
        None if answered_at is None else _bounded((answered_at - arrived_at) * 1000.0),
        _bounded((ended_at - arrived_at) * 1000.0),
    )


def _plain(text: str) -> str:
    if len(text) <= _MOST_TEXT and text.isprintable():
        return text
    cut = text[:_MOST_TEXT].encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in cut)


def _bounded(number: float) -> int:
    # What is no number is not even equal to itself.
    return round(min(max(number, 0), _MOST)) if number == number else 0


def cell_of(row: UsageRow) -> Cell:
    """Return the cell of sums that a request counts in."""
    return row.moment // HOUR_MICROS, row.client, row.model, row.provider_id, row.key_id


def cells_of(rows: Iterable[UsageRow]) -> dict[Cell, UsageCounts]:
    """Sum *rows* up by hour and all dimensions."""
    cells: dict[Cell, UsageCounts] = {}
    for row in rows:
        cell = cell_of(row)
        counts = cells.get(cell)
        if counts is None:
            counts = cells[cell] = UsageCounts()
        counts.add(row)
    return cells


def matches(row: UsageRow, query: UsageQuery) -> bool:
    """Tell whether a query looks for *row*; its place does not count."""
    return (
        all(getattr(query, name) in (None, getattr(row, name)) for name in DIMENSIONS)
        and _has_outcome(row, query.outcome)
        and (query.since is None or row.moment >= micros(query.since))
        and (query.until is None or row.moment < micros(query.until))
    )


def _has_outcome(row: UsageRow, outcome: str | None) -> bool:
    if outcome == "failed":
        return row.outcome not in ("ok", "cancelled")
    return outcome in (None, row.outcome)


class Sums:
    """Gathers what a query asks for from parts that come in any order."""

    def __init__(self, query: SumQuery) -> None:
        self._query = query
        self._found: dict[tuple[Any, ...], UsageCounts] = {}

    def add(self, start: int, group: tuple[str, ...], counts: UsageCounts) -> None:
        """Add what a group sums up to from the hour *start*; the caller's *counts* stay."""
        name = (self._query.period_start(start), *group)
        self._found.setdefault(name, UsageCounts()).merge(counts)

    def add_cell(self, cell: Cell, counts: UsageCounts) -> None:
        """Add a cell, if the query asks for it."""
        query = self._query
        values = dict(zip(DIMENSIONS, cell[1:], strict=True))
        if query.first_hour <= cell[0] < query.end_hour and all(
            values[name] == wanted for name, wanted in query.only.items()
        ):
            self.add(cell[0], tuple(values[name] for name in query.group_by), counts)

    def result(self) -> list[UsageSum]:
        """Return the sums in order."""
        return [
            UsageSum(hour_start(name[0]), name[1:], counts)
            for name, counts in sorted(self._found.items(), key=lambda item: item[0])
        ]
