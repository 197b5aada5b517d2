"""Keys and accounts as plain data, for people and for JSON; never a secret."""

import math
from typing import Any

from apikeyrouter.composition import RouterParts
from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.report import window_states
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.domain.quota_scope import QuotaScope


def state_summary(parts: RouterParts, now: float) -> dict[str, Any]:
    """Return keys, scopes, circuits and the queue; nothing is moved by it."""
    queue = parts.room.queue
    return {
        "keys": [key_summary(s, parts.registry, now) for s in parts.manager.slot_by_id.values()],
        "scopes": [scope_summary(scope, now) for scope in parts.registry],
        "circuits": [
            {
                "provider_id": pool.provider_id,
                "model": pool.model,
                "open_until": pool.circuit.cooldown.until,
            }
            for pool in parts.routes.pools()
            if pool.circuit.is_open
        ],
        "waiting": queue.waiting,
        "waiting_tokens": queue.waiting_tokens,
        "open_reservations": parts.context.ledger.open_count,
    }


def key_summary(slot: KeySlot, book: AccountRegistry, now: float) -> dict[str, Any]:
    """Return how one key fares, and whose account it draws on by which evidence."""
    member = book.membership(slot)
    return {
        "id": slot.id,
        "provider_id": slot.provider_id,
        "state": _state_at(slot, now).value,
        "account": member.account,
        "account_basis": member.basis,
        "account_confidence": member.confidence,
        "scopes": sorted({candidate.scope.id for candidate in slot.candidates}),
        "in_flight": slot.in_flight,
        "served": slot.served,
        "failed": slot.failed,
        "refused": slot.refused,
        "wakes_in_s": _seconds_until(slot.cooldown.until, now),
        "why": slot.cooldown.why if slot.cooldown.until > now else "",
    }


def scope_summary(scope: QuotaScope, now: float) -> dict[str, Any]:
    """Return what is known of one scope, and what is left of its windows."""
    return {
        "id": scope.id,
        "provider_id": scope.provider_id,
        "account": scope.membership.account,
        "group": scope.group,
        "basis": scope.membership.basis,
        "confidence": scope.membership.confidence,
        "in_flight": scope.account.in_flight,
        "served": scope.statistics.served,
        "refused": scope.statistics.refused,
        "wakes_in_s": _seconds_until(scope.cooldown.until, now),
        "why": scope.cooldown.why if scope.cooldown.until > now else "",
        "windows": [window.model_dump() for window in window_states(scope, now)],
    }


def _state_at(slot: KeySlot, now: float) -> KeyState:
    """Return the key's state; one whose wait is over is available, and moves when it is used."""
    state = slot.record.state
    is_over = slot.cooldown.until <= now and state in (KeyState.THROTTLED, KeyState.EXHAUSTED)
    return KeyState.AVAILABLE if is_over else state


def _seconds_until(instant: float, now: float) -> float | None:
    """Return how long it is until *instant*; `None` if no clock tells."""
    return max(0.0, instant - now) if instant < math.inf else None
