"""The statements on the two tables: of decisions, and of all other records."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain, count
from operator import attrgetter
from typing import Any, TypeVar

from apikeyrouter.infrastructure.state_store.decision_codec import KIND
from apikeyrouter.infrastructure.state_store.records import Row, Search

COLUMNS = Row.__struct_fields__
_DECISION_COLUMNS = ("id", "version", "moment", "key_id", "provider_id", "body")
_NAMES = ", ".join(COLUMNS)
_VALUES = ", ".join(f":{name}" for name in COLUMNS)
#: Kind -> what rows of it are selected from; all others stand in `records`.
_SOURCES = {
    KIND: f"(SELECT '{KIND}' AS kind, id, version, 0 AS revision, moment, key_id, provider_id, "  # noqa: S608 - names of our own
    "CAST(NULL AS TEXT) AS state, body FROM decisions) AS records"
}
INSERT = f"INSERT INTO records ({_NAMES}) VALUES ({_VALUES}) ON CONFLICT DO NOTHING"  # noqa: S608
UPDATE = (
    f"UPDATE records SET {', '.join(f'{name} = :{name}' for name in COLUMNS[2:])} "  # noqa: S608
    "WHERE kind = :kind AND id = :id AND revision = :expect"
)
DELETE = "DELETE FROM records WHERE kind = :kind AND id = :id"
_TRIM = (
    "DELETE FROM records WHERE kind = :kind AND id IN (SELECT id FROM records "
    "WHERE kind = :kind ORDER BY moment DESC, id DESC LIMIT 100000 OFFSET :most)"
)
_TRIM_DECISIONS = (
    "DELETE FROM decisions WHERE (moment, id) <= "
    "(SELECT moment, id FROM decisions ORDER BY moment DESC, id DESC LIMIT 1 OFFSET :most)"
)


#: Rows that one statement writes. A driver's thread asks for the interpreter's lock at each
#: statement, and waits for it while the service is busy; a few sizes, so that each is parsed once.
_SIZES = (512, 64, 8, 1)
Write = tuple[str, tuple[Any, ...]]
Kept = TypeVar("Kept")


def upserts(rows: Sequence[Row], mark: str) -> list[Write]:
    """Return statements in the driver's own words that write *rows* of different ids.

    Args:
        mark: What stands for a value: `?`, or `$` to be followed by its number.
    """
    decisions = [row for row in rows if row.kind == KIND]
    others = [row for row in rows if row.kind != KIND]
    return [
        *in_sizes("records", COLUMNS, others, _record_values, mark, _UPSERT),
        *in_sizes("decisions", _DECISION_COLUMNS, decisions, _decision_values, mark, _REPLACE),
    ]


_record_values: Callable[[Row], tuple[Any, ...]] = attrgetter(*COLUMNS)
_decision_values: Callable[[Row], tuple[Any, ...]] = attrgetter(*_DECISION_COLUMNS)


def _replacing(columns: tuple[str, ...], *key: str) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"


_UPSERT = f"{_replacing(COLUMNS, 'kind', 'id')} WHERE records.revision <= excluded.revision"
_REPLACE = _replacing(_DECISION_COLUMNS, "id")


def in_sizes(
    table: str,
    columns: tuple[str, ...],
    rows: Sequence[Kept],
    values_in: Callable[[Kept], tuple[Any, ...]],
    mark: str,
    tail: str,
) -> Iterator[Write]:
    """Yield statements that insert *rows*, many by each.

    Args:
        mark: What stands for a value, as in `upserts`.
        tail: What the statements end with.
    """
    first = 0
    for size in _SIZES:
        while len(rows) - first >= size:
            values = chain.from_iterable(map(values_in, rows[first : first + size]))
            yield _insertion(table, columns, size, mark, tail), tuple(values)
            first += size


@cache
def _insertion(table: str, columns: tuple[str, ...], size: int, mark: str, tail: str) -> str:
    numbers = count(1)
    one = (
        "(" + ", ".join(f"${next(numbers)}" if mark == "$" else mark for _ in columns) + ")"
        for _ in range(size)
    )
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join(one)} {tail}"  # noqa: S608


def values_of(row: Row) -> dict[str, Any]:
    """Return the values of a row by their names."""
    return dict(zip(COLUMNS, _record_values(row), strict=True))


def selection(kind: str, conditions: str) -> str:
    """Return the query for rows of a kind that meet *conditions*."""
    return f"SELECT {_NAMES} FROM {_SOURCES.get(kind, 'records')} WHERE {conditions}"  # noqa: S608


def trimming(kind: str, most: int) -> tuple[str, Mapping[str, Any]]:
    """Return what removes all but the newest *most* of a kind."""
    if kind == KIND:
        return _TRIM_DECISIONS, {"most": most}
    return _TRIM, {"kind": kind, "most": most}


def conditions_of(search: Search) -> tuple[str, dict[str, Any]]:
    """Return a search as conditions, and their values."""
    wanted = {
        name: value
        for name in ("kind", "key_id", "provider_id", "state")
        if (value := getattr(search, name)) is not None
    }
    conditions = [f"{name} = :{name}" for name in wanted]
    values: dict[str, Any] = dict(wanted)
    if search.earliest is not None:
        conditions.append("moment >= :earliest")
        values["earliest"] = search.earliest
    if search.latest is not None:
        conditions.append("moment <= :latest")
        values["latest"] = search.latest
    if search.before is not None:
        conditions.append("(moment, id) < (:before_moment, :before_id)")
        values["before_moment"], values["before_id"] = search.before
    return " AND ".join(conditions), values
