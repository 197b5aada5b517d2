"""All that a decision may know of a request."""

import msgspec

from apikeyrouter.domain.models.routing_decision import RoutingObjective

#: Output tokens expected when the caller sets no cap.
DEFAULT_OUTPUT_TOKENS = 256
#: Larger output caps count as this many tokens: no provider gives more.
MOST_OUTPUT_TOKENS = 10**12


class Demand(msgspec.Struct, eq=False):
    """One request as the router sees it: sizes and wishes, no content.

    Attributes:
        model: As asked: a model, an alias, or `provider/model`; empty where none is used, such
            as for a list of files.
        request_id: Names the request in records and headers.
        endpoint: What is asked for, named by its path in the dialect of the request, such as
            `chat/completions` or `messages/count_tokens`.
        provider_id: Only this provider may serve it.
        key_id: Only this key may, or others of its account once it is out of use: what is asked
            for belongs to them.
        may_leave_key: Every other key may serve it too when that one has no room.
        is_opaque: The answer is bytes that nothing is read of, such as a file's content.
        input_tokens: Our estimate.
        body_bytes: Length of its body; 0 when that is not known.
        output_cap: The caller's own `max_tokens`; `None` when unset.
        objective: What the choice should be good at; the router's default if `None`.
        client: Who asks, for fairness between clients.
        client_weight: Share of the client beside others, above zero.
        priority: Higher is served first while waiting.
        max_wait: Longest wait for capacity in seconds; `None` takes the router's.
        deadline: When the caller gives up, epoch seconds; `None` takes the router's.
        affinity: Requests that name the same one share a provider's cache; empty for none.
        tags: Labels for policies and reports.
    """

    model: str
    request_id: str
    endpoint: str = "chat/completions"
    provider_id: str | None = None
    key_id: str | None = None
    may_leave_key: bool = False
    is_opaque: bool = False
    input_tokens: int = 0
    body_bytes: int = 0
    output_cap: int | None = None
    objective: RoutingObjective | None = None
    client: str = ""
    client_weight: float = 1.0
    priority: int = 0
    max_wait: float | None = None
    deadline: float | None = None
    stream: bool = False
    affinity: str = ""
    tags: dict[str, str] = {}
