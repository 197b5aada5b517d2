"""Everything in memory, bounded, gone with the process."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from apikeyrouter.domain.interfaces.state_store import (
    Document,
    Place,
    StateConflictError,
    StateQuery,
    StateStore,
    place_of,
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
from apikeyrouter.infrastructure.state_store.records import (
    Search,
    key_of,
    provider_of,
    search_of,
    state_of,
)
from apikeyrouter.infrastructure.state_store.usage.memory_usage import MemoryUsage


class InMemoryStateStore(StateStore):
    """Keeps records as long as the process lives. Copies go in and out.

    Args:
        max_decisions: Decisions kept; the oldest go first.
        max_transitions: Transitions kept; the oldest go first.
    """

    keeps_documents = True

    def __init__(self, max_decisions: int = 10_000, max_transitions: int = 10_000) -> None:
        self._documents: dict[str, dict[str, Document]] = {}
        self._keys: dict[str, APIKey] = {}
        self._quotas: dict[str, QuotaState] = {}
        self._decisions = _Decisions(max_decisions)
        self._usage = MemoryUsage(max_decisions)
        self._transitions: OrderedDict[str, StateTransition] = OrderedDict()
        self._max_transitions = max_transitions

    async def save_key(self, key: APIKey) -> None:
        """Keep a copy of *key*, without what opens it: a record holds ciphertext only."""
        before = self._keys.get(key.id)
        if before is not None and before.revision > key.revision:
            return
        kept = key.model_copy()
        kept._opener = None
        self._keys[key.id] = kept.model_copy(deep=True)

    async def swap_key(self, key: APIKey, *, expect: int | None) -> None:
        """Keep a copy of *key*, if the revision kept is the one that was read."""
        before = self._keys.get(key.id)
        if (before.revision if before else None) != expect:
            raise StateConflictError.of_key(key.id)
        await self.save_key(key)

    async def get_key(self, key_id: str) -> APIKey | None:
        """Return a copy of the key or `None`."""
        key = self._keys.get(key_id)
        return key.model_copy(deep=True) if key is not None else None

    async def list_keys(self, provider_id: str | None = None) -> list[APIKey]:
        """Return copies of all keys, or one provider's, oldest first."""
        found = [
            key.model_copy(deep=True)
            for key in self._keys.values()
            if provider_id is None or key.provider_id == provider_id
        ]
        return sorted(found, key=place_of)

    async def save_quota_state(self, state: QuotaState) -> None:
        """Keep a copy of the state of one key's quota."""
        self._quotas[state.key_id] = state.model_copy(deep=True)

    async def get_quota_state(self, key_id: str) -> QuotaState | None:
        """Return a copy of the last kept state or `None`."""
        state = self._quotas.get(key_id)
        return state.model_copy(deep=True) if state is not None else None

    async def save_routing_decision(self, decision: RoutingDecision) -> None:
        """Keep a copy of one decision."""
        self._decisions.save(decision.model_copy(deep=True))

    def keep_decision(self, make: Callable[[], RoutingDecision]) -> bool:
        """Keep what makes the decision; it is made when somebody asks.

        Decisions that are kept so should come in the order of their moments.
        """
        self._decisions.keep(make)
        return True

    def keep_usage(self, count: Callable[[], UsageRow]) -> None:
        """Take what counts a request; it is counted when somebody asks, or when it is old."""
        self._usage.keep(count)

    async def usage_page(self, query: UsageQuery) -> list[UsageRow]:
        """Return the requests that match, newest first, of as many as decisions are kept."""
        return self._usage.page(query)

    async def usage_sums(
        self,
        since: datetime,
        until: datetime,
        period: Period = "day",
        group_by: Sequence[Dimension] = (),
        *,
        only: Mapping[Dimension, str] | None = None,
    ) -> list[UsageSum]:
        """Return what requests sum up to since the process began."""
        return self._usage.sums(SumQuery.of(since, until, period, group_by, only))

    async def save_state_transition(self, transition: StateTransition) -> None:
        """Keep one move; one of the same id is kept once."""
        self._transitions[transition.id] = transition
        if len(self._transitions) > self._max_transitions:
            self._transitions.popitem(last=False)

    async def save_document(self, document: Document) -> None:
        """Keep a copy of one document."""
        kept = replace(document, body=deepcopy(document.body))
        self._documents.setdefault(document.kind, {})[document.id] = kept

    async def add_document(self, document: Document) -> Document:
        """Keep one document unless there is one of its id; return the one that is kept."""
        if document.id not in self._documents.get(document.kind, {}):
            await self.save_document(document)
        return self._documents[document.kind][document.id]

    async def swap_document(self, document: Document, *, expect: int | None) -> bool:
        """Keep one document if the revision kept is the one that was read; tell whether."""
        before = self._documents.get(document.kind, {}).get(document.id)
        if (before.revision if before is not None else None) != expect:
            return False
        await self.save_document(document)
        return True

    async def get_document(self, kind: str, document_id: str) -> Document | None:
        """Return a copy of one document or `None`."""
        found = self._documents.get(kind, {}).get(document_id)
        return None if found is None else replace(found, body=deepcopy(found.body))

    async def list_documents(self, kind: str) -> list[Document]:
        """Return copies of all documents of one kind by their ids."""
        found = self._documents.get(kind, {})
        return [replace(found[name], body=deepcopy(found[name].body)) for name in sorted(found)]

    async def delete_document(self, kind: str, document_id: str) -> None:
        """Forget one document."""
        self._documents.get(kind, {}).pop(document_id, None)

    async def query_state(self, query: StateQuery) -> list[Any]:
        """Return copies of the records that match, newest first.

        Moments of the query without a zone are taken as UTC.

        Raises:
            StateStoreError: An entity type that no store keeps, or a cursor that is none.
        """
        search = search_of(query)
        records = self._newest_first(search.kind)
        if search.before is not None:
            records = _after(records, search.before)
        found = (record for record in records if _matches(record, search))
        end = None if query.limit is None else query.offset + query.limit
        return [record.model_copy(deep=True) for record in islice(found, query.offset, end)]

    def _newest_first(self, kind: str) -> Iterable[Any]:
        if kind == "RoutingDecision":
            return self._decisions.newest_first()
        records: dict[str, Iterable[Any]] = {
            "APIKey": self._keys.values(),
            "QuotaState": self._quotas.values(),
            "StateTransition": self._transitions.values(),
        }
        return sorted(records[kind], key=place_of, reverse=True)


