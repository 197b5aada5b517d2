"""What a client's request means to the router."""

from collections.abc import Callable, Mapping

from apikeyrouter.dialects.catalogue import dialect_of
from apikeyrouter.dialects.dialect import BadBodyError, Peek
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.token_estimate import estimate_tokens
from apikeyrouter.infrastructure.config.settings import RouterSettings

#: Names the session of an agent, whose requests share a prompt cache.
_SESSION = b"x-claude-code-session-id"
_PATIENCE = b"x-request-timeout"


def demand_for(
    endpoint: str,
    seen: Peek,
    body: bytes,
    headers: Mapping[bytes, bytes],
    *,
    request_id: str,
    now: Callable[[], float],
    settings: RouterSettings,
) -> Demand:
    """Return the demand of a request.

    Args:
        endpoint: See `Demand.endpoint`.
        headers: Of the client, by lower-case name.
        now: The clock of the router.

    Raises:
        BadBodyError: A header of it makes no sense.
    """
    dialect = dialect_of(endpoint)
    demand = Demand(
        model=seen.model,
        request_id=request_id,
        endpoint=endpoint,
        input_tokens=estimate_tokens(body),
        body_bytes=len(body),
        output_cap=seen.output_cap if endpoint in dialect.chunked else 0,
        stream=seen.is_stream,
    )
    session = headers.get(_SESSION)
    demand.affinity = dialect.session_of(seen) if session is None else session.decode("latin-1")
    patience = headers.get(_PATIENCE)
    if patience is not None:
        patience_s = _seconds_of(patience)
        demand.max_wait = min(patience_s, settings.max_queue_wait_seconds)
        demand.deadline = now() + min(patience_s, settings.request_timeout_seconds)
    return demand


def _seconds_of(value: bytes) -> float:
    """Read `X-Request-Timeout`, the client's own deadline."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise BadBodyError("X-Request-Timeout should be seconds above 0", "X-Request-Timeout")
    return seconds
