"""Errors as Google's clients read them."""

from collections.abc import Mapping

import msgspec

from apikeyrouter.dialects.dialect import ToldError

_NAMES: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."
_DOMAIN = "apikeyrouter"


def error_body(told: ToldError) -> bytes:
    """Return an error in Google's shape, with `RetryInfo` where waiting helps."""
    details: list[dict[str, object]] = []
    if told.code:
        details.append(
            {"@type": f"{_TYPE}ErrorInfo", "reason": told.code.upper(), "domain": _DOMAIN}
        )
    if told.param:
        violation = {"field": told.param, "description": told.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if told.wait_s is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": _duration(told.wait_s)})
    error = {
        "code": told.status, "message": told.message, "status": status_name(told.status),
        **({"details": details} if details else {}),
    }  # fmt: skip
    return msgspec.json.encode({"error": error})


def status_name(status: int) -> str:
    """Return Google's name for an HTTP status."""
    return _NAMES.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")


def _duration(seconds: float) -> str:
    """Write seconds as Google does: `34s`, `0.5s`."""
    return f"{max(seconds, 0.001):.3f}".rstrip("0").rstrip(".") + "s"
