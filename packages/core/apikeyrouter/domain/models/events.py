"""What happened, as small frozen records: the one feed of logs, metrics and audit."""

import msgspec


class KeyMoved(msgspec.Struct, frozen=True):
    """A key changed its state."""

    key_id: str
    provider_id: str
    from_state: str
    to_state: str
    trigger: str


class LimitLearned(msgspec.Struct, frozen=True):
    """A limit became known, or turned out other than believed.

    `before` is `None` when nothing was known; `declared` the operator's own figure.
    """

    scope_id: str
    window: str
    before: float | None
    after: float
    provenance: str
    declared: float | None = None


class ScopesJoined(msgspec.Struct, frozen=True):
    """Two keys were found to share one scope, or (`joined` false) not to after all."""

    scope_id: str
    other_id: str
    joined: bool
    basis: str
    confidence: float


class AttemptEnded(msgspec.Struct, frozen=True):
    """One try on one key ended. `outcome` is `ok`, `cancelled` or a failure class."""

    request_id: str
    key_id: str
    provider_id: str
    model: str
    outcome: str
    seconds: float
    input_tokens: int = 0
    output_tokens: int = 0


class CircuitMoved(msgspec.Struct, frozen=True):
    """A provider's circuit for one model opened, half-opened or closed.

    Attributes:
        detail: What was met on the way, where no answer came at all.
    """

    provider_id: str
    model: str
    to_state: str
    trigger: str
    detail: str = ""


class Rested(msgspec.Struct, frozen=True):
    """An account is left alone for a while, though nobody told it to wait.

    With `model` it is that model at that endpoint alone; `key_id` is the key that was refused.
    """

    provider_id: str
    scope_id: str
    model: str
    endpoint: str
    key_id: str
    seconds: float
    cause: str
    status: int | None
    message: str


Event = KeyMoved | LimitLearned | ScopesJoined | AttemptEnded | CircuitMoved | Rested
