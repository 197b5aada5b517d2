"""SQLite and PostgreSQL, through SQLAlchemy. Writes that come together share a transaction."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apikeyrouter.domain.interfaces.usage_records import (
    Dimension,
    Period,
    SumQuery,
    UsageCounts,
    UsageQuery,
    UsageRow,
    UsageSum,
)
from apikeyrouter.errors import StateStoreError
from apikeyrouter.infrastructure.state_store.drivers import bare, driver
from apikeyrouter.infrastructure.state_store.group_commit import GroupCommit
from apikeyrouter.infrastructure.state_store.layouts import steps_after, steps_of
from apikeyrouter.infrastructure.state_store.record_store import RecordStore
from apikeyrouter.infrastructure.state_store.records import Row, Search
from apikeyrouter.infrastructure.state_store.sql.databases import (
    Database,
    PostgresServer,
    SqliteFile,
)
from apikeyrouter.infrastructure.state_store.sql.sql_statements import (
    DELETE,
    INSERT,
    UPDATE,
    conditions_of,
    selection,
    trimming,
    upserts,
    values_of,
)
from apikeyrouter.infrastructure.state_store.usage.counting import Sums
from apikeyrouter.infrastructure.state_store.usage.sql_usage import (
    page_statement,
    removals,
    sum_statements,
    write_usage,
)
from apikeyrouter.infrastructure.state_store.usage.usage_codec import USAGE

if TYPE_CHECKING:
    from sqlalchemy import Connection

_TYPES = {
    "sqlite": {"text": "TEXT", "bytes": "BLOB", "clustered": " WITHOUT ROWID"},
    # By bytes, not by the language of the server: pages go on by id.
    "postgresql": {"text": 'TEXT COLLATE "C"', "bytes": "BYTEA", "clustered": ""},
}


class SqlStateStore(RecordStore):
    """Keeps records in a SQLite file or a PostgreSQL database.

    Args:
        url: `sqlite:///file.db` (three slashes: from the working directory, four: from
            the root) or `postgresql://user:password@host:5432/database`.

    Raises:
        StateStoreError: A driver is missing, or the address names no file.
    """

    def __init__(self, url: str, *, max_decisions: int = 10_000, max_transitions: int = 10_000):
        super().__init__(max_decisions=max_decisions, max_transitions=max_transitions)
        self._shown = bare(url)
        self._family, place = url.partition("://")[::2]
        self._database: Database
        if self._family == "sqlite":
            self._database = SqliteFile(_path_of(url), url)
        else:
            self._family = "postgresql"
            self._database = PostgresServer(f"postgresql+asyncpg://{place}")
        self._sql = driver("sqlalchemy", extra="sql")
        self._is_open = False
        self._opening = asyncio.Lock()
        self._writer: GroupCommit[Connection] = GroupCommit(
            self._database.transact, is_shared=self._is_outage
        )

    def __repr__(self) -> str:
        return f"SqlStateStore({self._shown!r})"

    async def open(self) -> None:
        """Connect and bring the tables up to date."""
        async with self._opening:
            if self._is_open:
                return
            try:
                await self._guard(self._database.open(self._take_steps))
            except BaseException:
                await self._database.close()
                raise
            self._is_open = True

    async def close(self) -> None:
        """Finish what is being written, and disconnect."""
        await self._writer.close()
        self._is_open = False
        await self._database.close()

    async def usage_page(self, query: UsageQuery) -> list[UsageRow]:
        """Return the requests that match, newest first."""
        return [UsageRow(*columns) for columns in await self._select(*page_statement(query))]

    async def usage_sums(
        self,
        since: datetime,
        until: datetime,
        period: Period = "day",
        group_by: Sequence[Dimension] = (),
        *,
        only: Mapping[Dimension, str] | None = None,
    ) -> list[UsageSum]:
        """Return what requests sum up to; no request is read for it."""
        query = SumQuery.of(since, until, period, group_by, only)
        sums, counted = Sums(query), 1 + len(query.group_by)
        for statement, values in sum_statements(query):
            for columns in await self._select(statement, values):
                sums.add(columns[0], tuple(columns[1:counted]), UsageCounts(*columns[counted:]))
        return sums.result()

    async def _write(self, rows: Sequence[Row]) -> None:
        await self._write_traffic(rows, ())

    async def _write_traffic(self, rows: Sequence[Row], usage: Sequence[UsageRow]) -> None:
        mark = "?" if self._family == "sqlite" else "$"
        writes = upserts(rows, mark)

        def write(connection: "Connection") -> None:
            for statement, values in writes:
                connection.exec_driver_sql(statement, values)
            if usage:
                write_usage(connection, usage, mark)

        await self._commit(write)

    async def _swap(self, row: Row, expect: int | None) -> bool:
        statement = INSERT if expect is None else UPDATE
        values = {**values_of(row), "expect": expect}
        if expect is None:
            del values["expect"]

        def write(connection: "Connection") -> bool:
            done = connection.execute(self._sql.text(statement), values)
            return bool(done.rowcount == 1)

        return bool(await self._commit(write))

    async def _read(self, kind: str, name: str) -> Row | None:
        query = selection(kind, "kind = :kind AND id = :id")
        rows = await self._select(query, {"kind": kind, "id": name})
        return Row(*rows[0]) if rows else None

    async def _page(self, search: Search, limit: int, offset: int) -> list[Row]:
        conditions, values = conditions_of(search)
        query = selection(search.kind, conditions)
        query += " ORDER BY moment DESC, id DESC LIMIT :limit OFFSET :offset"
        rows = await self._select(query, {**values, "limit": limit, "offset": offset})
        return [Row(*columns) for columns in rows]

    async def _delete(self, kind: str, name: str) -> None:
        def write(connection: "Connection") -> None:
            connection.execute(self._sql.text(DELETE), {"kind": kind, "id": name})

        await self._commit(write)

    async def _trim(self, kind: str, most: int) -> None:
        statements: list[tuple[str, Mapping[str, Any]]] = [trimming(kind, most)]
        if kind == USAGE:
            statements = [(text, {"oldest": oldest}) for text, oldest in removals(time.time())]

        def write(connection: "Connection") -> None:
            for statement, values in statements:
                connection.execute(self._sql.text(statement), values)

        await self._commit(write)

    async def _commit(self, write: "Callable[[Connection], Any]") -> Any:
        if not self._is_open:
            await self.open()
        return await self._guard(self._writer.run(write))

    async def _select(self, query: str, values: dict[str, Any]) -> Sequence[Any]:
        if not self._is_open:
            await self.open()

        def read(connection: "Connection") -> Sequence[Any]:
            return connection.execute(self._sql.text(query), values).all()

        rows: Sequence[Any] = await self._guard(self._database.read(read))
        return rows

    def _is_outage(self, error: BaseException) -> bool:
        outages = (OSError, TimeoutError, self._sql.exc.OperationalError)
        return isinstance(error, (*outages, self._sql.exc.InterfaceError))

    async def _guard(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for *awaitable*; what the driver raises becomes an error of ours.

        Raises:
            StateStoreError: The database failed; no value and no password is in the message.
        """
        try:
            return await awaitable
        except (self._sql.exc.SQLAlchemyError, OSError, TimeoutError) as error:
            raise StateStoreError(f"{self._shown}: {_reason_of(error)}") from error

    def _take_steps(self, connection: "Connection") -> None:
        text, steps = self._sql.text, steps_of("sql")
        connection.execute(
            text(
                "CREATE TABLE IF NOT EXISTS layout_steps "
                "(number INTEGER PRIMARY KEY, name TEXT NOT NULL)"
            )
        )
        found = connection.execute(
            text("SELECT number, name FROM layout_steps ORDER BY number DESC LIMIT 1")
        )
        taken, name = found.first() or (0, "")
        for step in steps_after(taken, name, store=self._shown, steps=steps):
            for statement in _statements_of(step.text.format(**_TYPES[self._family])):
                connection.execute(text(statement))
            connection.execute(
                text("INSERT INTO layout_steps (number, name) VALUES (:number, :name)"),
                {"number": step.number, "name": step.name},
            )


def _statements_of(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [part for part in "\n".join(lines).split(";") if part.strip()]


def _path_of(url: str) -> Path:
    location = url.partition(":///")[2].partition("?")[0]
    if not location or location.startswith(":memory:"):
        raise StateStoreError(
            f"{bare(url)} names no file: write sqlite:///apikeyrouter.db, or memory:// to keep "
            "nothing"
        )
    return Path(location)


def _reason_of(error: BaseException) -> str:
    """Return the driver's own words, without statement and values."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, TimeoutError) or not str(original):
        return f"no answer in time ({type(original).__name__})"
    return str(original).splitlines()[0]
