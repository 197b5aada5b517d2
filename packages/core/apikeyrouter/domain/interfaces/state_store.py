"""The contract of every store: what is written is read back whole."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.quota_state import QuotaState
from apikeyrouter.domain.models.routing_decision import RoutingDecision
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.errors import StateStoreError

__all__ = ["StateQuery", "StateStore", "StateStoreError", "StoredRecord"]

StoredRecord = APIKey | QuotaState | RoutingDecision | StateTransition


@dataclass(slots=True, frozen=True)
class StateQuery:
    """What to look for. Fields that are `None` do not restrict; newest first.

    Attributes:
        entity_type: `APIKey`, `QuotaState`, `RoutingDecision` or `StateTransition`.
    """

    entity_type: str
    key_id: str | None = None
    provider_id: str | None = None
    state: str | None = None
    timestamp_from: datetime | None = None
    timestamp_to: datetime | None = None
    limit: int | None = None
    offset: int = 0


class StateStore(ABC):
    """Keeps keys, quota states, decisions and transitions.

    A record that was saved is returned by the next read. Saving the same id
    again replaces it. Failures raise `StateStoreError`; an absent record is `None`.
    """

    @abstractmethod
    async def save_key(self, key: APIKey) -> None:
        """Keep *key*, its ciphertext included."""

    @abstractmethod
    async def get_key(self, key_id: str) -> APIKey | None:
        """Return the key or `None`."""

    @abstractmethod
    async def list_keys(self, provider_id: str | None = None) -> list[APIKey]:
        """Return all keys, or one provider's, oldest first."""

    @abstractmethod
    async def save_quota_state(self, state: QuotaState) -> None:
        """Keep the state of one key's quota."""

    @abstractmethod
    async def get_quota_state(self, key_id: str) -> QuotaState | None:
        """Return the last kept state or `None`."""

    @abstractmethod
    async def save_routing_decision(self, decision: RoutingDecision) -> None:
        """Keep one decision."""

    def keep_decision(self, make: Callable[[], RoutingDecision]) -> bool:
        """Take what makes a decision instead of the decision; tell whether it was taken.

        A store that lives in memory may do so: most decisions are never read.
        """
        del make
        return False

    @abstractmethod
    async def save_state_transition(self, transition: StateTransition) -> None:
        """Keep one move; one of the same id is kept once."""

    async def save_batch(self, records: Sequence[StoredRecord]) -> None:
        """Keep several records, in their order.

        A store that can should keep all of them or none, in one go; the default
        keeps one after the other. After a failure the same records may come again.
        """
        for record in records:
            if isinstance(record, RoutingDecision):
                await self.save_routing_decision(record)
            elif isinstance(record, StateTransition):
                await self.save_state_transition(record)
            elif isinstance(record, APIKey):
                await self.save_key(record)
            else:
                await self.save_quota_state(record)

    @abstractmethod
    async def query_state(self, query: StateQuery) -> list[Any]:
        """Return the records that match, newest first."""

    async def close(self) -> None:
        """Release resources; the default holds none."""
        return
