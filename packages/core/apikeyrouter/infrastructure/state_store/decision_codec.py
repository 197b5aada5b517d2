"""Decisions as stores outside of memory keep them: the record, not the text made of it.

Encoding one takes few microseconds. The readable decision, its explanation included, is
made of the record when somebody reads it.
"""

from typing import Any

import msgspec

from apikeyrouter.domain.interfaces.state_store import StateStoreError, micros
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.models.routing_decision import RoutingDecision, RoutingObjective, instant
from apikeyrouter.domain.routing.decision_record import DecisionRecord

KIND = "RoutingDecision"
#: The layout of decisions that are kept as records; before it are those kept as they are read.
RECORD_LAYOUT = 2
_MOST = 2**63 - 1


def _plain(value: object) -> Any:
    if isinstance(value, Window):
        return value.name, value.provenance
    if isinstance(value, RoutingObjective):
        return value.primary, value.secondary, value.constraints, value.weights
    raise TypeError(f"{type(value).__name__} is no plain data")


def _typed(wanted: type, value: Any) -> Any:
    if wanted is not RoutingObjective:
        raise TypeError(f"{wanted.__name__} is never kept")
    primary, secondary, constraints, weights = value
    return RoutingObjective(
        primary=primary, secondary=secondary, constraints=constraints, weights=weights
    )


def _encoded(record: DecisionRecord) -> bytes:
    try:
        return _encode(record)
    except (ValueError, OverflowError):
        # What a client or a provider made up, such as half a letter or a thirty-digit number,
        # is no reason to lose the record.
        return _encode(_cleaned(msgspec.to_builtins(record, enc_hook=_plain)))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -_MOST <= value <= _MOST:
        return _MOST if value > 0 else -_MOST
    if isinstance(value, list | tuple):
        return [_cleaned(part) for part in value]
    if isinstance(value, dict):
        return {_cleaned(name): _cleaned(part) for name, part in value.items()}
    return value


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder(DecisionRecord, dec_hook=_typed).decode


def encode_decision(record: DecisionRecord) -> tuple[str, int, str, str, bytes]:
    """Return the decision's id, its moment, key and provider, and the record as bytes.

    Raises:
        StateStoreError: It holds what cannot be encoded.
    """
    attempts = record.attempts
    last = attempts[-1] if attempts else None
    try:
        body = _encoded(record)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise StateStoreError(
            f"{KIND} '{record.decision_id}' holds what cannot be stored: {error}"
        ) from error
    # The same moment to the microsecond as the decision will bear: pages go on by it.
    moment = micros(instant(record.decided_at))
    if last is None:
        return record.decision_id, moment, "", "", body
    return record.decision_id, moment, last.key_id, last.provider_id, body


def decode_decision(name: str, body: bytes) -> RoutingDecision:
    """Make the readable decision of a record's bytes.

    Raises:
        StateStoreError: They are damaged.
    """
    try:
        return _decode(body).decision()
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, OSError) as error:
        raise StateStoreError(f"{KIND} '{name}' in the store is damaged: {error}") from None
