"""Usage rows as records, for stores that have no table of their own for them."""

import msgspec

from apikeyrouter.domain.interfaces.moments import micros
from apikeyrouter.domain.interfaces.usage_records import HOUR_MICROS, SumQuery, UsageQuery, UsageRow
from apikeyrouter.errors import StateStoreError
from apikeyrouter.infrastructure.state_store.records import Row, Search

USAGE = "UsageRow"
_VERSION = 1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple).decode


def row_of_usage(usage: UsageRow) -> Row:
    """Return the record that keeps what is counted of a request."""
    return Row(
        USAGE, _name(usage.moment, usage.request_id), _VERSION, 0, usage.moment,
        usage.key_id or None, usage.provider_id or None, usage.outcome,
        _encode(msgspec.structs.astuple(usage)),
    )  # fmt: skip


def usage_of_row(row: Row) -> UsageRow:
    """Return what a record keeps.

    Raises:
        StateStoreError: A newer version wrote it, or it is damaged.
    """
    if row.version > _VERSION:
        raise StateStoreError(f"{USAGE} '{row.id}' was stored by a newer version")
    try:
        return UsageRow(*_decode(row.body))
    except (msgspec.MsgspecError, TypeError) as error:
        raise StateStoreError(f"{USAGE} '{row.id}' in the store is damaged: {error}") from None


def search_of_usage(query: UsageQuery) -> Search:
    """Return the search for the records among which a query's rows are."""
    outcome = None if query.outcome == "failed" else query.outcome
    return Search(
        USAGE, query.key_id or None, query.provider_id or None, outcome,
        earliest=None if query.since is None else micros(query.since),
        latest=None if query.until is None else micros(query.until) - 1,
        before=None if query.before is None else (query.before[0], _name(*query.before)),
    )  # fmt: skip


def search_of_sums(query: SumQuery) -> Search:
    """Return the search for the records that are summed up."""
    return Search(
        USAGE, query.only.get("key_id") or None, query.only.get("provider_id") or None,
        earliest=query.first_hour * HOUR_MICROS, latest=query.end_hour * HOUR_MICROS - 1,
    )  # fmt: skip


def _name(moment: int, request_id: str) -> str:
    return f"{moment}/{request_id}"
