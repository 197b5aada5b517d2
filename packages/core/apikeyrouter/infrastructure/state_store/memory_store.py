"""Everything in memory, bounded, gone with the process."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from apikeyrouter.domain.interfaces.state_store import StateQuery, StateStore, StateStoreError
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.quota_state import QuotaState
from apikeyrouter.domain.models.routing_decision import RoutingDecision
from apikeyrouter.domain.models.state_transition import StateTransition


class InMemoryStateStore(StateStore):
    """Keeps records as long as the process lives. Copies go in and out.

    Args:
        max_decisions: Decisions kept; the oldest go first.
        max_transitions: Transitions kept; the oldest go first.
    """

    def __init__(self, max_decisions: int = 10_000, max_transitions: int = 10_000) -> None:
        self._keys: dict[str, APIKey] = {}
        self._quotas: dict[str, QuotaState] = {}
        self._decisions = _Decisions(max_decisions)
        self._transitions: OrderedDict[str, StateTransition] = OrderedDict()
        self._max_transitions = max_transitions

    async def save_key(self, key: APIKey) -> None:
        """Keep a copy of *key*, without what opens it: a record holds ciphertext only."""
        kept = key.model_copy()
        kept._opener = None
        self._keys[key.id] = kept.model_copy(deep=True)

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
        return sorted(found, key=_moment_of)

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

    async def save_state_transition(self, transition: StateTransition) -> None:
        """Keep one move; one of the same id is kept once."""
        self._transitions[transition.id] = transition
        if len(self._transitions) > self._max_transitions:
            self._transitions.popitem(last=False)

    async def query_state(self, query: StateQuery) -> list[Any]:
        """Return copies of the records that match, newest first.

        Moments of the query without a zone are taken as UTC.

        Raises:
            StateStoreError: An entity type that no store keeps.
        """
        found = (record for record in self._newest_first(query) if _matches(record, query))
        end = None if query.limit is None else query.offset + query.limit
        return [record.model_copy(deep=True) for record in islice(found, query.offset, end)]

    def _newest_first(self, query: StateQuery) -> Iterable[Any]:
        if query.entity_type == "RoutingDecision":
            return self._decisions.newest_first()
        records: dict[str, Iterable[Any]] = {
            "APIKey": self._keys.values(),
            "QuotaState": self._quotas.values(),
            "StateTransition": reversed(self._transitions.values()),
        }
        if query.entity_type not in records:
            raise StateStoreError(
                f"unknown entity type '{query.entity_type}'; known are APIKey, QuotaState, "
                "RoutingDecision and StateTransition"
            )
        return sorted(records[query.entity_type], key=_moment_of, reverse=True)


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


def _matches(record: Any, query: StateQuery) -> bool:
    moment = _moment_of(record)
    return (
        (query.key_id is None or query.key_id == _key_of(record))
        and (query.provider_id is None or query.provider_id == _provider_of(record))
        and (query.state is None or query.state == _state_of(record))
        and (query.timestamp_from is None or moment >= _zoned(query.timestamp_from))
        and (query.timestamp_to is None or moment <= _zoned(query.timestamp_to))
    )


def _key_of(record: Any) -> str:
    if isinstance(record, APIKey):
        return record.id
    if isinstance(record, StateTransition):
        return record.entity_id
    return str(record.key_id if isinstance(record, QuotaState) else record.selected_key_id)


def _provider_of(record: Any) -> str | None:
    if isinstance(record, APIKey):
        return record.provider_id
    return record.selected_provider_id if isinstance(record, RoutingDecision) else None


def _state_of(record: Any) -> str | None:
    if isinstance(record, APIKey):
        return record.state.value
    if isinstance(record, StateTransition):
        return record.to_state
    return record.capacity_state.value if isinstance(record, QuotaState) else None


def _moment_of(record: Any) -> datetime:
    if isinstance(record, APIKey):
        return _zoned(record.created_at)
    if isinstance(record, QuotaState):
        return _zoned(record.updated_at)
    if isinstance(record, RoutingDecision):
        return _zoned(record.decision_timestamp)
    return _zoned(record.transition_timestamp)


def _zoned(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
