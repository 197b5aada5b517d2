"""MongoDB, through PyMongo's own asyncio client: one document a record.

Writes are acknowledged by a majority and journalled. A batch is not a transaction,
which a single server does not have: what a failure interrupts may be written again
without harm, since each record replaces itself.
"""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from apikeyrouter.errors import StateStoreError
from apikeyrouter.infrastructure.state_store.drivers import bare, driver
from apikeyrouter.infrastructure.state_store.layouts import steps_after, steps_of
from apikeyrouter.infrastructure.state_store.record_store import RecordStore
from apikeyrouter.infrastructure.state_store.records import Row, Search

if TYPE_CHECKING:
    from pymongo import AsyncMongoClient
    from pymongo.asynchronous.collection import AsyncCollection

_Fields = dict[str, Any]
_NEWEST_FIRST = [("moment", -1), ("id", -1)]
_DUPLICATE = 11_000
_PATIENCE_MS = 10_000


class MongoStateStore(RecordStore):
    """Keeps records in MongoDB.

    Args:
        url: `mongodb://user:password@host:27017` or `mongodb+srv://…`; a database that
            stands in it goes before *database*.

    Raises:
        StateStoreError: The driver is missing, or the address is none.
    """

    def __init__(
        self,
        url: str = "mongodb://localhost:27017",
        *,
        database: str = "apikeyrouter",
        max_decisions: int = 10_000,
        max_transitions: int = 10_000,
    ) -> None:
        super().__init__(max_decisions=max_decisions, max_transitions=max_transitions)
        self._shown = bare(url)
        self._driver = driver("pymongo", extra="mongo")
        self._errors = driver("pymongo.errors", extra="mongo")
        self._url, self._default_database = url, database
        self._client: AsyncMongoClient[_Fields] | None = None
        self._opening = asyncio.Lock()

    def __repr__(self) -> str:
        return f"MongoStateStore({self._shown!r})"

    async def open(self) -> None:
        """Connect and bring the indexes up to date."""
        async with self._opening:
            if self._client is not None:
                return
            try:
                client: AsyncMongoClient[_Fields] = self._driver.AsyncMongoClient(
                    self._url,
                    serverSelectionTimeoutMS=_PATIENCE_MS,
                    connectTimeoutMS=_PATIENCE_MS,
                    socketTimeoutMS=3 * _PATIENCE_MS,
                    w="majority",
                    journal=True,
                )
            except (self._errors.PyMongoError, ValueError) as error:
                raise StateStoreError(f"{self._shown}: {error}") from None
            try:
                await self._guard(self._take_steps(client))
            except BaseException:
                await client.close()
                raise
            self._client = client

    async def close(self) -> None:
        """Disconnect; the next call connects again."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _write(self, rows: Sequence[Row]) -> None:
        collection = await self._records()
        await self._guard(self._write_rows(collection, rows))

    async def _write_rows(
        self, collection: "AsyncCollection[_Fields]", rows: Sequence[Row]
    ) -> None:
        replace = self._driver.ReplaceOne
        try:
            writes = [replace(_older_than(row), _fields(row), upsert=True) for row in rows]
            await collection.bulk_write(writes, ordered=False)
        except self._errors.BulkWriteError as error:
            failed = (error.details or {}).get("writeErrors", [])
            if not failed or any(entry["code"] != _DUPLICATE for entry in failed):
                raise
            # There is such a row by now: it is replaced, unless it is of a higher revision.
            again = [rows[entry["index"]] for entry in failed]
            writes = [replace(_older_than(row), _fields(row)) for row in again]
            await collection.bulk_write(writes, ordered=False)

    async def _swap(self, row: Row, expect: int | None) -> bool:
        collection = await self._records()
        return bool(await self._guard(self._swap_row(collection, row, expect)))

    async def _swap_row(
        self, collection: "AsyncCollection[_Fields]", row: Row, expect: int | None
    ) -> bool:
        if expect is not None:
            name = {"_id": _name(row.kind, row.id), "revision": expect}
            return (await collection.replace_one(name, _fields(row))).matched_count == 1
        try:
            await collection.insert_one(_fields(row))
        except self._errors.DuplicateKeyError:
            return False
        return True

    async def _read(self, kind: str, name: str) -> Row | None:
        collection = await self._records()
        found = await self._guard(collection.find_one({"_id": _name(kind, name)}))
        return None if found is None else _row(found)

    async def _page(self, search: Search, limit: int, offset: int) -> list[Row]:
        if limit == 0:
            # To the server that is no limit.
            return []
        collection = await self._records()
        cursor = collection.find(_filter(search)).sort(_NEWEST_FIRST).skip(offset).limit(limit)
        return [_row(fields) for fields in await self._guard(cursor.to_list())]

    async def _delete(self, kind: str, name: str) -> None:
        collection = await self._records()
        await self._guard(collection.delete_one({"_id": _name(kind, name)}))

    async def _trim(self, kind: str, most: int) -> None:
        collection = await self._records()
        newest_first = collection.find({"kind": kind}, {"_id": 1}).sort(_NEWEST_FIRST)
        gone = await self._guard(newest_first.skip(most).limit(100_000).to_list())
        if gone:
            names = [fields["_id"] for fields in gone]
            await self._guard(collection.delete_many({"_id": {"$in": names}}))

    async def _records(self) -> "AsyncCollection[_Fields]":
        if self._client is None:
            await self.open()
        assert self._client is not None  # noqa: S101 - opened just now
        return self._client.get_default_database(self._default_database)["records"]

    async def _guard(self, awaitable: Awaitable[Any]) -> Any:
        """Wait for *awaitable*; what the driver raises becomes an error of ours.

        Raises:
            StateStoreError: The server failed; no value and no password is in the message.
        """
        try:
            return await awaitable
        except (self._errors.PyMongoError, OSError, TimeoutError) as error:
            reason = str(error).partition(", Timeout:")[0].splitlines()
            raise StateStoreError(
                f"{self._shown}: {reason[0] if reason else type(error).__name__}"
            ) from error

    async def _take_steps(self, client: "AsyncMongoClient[_Fields]") -> None:
        database = client.get_default_database(self._default_database)
        taken = await database["layout_steps"].find_one({}, sort=[("_id", -1)])
        number, name = (taken["_id"], taken["name"]) if taken else (0, "")
        for step in steps_after(number, name, store=self._shown, steps=steps_of("mongo")):
            for collection, indexes in json.loads(step.text).items():
                for fields in indexes:
                    await database[collection].create_index([(field, 1) for field in fields])
            # Steps may be taken twice, by processes that start together.
            await database["layout_steps"].replace_one(
                {"_id": step.number}, {"_id": step.number, "name": step.name}, upsert=True
            )


def _name(kind: str, name: str) -> str:
    return f"{kind}/{name}"


def _older_than(row: Row) -> _Fields:
    return {"_id": _name(row.kind, row.id), "revision": {"$lte": row.revision}}


def _fields(row: Row) -> _Fields:
    facts = {field: getattr(row, field) for field in Row.__struct_fields__}
    return {"_id": _name(row.kind, row.id), **facts}


def _row(fields: _Fields) -> Row:
    facts = {field: fields[field] for field in Row.__struct_fields__}
    return Row(**{**facts, "body": bytes(facts["body"])})


def _filter(search: Search) -> _Fields:
    wanted: _Fields = {
        name: value
        for name in ("kind", "key_id", "provider_id", "state")
        if (value := getattr(search, name)) is not None
    }
    moment: _Fields = {}
    if search.earliest is not None:
        moment["$gte"] = search.earliest
    if search.latest is not None:
        # Whole numbers: the same as up to it, which not every server finds by an index.
        moment["$lt"] = search.latest + 1
    if moment:
        wanted["moment"] = moment
    if search.before is not None:
        at, name = search.before
        wanted["$or"] = [{"moment": {"$lt": at}}, {"moment": at, "id": {"$lt": name}}]
    return wanted
