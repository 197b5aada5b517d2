"""What happened, as small frozen records: the one feed of logs, metrics, tables and audit.

A request emits events from its arrival to its end: `RequestArrived`, then perhaps
`RequestQueued` and `RequestDequeued`, for each try `AttemptStarted` and `AttemptEnded`, and
`RequestEnded` exactly once. The other events are about keys, accounts and providers.
"""

import msgspec

from apikeyrouter.domain.models.token_usage import Usage


class _Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What all events carry.

    Attributes:
        at: Epoch seconds by the router's clock; `instant(at)` is for people.
    """

    at: float


class RequestArrived(_Fact, frozen=True):
    """A request was accepted. Sizes are estimates."""

    request_id: str
    model: str
    client: str
    endpoint: str
    stream: bool
    input_tokens: int
    output_cap: int | None


class RequestQueued(_Fact, frozen=True):
    """A request waits for room.

    Attributes:
        waiting: Requests that wait now, this one included.
    """

    request_id: str
    model: str
    client: str
    waiting: int


class RequestDequeued(_Fact, frozen=True):
    """A request waits no longer. `outcome` is `granted`, `refused` or `cancelled`."""

    request_id: str
    outcome: str
    seconds: float
    waiting: int


class AttemptStarted(_Fact, frozen=True):
    """A key was chosen and its quota reserved.

    Attributes:
        number: 1 for the first attempt of its request.
        scope_id: Whose limits it draws on.
        waited_s: Seconds that its request has stood in the queue so far.
        reserved_tokens: What is set aside of the account's tokens.
    """

    request_id: str
    key_id: str
    provider_id: str
    model: str
    number: int
    scope_id: str
    waited_s: float
    reserved_tokens: float


class AttemptEnded(_Fact, frozen=True):
    """One try on one key ended. `outcome` is `ok`, `cancelled` or a failure class.

    Attributes:
        waited_s: Seconds that its request has stood in the queue so far.
        first_byte_s: Seconds until the provider let it in; `None` if it did not.
        charged_tokens: What stays charged to the account: the provider's figure, or the estimate.
        usage: All that was told of its use. It is not `exact` where the answer had not ended:
            what had been told and counted until then. `None` if nothing is known.
    """

    request_id: str
    key_id: str
    provider_id: str
    model: str
    outcome: str
    seconds: float
    input_tokens: int = 0
    output_tokens: int = 0
    number: int = 1
    waited_s: float = 0.0
    first_byte_s: float | None = None
    charged_tokens: float = 0.0
    usage: Usage | None = None


class RequestEnded(_Fact, frozen=True):
    """A request ended: told exactly once, whatever the outcome.

    Attributes:
        outcome: `ok`, `cancelled`, the failure class of the last attempt; without one
            `no_capacity`, `own_limit`, `unknown_model` or `error`.
        key_id: Of the last attempt; empty if there was none.
        waited_s: Seconds that it stood in the queue, over all its attempts.
    """

    request_id: str
    model: str
    client: str
    outcome: str
    seconds: float
    waited_s: float
    attempts: int
    key_id: str = ""
    provider_id: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None


class KeyMoved(_Fact, frozen=True):
    """A key changed its state."""

    key_id: str
    provider_id: str
    from_state: str
    to_state: str
    trigger: str


class LimitLearned(_Fact, frozen=True):
    """A limit became known, or turned out other than believed.

    `before` is `None` when nothing was known; `declared` the operator's own figure.
    """

    scope_id: str
    window: str
    before: float | None
    after: float
    provenance: str
    declared: float | None = None


class ScopesJoined(_Fact, frozen=True):
    """Two keys were found to share one scope, or (`joined` false) not to after all."""

    scope_id: str
    other_id: str
    joined: bool
    basis: str
    confidence: float


class CircuitMoved(_Fact, frozen=True):
    """A provider's circuit for one model opened, half-opened or closed.

    Attributes:
        detail: What was met on the way, where no answer came at all.
    """

    provider_id: str
    model: str
    to_state: str
    trigger: str
    detail: str = ""


class Rested(_Fact, frozen=True):
    """An account is not called for a while, though its provider asked for no wait.

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


Event = (
    RequestArrived
    | RequestQueued
    | RequestDequeued
    | AttemptStarted
    | AttemptEnded
    | RequestEnded
    | KeyMoved
    | LimitLearned
    | ScopesJoined
    | CircuitMoved
    | Rested
)
