"""The refusals of the service itself; what the router and providers refuse is told as in core."""

from apikeyrouter.service import (
    ErrorAnswer,
    ToldError,
    for_failure,
    for_no_key,
    refusal,
    retry_hints,
)

__all__ = [
    "NOT_KNOWN",
    "NO_CLIENTS",
    "STOPPING",
    "UNEXPECTED",
    "ErrorAnswer",
    "for_failure",
    "for_no_key",
    "refusal",
    "retry_hints",
]

#: Told to whoever has no token of a client.
NOT_KNOWN = refusal(
    401,
    "this service needs a client token: send 'Authorization: Bearer <token>'",
    code="invalid_api_key",
)
NOT_KNOWN.headers = [(b"www-authenticate", b'Bearer realm="apikeyrouter"')]
#: Told to whoever comes from another machine while nobody is named as a client.
NO_CLIENTS = refusal(
    403,
    "this service has no clients yet and so answers on loopback addresses only: add an entry "
    "under clients to its configuration file and send that client's token",
    code="no_clients",
)
#: Told to whoever is cut short when the service stops.
STOPPING = ErrorAnswer(
    ToldError(
        503,
        "the service stops; send the request again",
        "server_error",
        "shutting_down",
        wait_s=1.0,
    ),
    retry_hints(1.0),
)
#: Told when something of ours is broken; the log has the rest, by the request's id.
UNEXPECTED = refusal(
    500,
    "the service failed unexpectedly; its log tells why, by this answer's X-Request-ID",
    kind="server_error",
    code="internal_error",
)
