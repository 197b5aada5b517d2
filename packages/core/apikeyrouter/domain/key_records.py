"""From a key's record to its live slot, and what a record and a declaration make together."""

import math
from collections.abc import Mapping
from typing import Any

from apikeyrouter.domain.cooldown import Cooldown
from apikeyrouter.domain.key_material import Sealer, derived_id
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.limits.declared_limits import check_limits
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.errors import ConfigurationError, EncryptionError, KeyRegistrationError

#: What a key that was waiting when it was stored waits for, as far as the record tells.
KEPT_CAUSE = "kept from before"
#: What stands in records for a wait that no clock ends, in epoch seconds.
NEVER_S = 4e9
#: Where the metadata says who declared the key.
ORIGIN, FROM_CONFIGURATION = "origin", "configuration"
#: Where it says by which mark the last secret goes that was declared.
DECLARED = "declared"


def mark_of(provider_id: str, secret: str) -> str:
    """Return what tells one declared secret from another, and nothing else of it."""
    return derived_id(provider_id, secret).rpartition("-")[2]


def check_facts(record: APIKey, changes: Mapping[str, Any] | None = None) -> None:
    """Raise `KeyRegistrationError` if a limit or the weight is none; `None` ends one."""
    facts = record.metadata if changes is None else changes
    limits = (facts.get("limits") or {}).items()
    try:
        check_limits({name: most for name, most in limits if most is not None or changes is None})
    except ConfigurationError as error:
        raise KeyRegistrationError(f"key '{record.id}': {error}") from None
    if float(facts.get("weight", 1.0)) <= 0:
        raise KeyRegistrationError(f"weight of key '{record.id}' must be above 0")


def slot_for(record: APIKey, secret: str, sealer: Sealer) -> KeySlot:
    """Return the slot of a key as its record describes it.

    Raises:
        KeyRegistrationError: A limit or the weight is none.
    """
    check_facts(record)
    slot = KeySlot(record=record, secret=secret)
    slot.take_facts()
    record._opener = lambda: sealer.decrypt(record.key_material, record.id)
    slot.failed = record.failure_count
    slot.served = max(0, record.usage_count - record.failure_count)
    if record.last_used_at is not None:
        slot.used_at = record.last_used_at.timestamp()
    slot.cooldown = wait_of(record)
    return slot


def wait_of(record: APIKey) -> Cooldown:
    """Return the wait that a record tells of; its cause stands in the moves."""
    if record.cooldown_until is None:
        return Cooldown()
    until = record.cooldown_until.timestamp()
    return Cooldown(until if until < NEVER_S else math.inf, KEPT_CAUSE)


def merged(declared: APIKey, secret: str, kept: APIKey, sealer: Sealer) -> tuple[APIKey, str]:
    """Return the record of a key that is declared and was kept from before, and its secret.

    What the declaration names goes before what is kept. State, wait and counts stay as they
    are kept, unless the secret is another one: then it is usable again. A secret that was
    rotated since the same one was declared stays.

    Raises:
        KeyRegistrationError: It is kept as a key of another provider.
    """
    if kept.provider_id != declared.provider_id:
        raise KeyRegistrationError(
            f"key '{declared.id}' is kept as one of provider '{kept.provider_id}': give this one "
            "another id"
        )
    changes: dict[str, Any] = {
        "created_at": kept.created_at,
        "usage_count": kept.usage_count,
        "failure_count": kept.failure_count,
        "last_used_at": kept.last_used_at,
        "metadata": {**kept.metadata, **declared.metadata},
        "revision": kept.revision,
    }
    opened = opened_secret(kept, sealer)
    mark = declared.metadata.get(DECLARED)
    if opened is not None and mark is not None and kept.metadata.get(DECLARED) == mark:
        secret = opened
    if opened is None or opened == secret:
        # One that cannot be opened may be the same: what was revoked must not come back by that.
        changes |= {
            "state": kept.state,
            "state_updated_at": kept.state_updated_at,
            "cooldown_until": kept.cooldown_until,
        }
    same = opened == secret
    changes["key_material"] = kept.key_material if same else sealer.encrypt(secret, declared.id)
    return declared.model_copy(update=changes), secret


def opened_secret(kept: APIKey, sealer: Sealer) -> str | None:
    """Return the secret of a record; `None` if it was sealed under a key that is not here."""
    try:
        return sealer.decrypt(kept.key_material, kept.id)
    except EncryptionError:
        return None


def is_changed(record: APIKey, kept: APIKey) -> bool:
    """Tell whether *record* has to be stored in the place of *kept*."""
    return record.key_material != kept.key_material or record.metadata != kept.metadata
