"""What a refusal means: signals to classes, as rows.

Signals are weighed in this order: the body's code, its type, its words, then
the status. Words also tell waits and limits (`Limit 10000, Used 8782,
Requested 8172. Please try again in 41.7s`). Any bytes and any status give a
class; nothing here raises, and no message keeps a credential.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter.domain.models.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Dimension,
    ObservedLimit,
    Provenance,
)
from apikeyrouter.infrastructure.adapters.durations import parse_duration
from apikeyrouter.infrastructure.adapters.rate_limit_headers import (
    read_account,
    read_limits,
    read_retry_after,
)

_LONGEST_MESSAGE = 500
_READ_BYTES = 65_536
_F = FailureClass

#: The body's `code`, `status` or `reason`, lower case.
_BY_CODE: Mapping[str, FailureClass] = {
    "credit_balance_exhausted": _F.QUOTA_BILLING,
    "organization_spend_limit_exceeded": _F.QUOTA_BILLING,
    "organization_usage_limit_exceeded": _F.QUOTA_BILLING,
    "project_spend_limit_exceeded": _F.QUOTA_BILLING,
    "billing_hard_limit_reached": _F.QUOTA_BILLING,
    "billing_not_active": _F.QUOTA_BILLING,
    "insufficient_quota": _F.QUOTA_BILLING,
    "enforced_spend_limit_reached": _F.QUOTA_BILLING,
    "openrouter_in_flight_budget": _F.IN_FLIGHT_BUDGET,
    "openrouter_key_limit": _F.KEY_BUDGET,
    "weight_exceeds_budget": _F.TOO_BIG_FOR_LIMIT,
    "invalid_api_key": _F.KEY_INVALID,
    "api_key_invalid": _F.KEY_INVALID,
    "invalid_authentication": _F.KEY_INVALID,
    "account_deactivated": _F.ACCOUNT_DISABLED,
    "organization_on_hold": _F.ACCOUNT_DISABLED,
    "consumer_suspended": _F.ACCOUNT_DISABLED,
    "model_not_found": _F.MODEL_UNAVAILABLE,
    "model_decommissioned": _F.MODEL_UNAVAILABLE,
    "deploymentnotfound": _F.MODEL_UNAVAILABLE,
    "unsupported_country_region_territory": _F.REGION_BLOCKED,
    "ip_not_authorized": _F.IP_NOT_AUTHORIZED,
    "server_is_overloaded": _F.OVERLOADED,
    "provider_overloaded": _F.OVERLOADED,
    "slow_down": _F.SLOW_DOWN,
    "ramp_limit_exceeded": _F.SLOW_DOWN,
    "dynamic_request_limited": _F.SLOW_DOWN,
    "dynamic_token_limited": _F.SLOW_DOWN,
    "context_length_exceeded": _F.CONTEXT_LENGTH,
    "content_policy_violation": _F.CONTENT_FILTER,
    "content_filter": _F.CONTENT_FILTER,
    "moderation_blocked": _F.CONTENT_FILTER,
    "responsibleaipolicyviolation": _F.CONTENT_FILTER,
    "rate_limit_exceeded": _F.RATE_LIMITED,
    "ratelimitreached": _F.RATE_LIMITED,
}
_BY_TYPE: Mapping[str, FailureClass] = {
    "insufficient_quota": _F.QUOTA_BILLING,
    "billing_error": _F.QUOTA_BILLING,
    "authentication_error": _F.KEY_INVALID,
    "overloaded_error": _F.OVERLOADED,
    "service_unavailable_error": _F.OVERLOADED,
    "not_found_error": _F.MODEL_UNAVAILABLE,
    "requests": _F.RATE_LIMITED,
    "tokens": _F.RATE_LIMITED,
    "rate_limit_error": _F.RATE_LIMITED,
}
#: Words of the message, first match wins. Statuses restrict a row where words alone mislead.
_BY_WORDS: tuple[tuple[re.Pattern[str], FailureClass, frozenset[int]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), kind, frozenset(statuses))
    for pattern, kind, statuses in (
        (r"request too large|exceeds? the (?:token|rate) limit of", _F.TOO_BIG_FOR_LIMIT,
         (429, 413)),
        (r"\blimit: 0\b", _F.ZERO_ALLOWANCE, (429,)),
        (r"credit balance is too low|regain access on|insufficient (?:balance|credits?)"
         r"|exceeded your current quota, please check your plan", _F.QUOTA_BILLING, ()),
        (r"incorrect api key|invalid api key|api key not valid"
         r"|api key.{0,40}(?:leaked|revoked|expired)", _F.KEY_INVALID, ()),
        (r"account.{0,40}(?:deactivated|suspended)|team.{0,20}blocked", _F.ACCOUNT_DISABLED, ()),
        (r"ip (?:address )?not authorized", _F.IP_NOT_AUTHORIZED, ()),
        (r"country, region, or territory|user location is not supported", _F.REGION_BLOCKED, ()),
        (r"does not exist or you do not have access|must be verified to use the model",
         _F.MODEL_UNAVAILABLE, ()),
        (r"prompt is too long|maximum context length|input token count.{0,40}exceeds",
         _F.CONTEXT_LENGTH, (400, 413)),
        (r"unable to process your request|experiencing high demand|overloaded", _F.OVERLOADED,
         (429, 503, 529)),
        (r"per day|\((?:TPD|RPD|ASD)\)|PerDay", _F.RATE_LIMITED_DAY, (429,)),
    )
)  # fmt: skip
_BY_STATUS: Mapping[int, FailureClass] = {
    400: _F.BAD_REQUEST,
    401: _F.KEY_INVALID,
    402: _F.QUOTA_BILLING,
    403: _F.MODEL_UNAVAILABLE,
    404: _F.MODEL_UNAVAILABLE,
    405: _F.BAD_REQUEST,
    408: _F.CONFLICT,
    409: _F.CONFLICT,
    413: _F.BAD_REQUEST,
    415: _F.BAD_REQUEST,
    422: _F.BAD_REQUEST,
    425: _F.CONFLICT,
    429: _F.RATE_LIMITED,
    498: _F.OVERLOADED,
    503: _F.OVERLOADED,
    529: _F.OVERLOADED,
}
#: What only some statuses can mean: `invalid_api_key` in a 500 is not believed.
_ONLY_CLIENT_ERRORS = frozenset(
    {_F.KEY_INVALID, _F.ACCOUNT_DISABLED, _F.MODEL_UNAVAILABLE, _F.CONTEXT_LENGTH}
)

_TRY_AGAIN = re.compile(
    r"(?:try again|retry) in (?:about )?"
    r"((?:\d+(?:\.\d+)?\s*(?:ms|h|m|s|d))+|\d+(?:\.\d+)?(?= sec))",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"Limit:?\s*([\d,]+)(?:.{0,12}?Used:?\s*([\d,]+))?", re.IGNORECASE)
_REQUESTED = re.compile(r"Requested:?\s*([\d,]+)", re.IGNORECASE)
_COUNTED = re.compile(
    r"(requests|tokens|input tokens|output tokens|images|audio seconds) per (sec|min|hour|day)",
    re.IGNORECASE,
)
_PERIODS = {"sec": 1.0, "min": MINUTE_S, "hour": HOUR_S, "day": DAY_S}
_ORGANIZATION = re.compile(r"organization\s+`?(org[-_][A-Za-z0-9]+)")
_SECRET = re.compile(
    r"\b(?:sk-|gsk_|xai-|AIza|pplx-|csk-|fw_|hf_|key-|Bearer\s+)[\w.\-*]{3,}|\b[A-Za-z0-9_\-]{40,}\b"
)


def classify(
    kind: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    *,
    dialect: str | None = None,
) -> Failure:
    """Say what an answer that is not 2xx means.

    Args:
        kind: Dialect of the body.
        dialect: Of the rate-limit headers; the body's if `None`.
        now: Epoch seconds.
    """
    dialect = dialect or kind
    error = _error_of(body)
    message = _message_of(error, body)
    codes = [str(error[name]).lower() for name in ("code", "reason", "status") if error.get(name)]
    type_ = str(error.get("type") or "").lower()
    failed = _class_of(status, codes, type_, message)
    limits = read_limits(dialect, headers, now)
    if told := _limit_in(message):
        limits = (*limits, told)
    if failed is _F.RATE_LIMITED and _asks_too_much(message):
        failed = _F.TOO_BIG_FOR_LIMIT
    if failed is _F.RATE_LIMITED and any(limit.limit == 0 for limit in limits):
        failed = _F.ZERO_ALLOWANCE
    return Failure(
        kind=failed,
        message=_masked(message),
        status=status,
        code=str(error.get("code") or error.get("type") or "") or None,
        retry_after_s=_wait_told(error, message, headers, now),
        limits=tuple(limit for limit in limits if limit.limit != 0),
        account=read_account(dialect, headers) or _organization_in(message),
    )


def classify_exception(exc: BaseException) -> Failure:
    """Say what it means that no answer came."""
    text = _masked(f"{type(exc).__name__}: {exc}")
    if isinstance(exc, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return Failure(_F.UNREACHABLE, text)
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return Failure(_F.UNREACHABLE, text)
    if isinstance(exc, asyncio.TimeoutError):
        return Failure(_F.TIMEOUT, "the provider did not answer in time")
    return Failure(_F.NETWORK, text)


def classify_embedded(kind: str, event: bytes, now: float) -> Failure | None:
    """Find an error that a provider put into the first event of a 200 stream.

    Returns:
        The failure, or `None` when the event is no error.
    """
    for line in event.split(b"\n"):
        data = line[5:].strip() if line.startswith(b"data:") else line.strip()
        if not data.startswith(b"{"):
            continue
        found = _decode(data)
        if isinstance(found, dict) and found.get("error"):
            error = _error_of(data)
            code = error.get("code")
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            return classify(kind, status, {}, data, now)
    return None


def _class_of(status: int, codes: list[str], type_: str, message: str) -> FailureClass:
    by_status = _BY_STATUS.get(status) or (_F.SERVER_ERROR if status >= 500 else _F.BAD_REQUEST)
    known = next((_BY_CODE[code] for code in codes if code in _BY_CODE), None)
    if type_ == "insufficient_quota":
        known = _F.QUOTA_BILLING
    known = known or _BY_TYPE.get(type_)
    if known is None or known is _F.RATE_LIMITED:
        for pattern, kind, statuses in _BY_WORDS:
            if (not statuses or status in statuses) and pattern.search(message):
                known = kind
                break
    if known is None or (known in _ONLY_CLIENT_ERRORS and status >= 500):
        return by_status
    if known is _F.RATE_LIMITED and status not in (429, 413, 403):
        return by_status
    return known


def _error_of(body: bytes) -> dict[str, Any]:
    """Find the error object in any of the shapes that providers send; empty if none."""
    data = _decode(body[:_READ_BYTES])
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return {}
    error = data.get("error", data)
    if isinstance(error, str):
        return {"message": error, "code": data.get("code"), "type": data.get("type")}
    if not isinstance(error, dict):
        return {}
    inner = error.get("innererror")
    if isinstance(inner, dict) and inner.get("code"):
        error = {**error, "reason": inner["code"]}
    for detail in error.get("details") or () if isinstance(error.get("details"), list) else ():
        if isinstance(detail, dict):
            error = {**_facts_of(detail), **error}
    return error


def _facts_of(detail: dict[str, Any]) -> dict[str, Any]:
    """Lift what one Google-style detail tells: a reason, a wait."""
    return {name: detail[name] for name in ("reason", "retryDelay") if name in detail}


def _decode(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _message_of(error: dict[str, Any], body: bytes) -> str:
    message = error.get("message") or error.get("detail")
    if isinstance(message, str):
        return message
    if message is not None:
        return str(message)
    return body[:_LONGEST_MESSAGE].decode("utf-8", "replace").strip()


def _wait_told(
    error: dict[str, Any], message: str, headers: Mapping[str, str], now: float
) -> float | None:
    """Return the longest of all the waits that the answer tells."""
    told = [read_retry_after(headers, now)]
    if (match := _TRY_AGAIN.search(message)) is not None:
        told.append(parse_duration(match[1].replace(" ", ""), now))
    if isinstance(error.get("retryDelay"), str):
        told.append(parse_duration(error["retryDelay"], now))
    return max((wait for wait in told if wait is not None), default=None)


def _limit_in(message: str) -> ObservedLimit | None:
    counted, limit = _COUNTED.search(message), _LIMIT.search(message)
    if counted is None or limit is None:
        return None
    capacity = _number(limit[1])
    if capacity is None:
        return None
    used = _number(limit[2]) if limit[2] else None
    return ObservedLimit(
        Dimension(counted[1].lower()),
        capacity,
        max(0.0, capacity - used) if used is not None else None,
        period_s=_PERIODS[counted[2].lower()],
        source=Provenance.ERROR_BODY,
    )


def _asks_too_much(message: str) -> bool:
    """Tell whether the request alone exceeds the limit, so that waiting is in vain."""
    limit, requested = _LIMIT.search(message), _REQUESTED.search(message)
    if limit is None or requested is None:
        return False
    return (_number(requested[1]) or 0.0) > (_number(limit[1]) or 0.0)


def _number(text: str) -> float | None:
    digits = text.replace(",", "")
    return float(digits) if digits.isdigit() and len(digits) < 16 else None


def _organization_in(message: str) -> str:
    found = _ORGANIZATION.search(message)
    return found[1] if found else ""


def _masked(message: str) -> str:
    return _SECRET.sub("[masked]", message[: 4 * _LONGEST_MESSAGE])[:_LONGEST_MESSAGE]
