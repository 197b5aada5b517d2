"""Keys as the management API takes and shows them; a secret goes in and never comes out."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from apikeyrouter.infrastructure.config.model import KeyConfig
from apikeyrouter.service import KeySlot, KeyState, Patterns, Secret, Share, Text, Whole
from apikeyrouter_proxy.api.added.shapes import changed_limits, fitting_name
from apikeyrouter_proxy.api.paging import Page

#: Of shorter secrets not even the end is shown.
_HINTED_FROM, _HINT = 16, 4
_EXAMPLE_KEY: JsonDict = {
    "id": "openai-team-a", "provider": "openai", "state": "available",
    "state_since": "2026-05-04T09:00:00Z", "created_at": "2026-05-01T12:00:00Z",
    "last_used_at": "2026-05-04T09:12:11Z", "requests": 5210, "failures": 3,
    "cooldown_until": None, "scope": "org-1", "models": ["gpt-*"], "weight": 1.0, "priority": 0,
    "tags": {"team": "search"}, "limits": {"rpm": 500}, "secret_hint": "…x9Qa", "revision": 2,
}  # fmt: skip


class _Given(BaseModel):
    # A value that is refused may be a secret: no error repeats it.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Key(BaseModel):
    """A key.

    Attributes:
        state_since: When it came into its state.
        cooldown_until: It is not called before; null when it is free.
        models: Patterns of what it may serve; null admits all of its provider's.
        limits: What was declared; what was learned is at `/accounts`.
        secret_hint: The last characters of a long secret, to tell keys apart.
        revision: Grows with every change; it is the ETag too.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_KEY]})

    id: str
    provider: str
    state: KeyState
    state_since: datetime
    created_at: datetime
    last_used_at: datetime | None
    requests: int
    failures: int
    cooldown_until: datetime | None
    scope: str | None
    models: list[str] | None
    weight: float
    priority: int
    tags: dict[str, str]
    limits: dict[str, float]
    secret_hint: str
    revision: int


class KeyPage(Page):
    """One page of keys, oldest first."""

    items: list[Key]


class NewKey(KeyConfig):
    """A key to add: its provider and its secret; the rest as in a configuration file."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"provider": "openai", "secret": "sk-...", "tags": {"team": "search"}},
                {"id": "second", "provider": "groq", "secret": "gsk_...", "limits": {"rpm": 30}},
            ]
        }
    )

    @field_validator("id")
    @classmethod
    def _id_fits_an_address(cls, value: str | None) -> str | None:
        return fitting_name(value) if value is not None else None


class KeyChanges(_Given):
    """What is to be changed of a key; what is not named stays.

    Attributes:
        models: Null admits all.
        tags: In the place of all that there are.
        limits: Beside those that are declared; null ends one.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"weight": 2, "state": "disabled"}]})

    state: KeyState | None = None
    models: Patterns | None = None
    weight: Share | None = None
    priority: Whole | None = None
    tags: dict[str, str] | None = None
    limits: dict[str, Share | None] | None = None

    @field_validator("state", "weight", "priority", "tags", "limits")
    @classmethod
    def _is_something(cls, value: object) -> object:
        if value is None:
            raise ValueError("should not be null: leave it out to keep it as it is")
        return value

    @field_validator("limits")
    @classmethod
    def _are_limits(cls, value: dict[str, float | None] | None) -> dict[str, float | None] | None:
        return changed_limits(value) if value is not None else None

    def facts(self) -> dict[str, Any]:
        """Return what is to be changed beside the state."""
        return self.model_dump(exclude_unset=True, exclude={"state"})


class NewSecret(_Given):
    """A secret in the place of a key's own."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"secret": "sk-..."}]})

    secret: Secret


class Reason(_Given):
    """Why something is done."""

    reason: Text = "revoked by the management API"


class KeyTest(BaseModel):
    """What the provider says of a key; null where it could not be asked, or tells nothing."""

    ok: bool | None = Field(examples=[True])
    detail: str = Field(examples=["the provider accepts the key"])


def view_of(slot: KeySlot) -> Key:
    """Return a key as it is shown."""
    record, facts = slot.snapshot(), slot.record.metadata
    waits = _waits(slot)
    return Key(
        id=record.id, provider=record.provider_id, state=state_of(slot),
        state_since=record.state_updated_at, created_at=record.created_at,
        last_used_at=record.last_used_at, requests=record.usage_count,
        failures=record.failure_count,
        cooldown_until=record.cooldown_until if waits else None,
        scope=_text(facts.get("scope")), models=_list(facts.get("models")),
        weight=slot.weight, priority=slot.priority, tags=slot.tags,
        limits=_limits(facts.get("limits")), secret_hint=_hint(slot.secret),
        revision=record.revision,
    )  # fmt: skip


def state_of(slot: KeySlot) -> KeyState:
    """Return the state that a key is shown in."""
    state = slot.record.state
    if state in (KeyState.THROTTLED, KeyState.EXHAUSTED) and not _waits(slot):
        # Its wait is over; the next request that comes moves it.
        return KeyState.AVAILABLE
    return state


def _waits(slot: KeySlot) -> bool:
    until = slot.record.cooldown_until
    return until is not None and until > datetime.now(UTC)


def _hint(secret: str) -> str:
    return f"…{secret[-_HINT:]}" if len(secret) >= _HINTED_FROM else "…"


def _text(value: object) -> str | None:
    return str(value) if value else None


def _list(value: Any) -> list[str] | None:
    return [str(name) for name in value] if value else None


def _limits(value: Any) -> dict[str, float]:
    return {name: float(most) for name, most in value.items()} if isinstance(value, Mapping) else {}
