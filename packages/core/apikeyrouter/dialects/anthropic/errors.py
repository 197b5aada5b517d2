"""Errors as Anthropic tells them: types go by status, overload has a status of its own."""

from collections.abc import Mapping

import msgspec

from apikeyrouter.dialects.dialect import ToldError

OVERLOADED = 529
#: Statuses for which Anthropic has another.
_STATUSES: Mapping[int, int] = {503: OVERLOADED}
TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}


def status_of(status: int) -> int:
    """Return Anthropic's own status for *status*."""
    return _STATUSES.get(status, status)


def type_of(status: int) -> str:
    """Return the type that goes with *status*."""
    usual = "invalid_request_error" if status < 500 else "api_error"
    return TYPES.get(status_of(status), usual)


def body_of(told: ToldError, request_id: str) -> bytes:
    """Return the JSON that Anthropic's clients read."""
    message = told.message
    if told.param and told.param not in message:
        message = f"{told.param}: {message}"
    error = {"type": type_of(told.status), "message": message}
    return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})
