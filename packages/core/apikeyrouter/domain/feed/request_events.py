"""Builds the events of one request from its record; only if somebody reads them."""

from apikeyrouter.domain.feed.events import (
    AttemptEnded,
    AttemptStarted,
    RequestArrived,
    RequestEnded,
)
from apikeyrouter.domain.ledger.ledger import Amounts
from apikeyrouter.domain.ledger.window import INDEX_OF
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.domain.routing.decision_record import AttemptNote, DecisionRecord
from apikeyrouter.domain.routing.demand import Demand

_TOKENS = INDEX_OF[Dimension.TOKENS]
_NOTHING = Usage(0, 0)


def arrived_event(demand: Demand, now: float) -> RequestArrived:
    """Return the event of a request that was accepted."""
    return RequestArrived(
        at=now,
        request_id=demand.request_id,
        model=demand.model,
        client=demand.client,
        endpoint=demand.endpoint,
        stream=demand.stream,
        input_tokens=demand.input_tokens,
        output_cap=demand.output_cap,
    )


def attempt_started_event(
    record: DecisionRecord, note: AttemptNote, scope_id: str, reserved: Amounts
) -> AttemptStarted:
    """Return the event of an attempt whose quota was reserved."""
    return AttemptStarted(
        at=note.at,
        request_id=record.request_id,
        key_id=note.key_id,
        provider_id=note.provider_id,
        model=note.model,
        number=record.attempt_count,
        scope_id=scope_id,
        waited_s=record.waited_s,
        reserved_tokens=reserved[_TOKENS],
    )


def attempt_ended_event(
    record: DecisionRecord, note: AttemptNote, usage: Usage | None, charged: Amounts, now: float
) -> AttemptEnded:
    """Return the event of an attempt that ended, with what it used and what it is charged."""
    used = usage or _NOTHING
    return AttemptEnded(
        at=now,
        request_id=record.request_id,
        key_id=note.key_id,
        provider_id=note.provider_id,
        model=note.model,
        outcome=note.outcome,
        seconds=now - note.at,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        number=record.attempt_count,
        waited_s=record.waited_s,
        first_byte_s=None if note.answered_at is None else note.answered_at - note.at,
        charged_tokens=charged[_TOKENS],
        usage=usage,
    )


def ended_event(record: DecisionRecord, now: float) -> RequestEnded:
    """Return the event of a request that ended."""
    last = record.attempts[-1] if record.attempts else None
    return RequestEnded(
        at=now,
        request_id=record.request_id,
        model=record.model,
        client=record.client,
        outcome=record.outcome,
        seconds=now - record.arrived_at,
        waited_s=record.waited_s,
        attempts=record.attempt_count,
        key_id=last.key_id if last else "",
        provider_id=last.provider_id if last else "",
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
    )
