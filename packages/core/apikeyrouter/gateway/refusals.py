"""Our refusals, before they are put into the client's dialect, with hints on when to come back.

A client of ours is never told 401 for a key of ours, and never told to retry
what we have tried already.
"""

import math
from dataclasses import dataclass, field

from apikeyrouter.dialects.dialect import ToldError
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.errors import (
    NoEligibleKeysError,
    OwnLimitError,
    PinnedKeyError,
    UnknownModelError,
)
from apikeyrouter.infrastructure.adapters.errors.error_classification import UNTRUSTED
from apikeyrouter.request.exchange import Answer

#: Clients sleep through waits up to this long; beyond it they are told not to retry.
LONGEST_HINT_S = 60.0
_F = FailureClass
#: Failure class -> status, type, code of what the client is told.
_TOLD: dict[FailureClass, tuple[int, str, str]] = {
    _F.RATE_LIMITED: (429, "rate_limit_error", "rate_limit_exceeded"),
    _F.RATE_LIMITED_DAY: (429, "rate_limit_error", "rate_limit_exceeded"),
    _F.SLOW_DOWN: (429, "rate_limit_error", "slow_down"),
    _F.IN_FLIGHT_BUDGET: (429, "rate_limit_error", "rate_limit_exceeded"),
    _F.TOO_BIG_FOR_LIMIT: (413, "invalid_request_error", "request_too_large_for_limits"),
    _F.QUOTA_BILLING: (429, "insufficient_quota", "insufficient_quota"),
    _F.KEY_BUDGET: (429, "insufficient_quota", "insufficient_quota"),
    _F.ZERO_ALLOWANCE: (429, "insufficient_quota", "insufficient_quota"),
    _F.UNTRANSLATABLE: (400, "invalid_request_error", "untranslatable"),
    _F.NOT_FOUND: (404, "invalid_request_error", "not_found"),
    _F.MODEL_UNAVAILABLE: (404, "invalid_request_error", "model_not_found"),
    _F.TIMEOUT: (504, "server_error", "timeout"),
    _F.OUT_OF_TIME: (504, "server_error", "timeout"),
    _F.SERVER_ERROR: (502, "server_error", "upstream_error"),
    _F.NETWORK: (502, "server_error", "upstream_error"),
}
_OTHERWISE = (503, "service_unavailable_error", "upstream_unavailable")
#: The request's own fault, or what may be, told with the provider's status.
_REFUSED = frozenset(
    {_F.BAD_REQUEST, _F.CONTEXT_LENGTH, _F.CONTENT_FILTER, _F.UNFIT_MODEL, _F.UNEXPLAINED}
)
_OVERLOAD = frozenset({503, 529})
#: Told when the provider names no wait.
_OVERLOAD_PASSES_S = 2.0
#: Told when no clock says when there will be room, such as when a running call has to end.
_UNTOLD_WAIT_S = 1.0
_CLASSES = frozenset(FailureClass)


@dataclass(slots=True)
class ErrorAnswer:
    """A refusal before it is put into its client's dialect, and the headers that go with it."""

    told: ToldError
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def refusal(
    status: int,
    message: str,
    *,
    kind: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
) -> ErrorAnswer:
    """Refuse a request for what it is."""
    return ErrorAnswer(ToldError(status, message, kind, code, param))


def for_no_key(error: NoEligibleKeysError) -> ErrorAnswer:
    """Tell that nobody has room, and when somebody will."""
    if isinstance(error, PinnedKeyError):
        return refusal(409, str(error), code="key_of_object_unavailable")
    if isinstance(error, UnknownModelError) and not error.model:
        return refusal(404, f"{error}: no provider of this service has it", code="unknown_url")
    if isinstance(error, UnknownModelError):
        return refusal(404, str(error), code="model_not_found", param="model")
    if error.cause in _CLASSES and not FailureClass(error.cause).is_passing:
        return _for_cause(FailureClass(error.cause), error)
    is_told = error.retry_after is not None or isinstance(error, OwnLimitError)
    return _over_limit(str(error), error.retry_after if is_told else _UNTOLD_WAIT_S)


def _over_limit(message: str, wait_s: float | None) -> ErrorAnswer:
    """Tell that a limit is used up, and when it has room again; `None` where it never will."""
    told = ToldError(429, message, "rate_limit_error", "rate_limit_exceeded", wait_s=wait_s)
    return ErrorAnswer(told, retry_hints(wait_s))


