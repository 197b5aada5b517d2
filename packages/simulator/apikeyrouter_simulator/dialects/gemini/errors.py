"""Google's shape of errors, and what a quota is called in it."""

from typing import Any

from apikeyrouter_simulator.quotas.limits import KINDS, Shortfall

Json = dict[str, Any]
_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    409: "ABORTED", 413: "INVALID_ARGUMENT", 415: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_MESSAGES = {
    429: "Resource has been exhausted (e.g. check quota).",
    500: "An internal error has occurred.",
    503: "The model is overloaded. Please try again later.",
}
#: What the limits are called: quotaId and the last part of quotaMetric.
_QUOTAS = {
    "rpm": ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "requests"),
    "rph": ("GenerateRequestsPerHourPerProjectPerModel-FreeTier", "requests"),
    "rpd": ("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "requests"),
    "tpm": ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "input_token_count"),
    "itpm": ("GenerateContentInputTokensPerModelPerMinute-FreeTier", "input_token_count"),
    "otpm": ("GenerateContentOutputTokensPerModelPerMinute-FreeTier", "output_token_count"),
    "tph": ("GenerateContentInputTokensPerModelPerHour-FreeTier", "input_token_count"),
    "tpd": ("GenerateContentInputTokensPerModelPerDay-FreeTier", "input_token_count"),
}
_METRIC = "generativelanguage.googleapis.com/generate_content_free_tier_"


def error(status: int, message: str, *details: Json) -> Json:
    """Return the body of an error."""
    said: Json = {"code": status, "message": message, "status": _STATUSES.get(status, "UNKNOWN")}
    if details:
        said["details"] = list(details)
    return {"error": said}


def status_error(status: int) -> Json:
    """Return the body of an error of that status."""
    message = _MESSAGES.get(status, f"The simulated provider answers {status}.")
    return error(status, message)


def reason(name: str) -> Json:
    """Return the detail that names the reason of an error."""
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": name,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }  # fmt: skip


def over_quota(lack: Shortfall, model: str, tells: str) -> Json:
    """Return the body of a 429: figures and wait, the wait alone, or nothing."""
    if tells == "bare" or lack.limit_name not in KINDS:
        return status_error(429)
    wait = [] if lack.is_too_large else [_retry_in(lack.wait_s)]
    if tells != "full":
        return error(429, _MESSAGES[429], *wait)
    quota, unit = _QUOTAS[lack.limit_name]
    violation = {
        "quotaMetric": _METRIC + unit, "quotaId": quota,
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": f"{lack.limit:.0f}",
    }  # fmt: skip
    failure = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}
    message = (
        "You exceeded your current quota, please check your plan and billing details.\n"
        f"* Quota exceeded for metric: {_METRIC}{unit}, limit: {lack.limit:.0f}, model: {model}"
    )
    if not lack.is_too_large:
        message += f"\nPlease retry in {_spoken(lack.wait_s)}."
    return error(429, message, failure, *wait)


def _retry_in(seconds: float) -> Json:
    delay = f"{_rounded(seconds):g}s"
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def _rounded(seconds: float) -> float:
    """Round up to milliseconds; whole seconds where there are many."""
    return -(-seconds // 1) if seconds >= 1000 else -(-seconds * 1000 // 1) / 1000


def _spoken(seconds: float) -> str:
    """Write a wait as in a message: `34.07s`, `10h17m6s`."""
    hours, rest = divmod(_rounded(seconds), 3600)
    minutes, secs = divmod(rest, 60)
    head = f"{hours:.0f}h{minutes:.0f}m" if hours else f"{minutes:.0f}m" if minutes else ""
    return f"{head}{round(secs, 3):g}s"
