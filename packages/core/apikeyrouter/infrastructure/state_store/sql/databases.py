"""How a SQLite file and a PostgreSQL server are reached: both run the same work in a transaction.

Work is a plain function of a connection. At a server it runs in the event loop and gives way
where the driver waits; at a file, which can only block, it runs in a thread. The whole of it is
handed over at once: a hop from thread to thread costs as much as writing several rows.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from apikeyrouter.errors import StateStoreError
from apikeyrouter.infrastructure.state_store.drivers import driver

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

Result = TypeVar("Result")
_PATIENCE_S = 10
_READERS = 2
#: Of the steps of a layout only one process takes each.
_STEP_LOCK = 4_162_011
_SQLITE_SETTINGS = (f"busy_timeout = {1_000 * _PATIENCE_S}", "synchronous = FULL")


class Database(Protocol):
    """Where tables are kept."""

    async def open(self, prepare: "Callable[[Connection], None]") -> None:
        """Connect, and run *prepare*, which changes the tables, while other processes wait."""

    async def transact(self, work: "Callable[[Connection], Result]") -> Result:
        """Run *work* in a transaction of its own; it is durable on return."""

    async def read(self, work: "Callable[[Connection], Result]") -> Result:
        """Run *work*, which changes nothing, beside what is written."""

    async def close(self) -> None:
        """Finish what runs, and let go of all connections; it can be opened again."""


class SqliteFile:
    """A SQLite file, readable to its owner alone.

    It is written ahead, so that readers and other processes go on meanwhile, and synced at
    every commit.

    Raises:
        StateStoreError: The driver is missing.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._sql = driver("sqlalchemy", extra="sql")
        self._path, self._url = path, url
        self._engine: Engine | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._readers: ThreadPoolExecutor | None = None

    async def open(self, prepare: "Callable[[Connection], None]") -> None:
        """Make the file if there is none, connect, and run *prepare* while other processes wait.

        Raises:
            StateStoreError: The file cannot be made.
        """
        _make_private(self._path)
        self._engine = self._sql.create_engine(
            self._url, connect_args={"timeout": _PATIENCE_S}, hide_parameters=True
        )
        self._sql.event.listen(self._engine, "connect", _prepare_sqlite)
        self._writer = ThreadPoolExecutor(1, "sqlite-writer")
        self._readers = ThreadPoolExecutor(_READERS, "sqlite-reader")
        await _call(self._writer, self._prepare, prepare)

    async def transact(self, work: "Callable[[Connection], Result]") -> Result:
        """Run *work* in a transaction of its own; it is durable on return. One writes at a time."""
        result: Result = await _call(self._writer, self._transact, work)
        return result

    async def read(self, work: "Callable[[Connection], Result]") -> Result:
        """Run *work*, which changes nothing, beside what is written."""
        result: Result = await _call(self._readers, self._read, work)
        return result

    async def close(self) -> None:
        """Finish what runs, and close the file; it can be opened again."""
        await asyncio.to_thread(self._close)

    def _prepare(self, work: "Callable[[Connection], None]") -> None:
        assert self._engine is not None  # noqa: S101 - opened
        self._write_ahead(self._engine)
        with self._engine.begin() as connection:
            # Locks the file before it is looked at; others that open it wait.
            connection.execute(self._sql.text("BEGIN IMMEDIATE"))
            work(connection)

    def _transact(self, work: "Callable[[Connection], Result]") -> Result:
        assert self._engine is not None  # noqa: S101 - opened
        with self._engine.begin() as connection:
            return work(connection)

    def _read(self, work: "Callable[[Connection], Result]") -> Result:
        assert self._engine is not None  # noqa: S101 - opened
        with self._engine.connect() as connection:
            return work(connection)

    def _close(self) -> None:
        for threads in (self._writer, self._readers):
            if threads is not None:
                threads.shutdown()
        if self._engine is not None:
            self._engine.dispose()

    def _write_ahead(self, engine: "Engine") -> None:
        """Switch the file to write ahead, which stays so.

        SQLite does not wait for others here, such as those that do the same.
        """
        for pause_s in (*[0.02] * 100, None):
            try:
                with engine.connect() as connection:
                    connection.execute(self._sql.text("PRAGMA journal_mode = WAL"))
                return
            except self._sql.exc.OperationalError:
                if pause_s is None:
                    raise
                time.sleep(pause_s)


class PostgresServer:
    """A PostgreSQL database.

    Raises:
        StateStoreError: A driver is missing.
    """

    def __init__(self, url: str) -> None:
        self._sql = driver(
            "sqlalchemy", "greenlet", "sqlalchemy.ext.asyncio", "asyncpg", extra="postgres"
        )
        self._url = url
        self._engine: AsyncEngine | None = None

    async def open(self, prepare: "Callable[[Connection], None]") -> None:
        """Connect, and run *prepare*, which changes the tables, while other processes wait."""
        make = driver("sqlalchemy.ext.asyncio", extra="postgres").create_async_engine
        self._engine = make(
            self._url,
            connect_args={"timeout": _PATIENCE_S, "command_timeout": 3 * _PATIENCE_S},
            hide_parameters=True,
            pool_pre_ping=True,
        )

        def locked(connection: "Connection") -> None:
            connection.execute(self._sql.text(f"SELECT pg_advisory_xact_lock({_STEP_LOCK})"))
            prepare(connection)

        await self.transact(locked)

    async def transact(self, work: "Callable[[Connection], Result]") -> Result:
        """Run *work* in a transaction of its own; it is durable on return."""
        assert self._engine is not None  # noqa: S101 - opened
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def read(self, work: "Callable[[Connection], Result]") -> Result:
        """Run *work*, which changes nothing, beside what is written."""
        assert self._engine is not None  # noqa: S101 - opened
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Let go of all connections; it can be opened again."""
        if self._engine is not None:
            await self._engine.dispose()


async def _call(threads: ThreadPoolExecutor | None, *call: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(threads, *call)


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    try:
        for setting in _SQLITE_SETTINGS:
            cursor.execute(f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    cursor.close()


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