def _for_cause(cause: FailureClass, error: NoEligibleKeysError) -> ErrorAnswer:
    """Tell what keeps every key from the request as the first that met it was told."""
    status, kind, code = _TOLD.get(cause, _OTHERWISE)
    if status >= 500:
        status, kind, code = _OTHERWISE
    wait_s = error.retry_after if status >= 500 else None
    told = ToldError(status, str(error), kind, code, wait_s=wait_s)
    return ErrorAnswer(told, retry_hints(wait_s))


def for_failure(failure: Failure, provider_id: str, nearest: tuple[str, ...] = ()) -> ErrorAnswer:
    """Tell what the last provider's failure means to the client.

    What no provider said is told in words of our own, without addresses.

    Args:
        nearest: Known models whose names look like the one that was not found.
    """
    status, kind, code = _told_of(failure)
    words = _MESSAGES_BY_CODE.get(failure.code or "") or _MESSAGES.get(failure.kind)
    if words is None:
        words = failure.message or f"provider '{provider_id}' refused the request without a reason"
    else:
        words = words.format(provider_id)
    if nearest:
        words = f"{words.rstrip('.')}; did you mean {' or '.join(nearest)}?"
    told = ToldError(status, words, kind, code, wait_s=failure.retry_after_s)
    return ErrorAnswer(told, _hints_of(failure, status))


def refusal_headers(error: ErrorAnswer, answer: Answer | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of a refusal; *answer* names the key and provider that were tried last."""
    headers = [(b"content-type", b"application/json"), *error.headers]
    if answer is not None:
        headers.append((b"x-key-used", answer.attempt.slot.id.encode()))
        headers.append((b"x-provider-used", answer.attempt.provider.id.encode()))
    return headers


def is_clients_fault(answer: Answer) -> bool:
    """Tell whether the provider's own words are what the client should read."""
    failure = answer.failure
    if failure is None or not answer.body or answer.translation is not None:
        return False
    return failure.kind.is_fault_of_request and answer.status != 401


def _told_of(failure: Failure) -> tuple[int, str, str | None]:
    if failure.kind in _REFUSED and failure.status not in (None, 401):
        return failure.status, "invalid_request_error", failure.code
    status, kind, code = _TOLD.get(failure.kind, _OTHERWISE)
    return _OTHERWISE if status >= 500 and failure.status in _OVERLOAD else (status, kind, code)


def _hints_of(failure: Failure, status: int) -> list[tuple[bytes, bytes]]:
    if status == 429 or (status >= 500 and failure.retry_after_s):
        return retry_hints(failure.retry_after_s)
    # Every key that could have helped was tried already.
    hints = [(b"x-should-retry", b"false")]
    if failure.kind is _F.OVERLOADED or (status == 503 and failure.status in _OVERLOAD):
        hints += retry_hints(_OVERLOAD_PASSES_S)
    return hints


def retry_hints(wait_s: float | None) -> list[tuple[bytes, bytes]]:
    """Say when to come back; a wait that no client would sit out is marked as such."""
    if wait_s is None:
        return [(b"x-should-retry", b"false")]
    wait_s = max(wait_s, 0.001)
    hints = [
        (b"retry-after", str(math.ceil(wait_s)).encode()),
        (b"retry-after-ms", str(math.ceil(wait_s * 1000)).encode()),
    ]
    if wait_s > LONGEST_HINT_S:
        hints = [hints[0], (b"x-should-retry", b"false")]
    return hints


_NO_VALID_KEY = "no valid key is left for this request at its provider; ask your operator"
_MESSAGES = {
    _F.KEY_INVALID: _NO_VALID_KEY,
    _F.ACCOUNT_DISABLED: _NO_VALID_KEY,
    _F.IP_NOT_AUTHORIZED: "the provider does not accept calls from this service's address",
    _F.UNREACHABLE: "provider '{}' cannot be reached",
    _F.NETWORK: "provider '{}' closed the connection before its answer was complete",
    _F.TIMEOUT: "provider '{}' did not answer in time",
    _F.OUT_OF_TIME: "provider '{}' did not answer within the time that this request may take",
}
_MESSAGES_BY_CODE = {
    UNTRUSTED: "provider '{}' cannot be reached: its certificate is not trusted here; "
    "if it is your own, name its authority's file as the provider's ca_file",
}