class _Decisions:
    """Decisions, or what makes them, in the order in which they came.

    As long as each came after the one before it, a query need not make those
    that are older than what it asks for.
    """

    __slots__ = ("_entries", "_ids", "_is_ordered", "_most")

    def __init__(self, most: int) -> None:
        self._entries: deque[RoutingDecision | Callable[[], RoutingDecision]] = deque(maxlen=most)
        #: Those that were saved as records; a maker's id is not known before it makes.
        self._ids: set[str] = set()
        self._is_ordered = True
        self._most = most

    def keep(self, make: Callable[[], RoutingDecision]) -> None:
        if self._ids:
            self._forget_oldest()
        self._entries.append(make)

    def save(self, decision: RoutingDecision) -> None:
        if decision.id in self._ids:
            self._replace(decision)
            return
        self._forget_oldest()
        last = self._entries[-1] if self._entries else None
        if isinstance(last, RoutingDecision):
            self._is_ordered &= last.decision_timestamp <= decision.decision_timestamp
        elif last is not None:
            self._is_ordered = False
        self._entries.append(decision)
        if self._most:
            self._ids.add(decision.id)

    def newest_first(self) -> Iterator[RoutingDecision]:
        made = (
            entry if isinstance(entry, RoutingDecision) else entry()
            for entry in reversed(self._entries)
        )
        return made if self._is_ordered else iter(sorted(made, key=_moment_of, reverse=True))

    def _replace(self, decision: RoutingDecision) -> None:
        for index, entry in enumerate(self._entries):
            if isinstance(entry, RoutingDecision) and entry.id == decision.id:
                self._entries[index] = decision
                self._is_ordered &= entry.decision_timestamp == decision.decision_timestamp
                break

    def _forget_oldest(self) -> None:
        """Forget the id of the entry that the next one pushes out."""
        if self._entries and len(self._entries) == self._most:
            oldest = self._entries[0]
            if isinstance(oldest, RoutingDecision):
                self._ids.discard(oldest.id)


def _matches(record: Any, query: Search) -> bool:
    moment = _moment_of(record)
    return (
        (query.key_id is None or query.key_id == key_of(record))
        and (query.provider_id is None or query.provider_id == provider_of(record))
        and (query.state is None or query.state == state_of(record))
        and (query.earliest is None or moment >= query.earliest)
        and (query.latest is None or moment <= query.latest)
    )


def _after(records: Iterable[Any], place: Place) -> Iterator[Any]:
    """Yield what comes after *place*; those of one moment stand in the order of their arrival."""
    moment, name = place
    is_past = False
    for record in records:
        at, own_name = place_of(record)
        if at < moment or (is_past and at == moment):
            yield record
        is_past = is_past or (at, own_name) == (moment, name)


def _moment_of(record: Any) -> int:
    return place_of(record)[0]
