"""Usage in SQL: rows are added to their sums within one transaction, and each once.

A batch may come again after a failure that left open whether it was kept. So rows are added
first, the database tells which of them are new, and only those are added to the sums.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from apikeyrouter.domain.interfaces.moments import micros
from apikeyrouter.domain.interfaces.usage_records import (
    COUNTS,
    DIMENSIONS,
    HOUR_MICROS,
    SumQuery,
    UsageCounts,
    UsageQuery,
    UsageRow,
)
from apikeyrouter.infrastructure.state_store.sql.sql_statements import in_sizes
from apikeyrouter.infrastructure.state_store.usage.counting import Cell, cells_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

_COLUMNS = UsageRow.__struct_fields__
_CELL_COLUMNS = ("start", *DIMENSIONS, *COUNTS)
_ROW_TAIL = "ON CONFLICT DO NOTHING RETURNING moment, request_id"
_DAY = 24
#: How long requests, sums of hours and sums of days are kept.
_ROWS_FOR_DAYS, _HOURS_FOR_DAYS, _DAYS_FOR_DAYS = 31, 93, 800
#: Rows that are removed at a time.
_REMOVED_AT_ONCE = 5_000


def _cell_tail(table: str) -> str:
    changes = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in COUNTS)
    return f"ON CONFLICT (start, {', '.join(DIMENSIONS)}) DO UPDATE SET {changes}"


_TABLES = {1: "usage_hours", _DAY: "usage_days"}
_CELL_TAILS = {table: _cell_tail(table) for table in _TABLES.values()}


def write_usage(connection: "Connection", usage: Sequence[UsageRow], mark: str) -> None:
    """Add rows, and to the sums those that were not there yet.

    Args:
        mark: How the driver marks values, as in `in_sizes`.
    """
    row_by_place = {(row.moment, row.request_id): row for row in usage}
    rows = list(row_by_place.values())
    fresh: list[UsageRow] = []
    for statement, values in in_sizes(
        "usage_rows", _COLUMNS, rows, msgspec.structs.astuple, mark, _ROW_TAIL
    ):
        added = connection.exec_driver_sql(statement, values)
        places: list[Any] = list(added)
        fresh += [row_by_place[moment, name] for moment, name in places]
    cells = cells_of(fresh)
    for span, table in _TABLES.items():
        sums = _coarser(cells, span) if span > 1 else cells
        # In one order, so that processes that write at once never wait for each other in a ring.
        for statement, values in in_sizes(
            table, _CELL_COLUMNS, sorted(sums.items()), _cell_values, mark, _CELL_TAILS[table]
        ):
            connection.exec_driver_sql(statement, values)


def _cell_values(item: tuple[Cell, UsageCounts]) -> tuple[Any, ...]:
    cell, counts = item
    return (*cell, *msgspec.structs.astuple(counts))


def _coarser(cells: Mapping[Cell, UsageCounts], span: int) -> dict[Cell, UsageCounts]:
    found: dict[Cell, UsageCounts] = {}
    for cell, counts in cells.items():
        coarse = (cell[0] - cell[0] % span, *cell[1:])
        found.setdefault(coarse, UsageCounts()).merge(counts)
    return found


def page_statement(query: UsageQuery) -> tuple[str, dict[str, Any]]:
    """Return the query for one page of requests, and its values."""
    values: dict[str, Any] = {
        name: value for name in DIMENSIONS if (value := getattr(query, name)) is not None
    }
    conditions = [f"{name} = :{name}" for name in values]
    if query.outcome is not None:
        conditions += _outcome_conditions(query.outcome)
    bounds: dict[str, Any] = {}
    if query.outcome not in (None, "failed"):
        bounds["outcome"] = query.outcome
    if query.since is not None:
        conditions.append("moment >= :since")
        bounds["since"] = micros(query.since)
    if query.until is not None:
        conditions.append("moment < :until")
        bounds["until"] = micros(query.until)
    if query.before is not None:
        conditions.append("(moment, request_id) < (:before_moment, :before_id)")
        bounds["before_moment"], bounds["before_id"] = query.before
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return (
        f"SELECT {', '.join(_COLUMNS)} FROM usage_rows {where}"  # noqa: S608 - names of our own
        "ORDER BY moment DESC, request_id DESC LIMIT :most",
        {**values, **bounds, "most": query.limit},
    )


def _outcome_conditions(outcome: str) -> Iterator[str]:
    """Yield conditions in the words of the indexes, which are of few rows."""
    if outcome == "failed":
        yield from ("outcome <> 'ok'", "outcome <> 'cancelled'")
    else:
        yield "outcome = :outcome"
        if outcome != "ok":
            yield "outcome <> 'ok'"


def sum_statements(query: SumQuery) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield queries for the parts of sums: start, group and counts; each with its values.

    Whole days have rows of their own, what stands out on either side is summed by hours.
    """
    first, end = query.first_hour, query.end_hour
    if query.period == "hour":
        yield _sum_statement(query, 1, first, end)
        return
    first_day, end_day = -(-first // _DAY) * _DAY, end // _DAY * _DAY
    if first_day >= end_day:
        yield _sum_statement(query, 1, first, end)
        return
    yield _sum_statement(query, _DAY, first_day, end_day)
    for start, stop in ((first, first_day), (end_day, end)):
        if start < stop:
            yield _sum_statement(query, 1, start, stop)


def _sum_statement(query: SumQuery, span: int, start: int, stop: int) -> tuple[str, dict[str, Any]]:
    conditions = ["start >= :first", "start < :stop", *(f"{name} = :{name}" for name in query.only)]
    period = "start" if query.period == "hour" else f"start - start % {_DAY}"
    group = ", ".join((period, *query.group_by))
    # Sums of whole numbers are decimal numbers to some databases.
    counts = ", ".join(f"CAST(SUM({name}) AS BIGINT)" for name in COUNTS)
    return (
        f"SELECT {group}, {counts} FROM {_TABLES[span]} "  # noqa: S608 - names of our own
        f"WHERE {' AND '.join(conditions)} GROUP BY {group}",
        {"first": start, "stop": stop, **{str(name): value for name, value in query.only.items()}},
    )


def removals(now: float) -> Iterator[tuple[str, int]]:
    """Yield statements that remove what is too old at *now*, each a bounded number of the oldest.

    Each has its bound as the value `oldest`.
    """
    today = int(now // 86_400)
    for table, column, oldest in (
        ("usage_rows", "moment", (today - _ROWS_FOR_DAYS) * _DAY * HOUR_MICROS),
        ("usage_hours", "start", (today - _HOURS_FOR_DAYS) * _DAY),
        ("usage_days", "start", (today - _DAYS_FOR_DAYS) * _DAY),
    ):
        yield (
            f"DELETE FROM {table} WHERE {column} < :oldest AND {column} <= COALESCE("  # noqa: S608
            f"(SELECT {column} FROM {table} ORDER BY {column} LIMIT 1 "
            f"OFFSET {_REMOVED_AT_ONCE}), :oldest)",
            oldest,
        )
