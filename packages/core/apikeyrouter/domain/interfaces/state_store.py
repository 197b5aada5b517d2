"""The contract of every store: what is written is read back whole."""

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apikeyrouter.domain.interfaces.moments import micros, moment_at
from apikeyrouter.domain.interfaces.usage_records import (
    Dimension,
    Period,
    UsageQuery,
    UsageRow,
    UsageSum,
)
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.quota_state import QuotaState
from apikeyrouter.domain.models.routing_decision import RoutingDecision
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.errors import StateConflictError, StateStoreError

__all__ = [
    "Document",
    "Place",
    "StateConflictError",
    "StateQuery",
    "StateStore",
    "StateStoreError",
    "StoredRecord",
    "UsageQuery",
    "UsageRow",
    "UsageSum",
    "cursor_after",
    "micros",
    "moment_at",
    "place_of",
]


@dataclass(slots=True, frozen=True)
class Document:
    """A record without a shape of its own: what was learned, a setting, a provider.

    Attributes:
        kind: What it is, such as `Account`; ids are unique within a kind.
        body: Plain data: text, numbers, booleans, `None`, lists and mappings by text.
        revision: Of a document that several processes change by `swap_document`: how often it
            was changed.
    """

    kind: str
    id: str
    body: Mapping[str, Any]
    updated_at: datetime
    revision: int = 0


StoredRecord = APIKey | QuotaState | RoutingDecision | StateTransition | Document
#: Where a record stands among those of its kind: microseconds since the epoch, and its id.
Place = tuple[int, str]


@dataclass(slots=True, frozen=True)
class StateQuery:
    """What to look for. Fields that are `None` do not restrict; newest first.

    Attributes:
        entity_type: `APIKey`, `QuotaState`, `RoutingDecision` or `StateTransition`.
        cursor: Only what comes after the record of which `cursor_after` made this. Unlike
            `offset` it misses and repeats nothing while others write.
    """

    entity_type: str
    key_id: str | None = None
    provider_id: str | None = None
    state: str | None = None
    timestamp_from: datetime | None = None
    timestamp_to: datetime | None = None
    limit: int | None = None
    offset: int = 0
    cursor: str | None = None


class StateStore(ABC):
    """Keeps keys, quota states, decisions and transitions.

    A record that was saved is returned by the next read. Saving the same id
    again replaces it, but a key of a lower `revision` than the one kept changes
    nothing. Failures raise `StateStoreError`; an absent record is `None`.

    Attributes:
        keeps_documents: Whether `Document`s can be kept; if not, saving one is a `StateStoreError`.
    """

    keeps_documents = False

    async def open(self) -> None:
        """Connect, and bring what is kept there up to the layout of this version.

        Calling it is optional, and twice is as once; the default has nothing to open.

        Raises:
            StateStoreError: It cannot be reached, or a newer version has written it.
        """
        return

    @abstractmethod
    async def save_key(self, key: APIKey) -> None:
        """Keep *key*, its ciphertext included."""

    async def swap_key(self, key: APIKey, *, expect: int | None) -> None:
        """Keep *key* if nobody else has changed it since it was read.

        The default asks and then writes; a store that others write to does both in one step.

        Args:
            expect: The revision that was read; `None` if there was no such key.

        Raises:
            StateConflictError: Another revision is kept, or none.
        """
        kept = await self.get_key(key.id)
        if (kept.revision if kept else None) != expect:
            raise StateConflictError.of_key(key.id)
        await self.save_key(key)

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

    def keep_usage(self, count: Callable[[], UsageRow]) -> None:
        """Take what counts a request whose decision was taken likewise; the default counts none."""
        del count

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
            elif isinstance(record, QuotaState):
                await self.save_quota_state(record)
            else:
                await self.save_document(record)

    async def save_document(self, document: Document) -> None:
        """Keep one document; the default keeps none."""
        raise StateStoreError(f"this store keeps no documents, such as {document.kind}")

    async def add_document(self, document: Document) -> Document:
        """Keep one document unless there is one of its id; return the one that is kept.

        Of several processes that add one together all are told of the same.
        """
        raise StateStoreError(f"this store keeps no documents, such as {document.kind}")

    async def swap_document(self, document: Document, *, expect: int | None) -> bool:
        """Keep one document if nobody else has changed it since it was read; tell whether.

        It is durable on return.

        Args:
            document: Of a higher revision than the one that was read.
            expect: The revision that was read; `None` if there was no such document.
        """
        del expect
        raise StateStoreError(f"this store keeps no documents, such as {document.kind}")

    async def get_document(self, kind: str, document_id: str) -> Document | None:
        """Return one document or `None`; the default has none."""
        del kind, document_id
        return None

    async def list_documents(self, kind: str) -> list[Document]:
        """Return all documents of one kind by their ids; the default has none."""
        del kind
        return []

    async def delete_document(self, kind: str, document_id: str) -> None:
        """Forget one document; an absent one is forgotten already."""
        del kind, document_id

    @abstractmethod
    async def query_state(self, query: StateQuery) -> list[Any]:
        """Return the records that match, newest first."""

    async def usage_page(self, query: UsageQuery) -> list[UsageRow]:
        """Return the requests that match, newest first; the default counts none."""
        del query
        raise StateStoreError("this store does not count usage")

    async def usage_sums(
        self,
        since: datetime,
        until: datetime,
        period: Period = "day",
        group_by: Sequence[Dimension] = (),
        *,
        only: Mapping[Dimension, str] | None = None,
    ) -> list[UsageSum]:
        """Return what requests sum up to, by period and then by group; empty groups are left out.

        Hours are the smallest that is summed: the one in which *since* is and the one in which
        *until* is count whole. Days are those of UTC. The default counts none.

        Args:
            group_by: What has sums of its own, of `client`, `model`, `provider_id`, `key_id`.
            only: Counts only requests with this value of these.

        Raises:
            StateStoreError: A period or a group that there is not.
        """
        del since, until, period, group_by, only
        raise StateStoreError("this store does not count usage")

    async def close(self) -> None:
        """Release resources; the default holds none."""
        return


def cursor_after(record: APIKey | QuotaState | RoutingDecision | StateTransition) -> str:
    """Return what makes a query go on after *record*, the last one of a page."""
    moment, name = place_of(record)
    return base64.urlsafe_b64encode(f"{moment}.{name}".encode("utf-8", "surrogatepass")).decode()


def read_cursor(cursor: str) -> Place:
    """Return the place that a cursor names.

    Raises:
        StateStoreError: It is none.
    """
    try:
        text = base64.b64decode(cursor, b"-_", validate=True).decode("utf-8", "surrogatepass")
        moment, separator, name = text.partition(".")
        if separator:
            return int(moment), name
    except (binascii.Error, ValueError):
        pass
    raise StateStoreError("this is no cursor: take it from cursor_after() or from a page's end")


def place_of(record: StoredRecord) -> Place:
    """Return where *record* stands among those of its kind."""
    if isinstance(record, APIKey):
        return micros(record.created_at), record.id
    if isinstance(record, QuotaState):
        return micros(record.updated_at), record.key_id
    if isinstance(record, RoutingDecision):
        return micros(record.decision_timestamp), record.id
    if isinstance(record, StateTransition):
        return micros(record.transition_timestamp), record.id
    return micros(record.updated_at), record.id
