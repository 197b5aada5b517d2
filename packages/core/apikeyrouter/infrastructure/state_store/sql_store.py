"""SQLite and PostgreSQL, through SQLAlchemy.

Writes that come together share a transaction. A SQLite file is made readable to its
owner alone; it is written ahead, so that readers and other processes go on meanwhile,
and synced at every commit.
"""

import asyncio
import os
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
from apikeyrouter.infrastructure.state_store.sql_statements import (
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
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_TYPES = {
    "sqlite": {"text": "TEXT", "bytes": "BLOB", "clustered": " WITHOUT ROWID"},
    # By bytes, not by the language of the server: pages go on by id.
    "postgresql": {"text": 'TEXT COLLATE "C"', "bytes": "BYTEA", "clustered": ""},
}
#: Of a step of the layout only one process takes it at a time.
_STEP_LOCK = 4_162_011
_PATIENCE_S = 10


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
        self._is_sqlite = url.startswith("sqlite:")
        self._path = _path_of(url) if self._is_sqlite else None
        module, extra = ("aiosqlite", "sql") if self._is_sqlite else ("asyncpg", "postgres")
        self._sql = driver("sqlalchemy", "greenlet", "sqlalchemy.ext.asyncio", module, extra=extra)
        self._url = (
            f"{'sqlite' if self._is_sqlite else 'postgresql'}+{module}://"
            + (url.partition("://")[2])
        )
        self._engine: AsyncEngine | None = None
        self._opening = asyncio.Lock()
        self._writer: GroupCommit[AsyncConnection] = GroupCommit(
            self._transact, is_shared=self._is_outage
        )

    def __repr__(self) -> str:
        return f"SqlStateStore({self._shown!r})"

    async def open(self) -> None:
        """Connect and bring the tables up to date."""
        async with self._opening:
            if self._engine is not None:
                return
            engine = self._make_engine()
            try:
                await self._guard(self._take_steps(engine))
            except BaseException:
                await engine.dispose()
                raise
            self._engine = engine

    async def close(self) -> None:
        """Finish what is being written, and disconnect."""
        await self._writer.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

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
        mark = "?" if self._is_sqlite else "$"
        writes = upserts(rows, mark)

        async def write(connection: "AsyncConnection") -> None:
            for statement, values in writes:
                await connection.exec_driver_sql(statement, values)
            if usage:
                await write_usage(connection, usage, mark)

        await self._commit(write)

    async def _swap(self, row: Row, expect: int | None) -> bool:
        statement = INSERT if expect is None else UPDATE
        values = {**values_of(row), "expect": expect}
        if expect is None:
            del values["expect"]

        async def write(connection: "AsyncConnection") -> bool:
            done = await connection.execute(self._sql.text(statement), values)
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
        async def write(connection: "AsyncConnection") -> None:
            await connection.execute(self._sql.text(DELETE), {"kind": kind, "id": name})

        await self._commit(write)

    async def _trim(self, kind: str, most: int) -> None:
        statements: list[tuple[str, Mapping[str, Any]]] = [trimming(kind, most)]
        if kind == USAGE:
            statements = [(text, {"oldest": oldest}) for text, oldest in removals(time.time())]

        async def write(connection: "AsyncConnection") -> None:
            for statement, values in statements:
                await connection.execute(self._sql.text(statement), values)

        await self._commit(write)

    async def _commit(self, write: "Callable[[AsyncConnection], Awaitable[Any]]") -> Any:
        if self._engine is None:
            await self.open()
        return await self._guard(self._writer.run(write))

    async def _select(self, query: str, values: dict[str, Any]) -> Sequence[Any]:
        if self._engine is None:
            await self.open()
        rows: Sequence[Any] = await self._guard(self._read_rows(query, values))
        return rows

    async def _read_rows(self, query: str, values: dict[str, Any]) -> Sequence[Any]:
        assert self._engine is not None  # noqa: S101 - opened by the caller
        async with self._engine.connect() as connection:
            return (await connection.execute(self._sql.text(query), values)).all()

    async def _transact(self, work: "Callable[[AsyncConnection], Awaitable[None]]") -> None:
        assert self._engine is not None  # noqa: S101 - opened before anything is written
        async with self._engine.begin() as connection:
            await work(connection)

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

    def _make_engine(self) -> "AsyncEngine":
        options: dict[str, Any] = {"timeout": _PATIENCE_S}
        if self._path is not None:
            _make_private(self._path)
        else:
            options["command_timeout"] = 3 * _PATIENCE_S
        make = driver("sqlalchemy.ext.asyncio", extra="sql").create_async_engine
        engine: AsyncEngine = make(
            self._url, connect_args=options, hide_parameters=True, pool_pre_ping=not self._is_sqlite
        )
        if self._is_sqlite:
            self._sql.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine

    async def _write_ahead(self, engine: "AsyncEngine") -> None:
        """Switch the file to write ahead, which stays so.

        SQLite does not wait for others here, such as those that do the same.
        """
        for pause_s in (*[0.02] * 100, None):
            try:
                async with engine.connect() as connection:
                    await connection.execute(self._sql.text("PRAGMA journal_mode = WAL"))
                return
            except self._sql.exc.OperationalError:
                if pause_s is None:
                    raise
                await asyncio.sleep(pause_s)

    async def _take_steps(self, engine: "AsyncEngine") -> None:
        text, steps = self._sql.text, steps_of("sql")
        types = _TYPES[engine.dialect.name]
        if self._is_sqlite:
            await self._write_ahead(engine)
        async with engine.begin() as connection:
            if self._is_sqlite:
                # Locks the file before it is looked at; others that open it wait.
                await connection.execute(text("BEGIN IMMEDIATE"))
            else:
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({_STEP_LOCK})"))
            await connection.execute(
                text(
                    "CREATE TABLE IF NOT EXISTS layout_steps "
                    "(number INTEGER PRIMARY KEY, name TEXT NOT NULL)"
                )
            )
            found = await connection.execute(
                text("SELECT number, name FROM layout_steps ORDER BY number DESC LIMIT 1")
            )
            taken, name = found.first() or (0, "")
            for step in steps_after(taken, name, store=self._shown, steps=steps):
                for statement in _statements_of(step.text.format(**types)):
                    await connection.execute(text(statement))
                await connection.execute(
                    text("INSERT INTO layout_steps (number, name) VALUES (:number, :name)"),
                    {"number": step.number, "name": step.name},
                )


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    try:
        for setting in ("busy_timeout = 10000", "synchronous = FULL"):
            cursor.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    cursor.close()


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


def _make_private(path: Path) -> None:
    """Make the file before the database does, readable to its owner alone.

    Raises:
        StateStoreError: It cannot be made.
    """
    try:
        # Never opened when it is there: closing it would end locks that this process holds on it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StateStoreError(f"sqlite:///{path}: {error.strerror or error}") from error


def _reason_of(error: BaseException) -> str:
    """Return the driver's own words, without statement and values."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, TimeoutError) or not str(original):
        return f"no answer in time ({type(original).__name__})"
    return str(original).splitlines()[0]
