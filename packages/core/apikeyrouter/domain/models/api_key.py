"""A stored credential and the moves it may make.

The table `ALLOWED_MOVES` is the whole state machine. The material is
ciphertext here; only `reveal()` opens it, and no repr or dump shows either.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from apikeyrouter.errors import EncryptionError


class KeyState(StrEnum):
    """What a key may do now."""

    AVAILABLE = "available"
    THROTTLED = "throttled"
    EXHAUSTED = "exhausted"
    RECOVERING = "recovering"
    DISABLED = "disabled"
    INVALID = "invalid"

    # Spellings that users were shown.
    Available = "available"
    Throttled = "throttled"
    Exhausted = "exhausted"
    Recovering = "recovering"
    Disabled = "disabled"
    Invalid = "invalid"


_S = KeyState
ALLOWED_MOVES: Mapping[KeyState, frozenset[KeyState]] = MappingProxyType(
    {
        _S.AVAILABLE: frozenset({_S.THROTTLED, _S.EXHAUSTED, _S.DISABLED, _S.INVALID}),
        _S.THROTTLED: frozenset({_S.AVAILABLE, _S.DISABLED, _S.INVALID}),
        _S.EXHAUSTED: frozenset({_S.RECOVERING, _S.DISABLED, _S.INVALID}),
        _S.RECOVERING: frozenset({_S.AVAILABLE, _S.EXHAUSTED, _S.DISABLED, _S.INVALID}),
        _S.DISABLED: frozenset({_S.AVAILABLE, _S.INVALID}),
        _S.INVALID: frozenset({_S.DISABLED}),
    }
)
#: Where a key may be used at all; a throttled key waits for its moment.
USABLE = frozenset({_S.AVAILABLE, _S.THROTTLED, _S.RECOVERING, _S.EXHAUSTED})


def utc_now() -> datetime:
    """Return the present moment with its zone."""
    return datetime.now(UTC)


class APIKey(BaseModel):
    """A key as it is stored: who it is, how it fares, its sealed secret.

    Attributes:
        key_material: Ciphertext; in no repr and no dump.
        cooldown_until: No call before this moment; `None` when free.
        metadata: The operator's own facts: `scope`, `weight`, `priority`,
            `tags`, `models`, `limits`, and anything else.
        revision: How often an operator has changed it; a change is only stored over the
            revision that it was made from.
    """

    model_config = ConfigDict(validate_assignment=False)

    id: str
    provider_id: str
    key_material: str = Field(repr=False, exclude=True)
    state: KeyState = KeyState.AVAILABLE
    state_updated_at: datetime = Field(default_factory=utc_now)
    created_at: datetime = Field(default_factory=utc_now)
    last_used_at: datetime | None = None
    usage_count: int = 0
    failure_count: int = 0
    cooldown_until: datetime | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    revision: int = 0

    _opener: Callable[[], str] | None = PrivateAttr(default=None)

    def reveal(self) -> str:
        """Return the secret in the clear, for the one call that needs it.

        Raises:
            EncryptionError: This record was not handed out by a router.
        """
        if self._opener is None:
            raise EncryptionError(f"key '{self.id}' has no opener: ask the router's key manager")
        return self._opener()
