"""Redis and Valkey: a hash for each record, and sorted sets by moment to search in.

Every write is one script, so it happens whole or not at all. All names bear one hash
tag: on a cluster they live together, so that the script may touch all of them. How
much of it survives a crash of the server is up to the server: `appendonly yes` keeps
what was acknowledged.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from apikeyrouter.errors import StateStoreError
from apikeyrouter.infrastructure.state_store.drivers import bare, driver
from apikeyrouter.infrastructure.state_store.layouts import script, steps_after, steps_of
from apikeyrouter.infrastructure.state_store.record_store import RecordStore
from apikeyrouter.infrastructure.state_store.records import Row, Search

if TYPE_CHECKING:
    from redis.asyncio import Redis

_FIELDS = ("version", "revision", "moment", "key_id", "provider_id", "state", "body")
_WRITE, _REMOVE = script("redis", "write.lua"), script("redis", "remove.lua")
_CHUNK = 256
#: Rows that one script writes at most: others wait for it.
_ROWS_AT_ONCE = 512
_PATIENCE_S = 10.0


class RedisStateStore(RecordStore):
    """Keeps records in Redis or Valkey.

    Args:
        url: `redis://user:password@host:6379/0`, or `rediss://` for TLS.
        prefix: What all names begin with, so that several routers share a server.

    Raises:
        StateStoreError: The driver is missing, or the address is none.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        prefix: str = "apikeyrouter",
        max_decisions: int = 10_000,
        max_transitions: int = 10_000,
    ) -> None:
        super().__init__(max_decisions=max_decisions, max_transitions=max_transitions)
        self._shown = bare(url)
        self._driver = driver("redis.asyncio", extra="redis")
        self._errors = driver("redis.exceptions", extra="redis")
        self._prefix = f"{{{prefix}}}:"
        try:
            self._redis: Redis = self._driver.Redis.from_url(
                url,
                socket_connect_timeout=_PATIENCE_S,
                socket_timeout=_PATIENCE_S,
                health_check_interval=30,
            )
        except ValueError as error:
            raise StateStoreError(f"{self._shown}: {error}") from None
        self._opening = asyncio.Lock()
        self._is_open = False

    def __repr__(self) -> str:
        return f"RedisStateStore({self._shown!r})"

    async def open(self) -> None:
        """Connect and bring the layout up to date."""
        async with self._opening:
            if not self._is_open:
                await self._guard(self._take_steps())
                self._is_open = True

    async def close(self) -> None:
        """Disconnect; the next call connects again."""
        await self._redis.aclose()

    async def _write(self, rows: Sequence[Row]) -> None:
        for first in range(0, len(rows), _ROWS_AT_ONCE):
            await self._run_write("", rows[first : first + _ROWS_AT_ONCE])

    async def _swap(self, row: Row, expect: int | None) -> bool:
        written = await self._run_write("none" if expect is None else str(expect), [row])
        return written == 1

    async def _run_write(self, expected: str, rows: Sequence[Row]) -> int:
        values: list[Any] = [expected]
        for row in rows:
            values += [row.kind, row.id, row.version, row.revision, row.moment]
            values += [row.key_id or "", row.provider_id or "", row.state or "", row.body]
        return int(await self._call(self._redis.eval(_WRITE, 1, self._prefix, *values)))

    async def _read(self, kind: str, name: str) -> Row | None:
        [row] = await self._rows(kind, [name])
        return row

    async def _page(self, search: Search, limit: int, offset: int) -> list[Row]:
        found: list[Row] = []
        passed = 0
        last = search.before
        while len(found) < limit + offset:
            names = await self._names(search, passed)
            passed += len(names)
            rows = [row for row in await self._rows(search.kind, names) if row is not None]
            for row in rows:
                # What was written meanwhile shifts the places; nothing is taken twice.
                if (last is None or (row.moment, row.id) < last) and _matches(row, search):
                    found.append(row)
                    last = row.moment, row.id
            if len(names) < _CHUNK:
                break
        return found[offset : offset + limit]

    async def _names(self, search: Search, passed: int) -> list[str]:
        """Return the next ids of the narrowest index, newest first."""
        latest = search.latest
        if search.before is not None:
            latest = search.before[0] if latest is None else min(latest, search.before[0])
        names: list[bytes] = await self._call(
            self._redis.zrevrangebyscore(
                self._index(search),
                "+inf" if latest is None else latest,
                "-inf" if search.earliest is None else search.earliest,
                start=passed,
                num=_CHUNK,
            )
        )
        return [name.decode() for name in names]

    def _index(self, search: Search) -> str:
        kind = search.kind
        tagged = f"{len(kind.encode())}:{kind}"
        if search.key_id:
            return f"{self._prefix}by-key:{tagged}{search.key_id}"
        if search.provider_id:
            return f"{self._prefix}by-provider:{tagged}{search.provider_id}"
        return f"{self._prefix}by-moment:{kind}"

    async def _rows(self, kind: str, names: Sequence[str]) -> list[Row | None]:
        if not names:
            return []
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.hmget(self._name(kind, name), list(_FIELDS))
        found = await self._call(pipeline.execute())
        return [_row(kind, name, fields) for name, fields in zip(names, found, strict=True)]

    def _name(self, kind: str, name: str) -> str:
        return f"{self._prefix}row:{len(kind.encode())}:{kind}{name}"

    async def _delete(self, kind: str, name: str) -> None:
        await self._call(self._redis.eval(_REMOVE, 1, self._prefix, kind, name))

    async def _trim(self, kind: str, most: int) -> None:
        await self._call(self._redis.eval(_REMOVE, 1, self._prefix, kind, "", most))

    async def _call(self, awaitable: Any) -> Any:
        if not self._is_open:
            await self.open()
        return await self._guard(awaitable)

    async def _guard(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for *awaitable*; what the driver raises becomes an error of ours.

        Raises:
            StateStoreError: The server failed; no value and no password is in the message.
        """
        try:
            return await awaitable
        except (self._errors.RedisError, OSError, TimeoutError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StateStoreError(f"{self._shown}: {reason}") from error

    async def _take_steps(self) -> None:
        name = f"{self._prefix}layout"
        kept: Any = await self._redis.get(name)
        number, _, last = (kept.decode() if kept else "0 ").partition(" ")
        for step in steps_after(int(number), last, store=self._shown, steps=steps_of("redis")):
            # Steps may be taken twice, by processes that start together.
            await self._redis.eval(step.text, 1, self._prefix)
            await self._redis.set(name, f"{step.number} {step.name}")


def _row(kind: str, name: str, fields: Sequence[bytes | None]) -> Row | None:
    version, revision, moment, key_id, provider_id, state, body = fields
    if version is None or revision is None or moment is None or body is None:
        return None
    return Row(
        kind, name, int(version), int(revision), int(moment),
        _text(key_id), _text(provider_id), _text(state), body,
    )  # fmt: skip


def _text(value: bytes | None) -> str | None:
    return value.decode() if value else None


def _matches(row: Row, search: Search) -> bool:
    return (
        (search.key_id is None or search.key_id == row.key_id)
        and (search.provider_id is None or search.provider_id == row.provider_id)
        and (search.state is None or search.state == row.state)
    )
