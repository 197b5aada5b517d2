"""The one form in which stores outside of memory keep a record.

A row is a kind, an id, the version of the kind's layout, the bytes, and beside them the
few columns that are searched. A layout that changes gets a higher version and an entry in
`_UPGRADES`; what a newer version of this library wrote is refused by its kind, never guessed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from apikeyrouter.domain.interfaces.state_store import (
    Document,
    Place,
    StateQuery,
    StateStoreError,
    StoredRecord,
    micros,
    moment_at,
    place_of,
    read_cursor,
)
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.quota_state import QuotaState
from apikeyrouter.domain.models.routing_decision import RoutingDecision
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.infrastructure.state_store.decision_codec import (
    KIND,
    RECORD_LAYOUT,
    decode_decision,
    encode_decision,
)

#: What a query may ask for; every other kind is a document's.
MODELS: Mapping[str, type[BaseModel]] = {
    model.__name__: model for model in (APIKey, QuotaState, RoutingDecision, StateTransition)
}
#: The layout that this version writes, where it is not the first.
_VERSIONS: Mapping[str, int] = {}
#: (kind, version) -> what makes the next version's data of it.
_UPGRADES: Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}


class Row(msgspec.Struct, frozen=True):
    """A record as it is kept.

    Attributes:
        revision: Of a key or a document; rows of a lower one than is kept are not written.
        moment: Microseconds since the epoch.
    """

    kind: str
    id: str
    version: int
    revision: int
    moment: int
    key_id: str | None
    provider_id: str | None
    state: str | None
    body: bytes


@dataclass(slots=True, frozen=True)
class Search:
    """A query in terms of columns; rows come newest first, the greater id first among equals.

    Attributes:
        before: Only what comes after this place in that order.
    """

    kind: str
    key_id: str | None = None
    provider_id: str | None = None
    state: str | None = None
    earliest: int | None = None
    latest: int | None = None
    before: Place | None = None


def search_of(query: StateQuery) -> Search:
    """Return the search that a query means.

    Raises:
        StateStoreError: An entity type that no store keeps, or a cursor that is none.
    """
    check_entity_type(query.entity_type)
    return Search(
        query.entity_type,
        query.key_id,
        query.provider_id,
        query.state,
        None if query.timestamp_from is None else micros(query.timestamp_from),
        None if query.timestamp_to is None else micros(query.timestamp_to),
        None if query.cursor is None else read_cursor(query.cursor),
    )


def check_entity_type(entity_type: str) -> None:
    """Raise `StateStoreError` unless queries may ask for *entity_type*."""
    if entity_type not in MODELS:
        *names, last = MODELS
        raise StateStoreError(
            f"unknown entity type '{entity_type}'; known are {', '.join(names)} and {last}"
        )


def key_of(record: StoredRecord) -> str | None:
    """Return the id of the key that a record is about."""
    if isinstance(record, APIKey):
        return record.id
    if isinstance(record, StateTransition):
        return record.entity_id
    if isinstance(record, QuotaState):
        return record.key_id
    return record.selected_key_id if isinstance(record, RoutingDecision) else None


def provider_of(record: StoredRecord) -> str | None:
    """Return the provider that a record names, if it names one."""
    if isinstance(record, APIKey):
        return record.provider_id
    return record.selected_provider_id if isinstance(record, RoutingDecision) else None


def state_of(record: StoredRecord) -> str | None:
    """Return the state that a record tells of, if it tells of one."""
    if isinstance(record, APIKey):
        return record.state.value
    if isinstance(record, StateTransition):
        return record.to_state
    return record.capacity_state.value if isinstance(record, QuotaState) else None


def row_of(record: StoredRecord | DecisionRecord) -> Row:
    """Return the row that keeps *record*.

    Raises:
        StateStoreError: It holds what is no plain data.
    """
    if isinstance(record, DecisionRecord):
        name, moment, key_id, provider_id, body = encode_decision(record)
        return Row(KIND, name, RECORD_LAYOUT, 0, moment, key_id, provider_id, None, body)
    kind = record.kind if isinstance(record, Document) else type(record).__name__
    moment, name = place_of(record)
    try:
        body = msgspec.msgpack.encode(_data_of(record))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StateStoreError(f"{kind} '{name}' holds what cannot be stored: {error}") from error
    revision = record.revision if isinstance(record, APIKey | Document) else 0
    return Row(
        kind, name, _VERSIONS.get(kind, 1), revision, moment,
        key_of(record), provider_of(record), state_of(record), body,
    )  # fmt: skip


def record_of(row: Row) -> Any:
    """Return the record that a row keeps.

    Raises:
        StateStoreError: A newer version wrote it, or it is damaged.
    """
    # Of decisions there are both: those kept as people read them, and records.
    known = RECORD_LAYOUT if row.kind == KIND else _VERSIONS.get(row.kind, 1)
    if row.version > known:
        raise StateStoreError(
            f"{row.kind} '{row.id}' was stored by a newer version (layout {row.version}; this one "
            f"reads up to {known}): upgrade apikeyrouter"
        )
    if row.kind == KIND and row.version == RECORD_LAYOUT:
        return decode_decision(row.id, row.body)
    data = _decoded(row)
    if row.kind not in MODELS:
        return Document(row.kind, row.id, data, moment_at(row.moment), row.revision)
    try:
        return MODELS[row.kind].model_validate(data)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, problem["loc"]))
        raise StateStoreError(
            f"{row.kind} '{row.id}' in the store is damaged: {field}: {problem['msg']}"
        ) from None


def _data_of(record: StoredRecord) -> Mapping[str, Any]:
    if isinstance(record, Document):
        return record.body
    data = record.model_dump()
    if isinstance(record, APIKey):
        # Left out of every dump that people may see; a store keeps the ciphertext.
        data["key_material"] = record.key_material
    return data


def _decoded(row: Row) -> dict[str, Any]:
    try:
        data: dict[str, Any] = msgspec.msgpack.decode(row.body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StateStoreError(f"{row.kind} '{row.id}' in the store is damaged") from None
    for version in range(row.version, _VERSIONS.get(row.kind, 1)):
        data = _UPGRADES[row.kind, version](data)
    return data
