"""What stores outside of memory have in common: records to rows and back, and pages.

A store adds the few verbs on rows. Nothing is read that is not returned: a query
goes through its matches in pages of bounded size.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from apikeyrouter.domain.interfaces.state_store import (
    Document,
    StateConflictError,
    StateQuery,
    StateStore,
    StoredRecord,
)
from apikeyrouter.domain.interfaces.usage_records import (
    Dimension,
    Period,
    SumQuery,
    UsageQuery,
    UsageRow,
    UsageSum,
)
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.quota_state import QuotaState
from apikeyrouter.domain.models.routing_decision import RoutingDecision
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.infrastructure.state_store.records import (
    Row,
    Search,
    record_of,
    row_of,
    search_of,
)
from apikeyrouter.infrastructure.state_store.usage.counting import (
    Sums,
    cells_of,
    matches,
    usage_row_of,
)
from apikeyrouter.infrastructure.state_store.usage.usage_codec import (
    USAGE,
    row_of_usage,
    search_of_sums,
    search_of_usage,
    usage_of_row,
)

_PAGE_ROWS = 1_000
#: Requests that are counted at most where each of them is a record like others.
_MOST_USAGE = 100_000
#: The oldest beyond the bound go when so many more were written.
TRIM_EVERY = 1_000


class RecordStore(StateStore):
    """A store of rows.

    Args:
        max_decisions: Decisions kept; somewhat more may stand there before the oldest go.
        max_transitions: Transitions kept, likewise.
    """

    keeps_documents = True

    def __init__(self, *, max_decisions: int = 10_000, max_transitions: int = 10_000) -> None:
        self._most: Mapping[str, int] = {
            "RoutingDecision": max_decisions,
            "StateTransition": max_transitions,
            USAGE: _MOST_USAGE,
        }
        self._written = dict.fromkeys(self._most, 0)

    async def save_key(self, key: APIKey) -> None:
        """Keep a key, its ciphertext included."""
        await self._write([row_of(key)])

    async def swap_key(self, key: APIKey, *, expect: int | None) -> None:
        """Keep a key in one step, if the revision kept is the one that was read."""
        if not await self._swap(row_of(key), expect):
            raise StateConflictError.of_key(key.id)

    async def get_key(self, key_id: str) -> APIKey | None:
        """Return the key or `None`."""
        found: APIKey | None = await self._record("APIKey", key_id)
        return found

    async def list_keys(self, provider_id: str | None = None) -> list[APIKey]:
        """Return all keys, or one provider's, oldest first."""
        rows = await self._find(Search("APIKey", provider_id=provider_id), None)
        return [record_of(row) for row in reversed(rows)]

    async def save_quota_state(self, state: QuotaState) -> None:
        """Keep the state of one key's quota."""
        await self._write([row_of(state)])

    async def get_quota_state(self, key_id: str) -> QuotaState | None:
        """Return the last kept state or `None`."""
        found: QuotaState | None = await self._record("QuotaState", key_id)
        return found

    async def save_routing_decision(self, decision: RoutingDecision) -> None:
        """Keep one decision."""
        await self.save_batch([decision])

    async def save_state_transition(self, transition: StateTransition) -> None:
        """Keep one move."""
        await self.save_batch([transition])

    async def save_batch(self, records: Sequence[StoredRecord | DecisionRecord]) -> None:
        """Keep several records in one go.

        A decision may come as the record that it is made of, which takes a tenth of the time.
        """
        rows = latest_of(row_of(record) for record in records)
        if not rows:
            return
        usage = [usage_row_of(record) for record in records if isinstance(record, DecisionRecord)]
        await self._write_traffic(rows, usage)
        self._written[USAGE] += len(usage)
        for row in rows:
            if row.kind in self._written:
                self._written[row.kind] += 1
        await self._trim_all()

    async def _trim_all(self) -> None:
        for kind, written in self._written.items():
            if written > min(TRIM_EVERY, self._most[kind]):
                self._written[kind] = 0
                await self._trim(kind, self._most[kind])

    async def query_state(self, query: StateQuery) -> list[Any]:
        """Return the records that match, newest first; it reads no others.

        Raises:
            StateStoreError: An entity type that no store keeps, or a cursor that is none.
        """
        rows = await self._find(search_of(query), query.limit, query.offset)
        return [record_of(row) for row in rows]

    async def usage_page(self, query: UsageQuery) -> list[UsageRow]:
        """Return the requests that match, newest first; rows that do not are passed over."""
        found: list[UsageRow] = []
        search = search_of_usage(query)
        while len(found) < query.limit:
            page = await self._page(search, _PAGE_ROWS, 0)
            found += [row for row in map(usage_of_row, page) if matches(row, query)]
            if len(page) < _PAGE_ROWS:
                break
            search = replace(search, before=(page[-1].moment, page[-1].id))
        return found[: query.limit]

    async def usage_sums(
        self,
        since: datetime,
        until: datetime,
        period: Period = "day",
        group_by: Sequence[Dimension] = (),
        *,
        only: Mapping[Dimension, str] | None = None,
    ) -> list[UsageSum]:
        """Return what requests sum up to, by going through those that are kept."""
        query = SumQuery.of(since, until, period, group_by, only)
        sums = Sums(query)
        search = search_of_sums(query)
        while True:
            page = await self._page(search, _PAGE_ROWS, 0)
            for cell, counts in cells_of(map(usage_of_row, page)).items():
                sums.add_cell(cell, counts)
            if len(page) < _PAGE_ROWS:
                return sums.result()
            search = replace(search, before=(page[-1].moment, page[-1].id))

    async def save_document(self, document: Document) -> None:
        """Keep one document."""
        await self._write([row_of(document)])

    async def add_document(self, document: Document) -> Document:
        """Keep one document unless there is one of its id; return the one that is kept."""
        if await self._swap(row_of(document), None):
            return document
        kept: Document | None = await self._record(document.kind, document.id)
        return document if kept is None else kept

    async def swap_document(self, document: Document, *, expect: int | None) -> bool:
        """Keep one document in one step, if the revision kept is the one that was read."""
        return await self._swap(row_of(document), expect)

    async def get_document(self, kind: str, document_id: str) -> Document | None:
        """Return one document or `None`."""
        found: Document | None = await self._record(kind, document_id)
        return found

    async def list_documents(self, kind: str) -> list[Document]:
        """Return all documents of one kind by their ids."""
        found: list[Document] = [record_of(row) for row in await self._find(Search(kind), None)]
        return sorted(found, key=lambda document: document.id)

    async def delete_document(self, kind: str, document_id: str) -> None:
        """Forget one document."""
        await self._delete(kind, document_id)

    async def _record(self, kind: str, name: str) -> Any:
        row = await self._read(kind, name)
        return None if row is None else record_of(row)

    async def _find(self, search: Search, limit: int | None, offset: int = 0) -> list[Row]:
        """Return what matches, page by page, each beginning where the one before ended."""
        found: list[Row] = []
        while limit is None or len(found) < limit:
            most = _PAGE_ROWS if limit is None else min(_PAGE_ROWS, limit - len(found))
            page = await self._page(search, most, offset)
            found += page
            if len(page) < most:
                break
            search, offset = replace(search, before=(page[-1].moment, page[-1].id)), 0
        return found

    @abstractmethod
    async def _write(self, rows: Sequence[Row]) -> None:
        """Keep rows of different ids, all or none if that can be had."""

    async def _write_traffic(self, rows: Sequence[Row], usage: Sequence[UsageRow]) -> None:
        """Keep rows and what is counted of requests; the default keeps both alike."""
        await self._write([*rows, *map(row_of_usage, usage)])

    @abstractmethod
    async def _swap(self, row: Row, expect: int | None) -> bool:
        """Keep a row if the kept one has this revision, or if there is none; tell whether."""

    @abstractmethod
    async def _read(self, kind: str, name: str) -> Row | None:
        """Return one row."""

    @abstractmethod
    async def _page(self, search: Search, limit: int, offset: int) -> list[Row]:
        """Return at most *limit* rows that match, the first *offset* passed over."""

    @abstractmethod
    async def _delete(self, kind: str, name: str) -> None:
        """Remove one row."""

    @abstractmethod
    async def _trim(self, kind: str, most: int) -> None:
        """Remove all but the newest *most* of a kind."""


def latest_of(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each id: the last, unless an earlier one has a higher revision."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        name = row.kind, row.id
        before = found.get(name)
        if before is None or row.revision >= before.revision:
            found[name] = row
    return list(found.values())
