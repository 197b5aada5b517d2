"""Recorded refusals become failures: their class, their wait, their limits, and no secret."""

import json
import socket
from types import SimpleNamespace

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Algorithm,
    Dimension,
    ObservedLimit,
    Provenance,
)
from apikeyrouter.infrastructure.adapters.errors.error_classification import (
    classify,
    classify_embedded,
    classify_exception,
)
from apikeyrouter.infrastructure.adapters.errors.error_signals import (
    BY_CODE,
    BY_VAGUE_CODE,
    NATURAL_STATUS,
)
from apikeyrouter.infrastructure.adapters.rate_limit_headers import DIALECTS

pytestmark = pytest.mark.unit

#: 2026-11-24 02:00:00 UTC; midnight in California is in 6 hours.
NOW = 1795485600.0
F, D = FailureClass, Dimension
BODY = Provenance.ERROR_BODY


def _openai(message="", type_=None, code=None, **more):
    return {"error": {"message": message, "type": type_, "param": None, "code": code, **more}}


def _anthropic(message, type_, code=None):
    error = {"type": type_, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": "req_1"}


def _gemini(message, status, http=429, reason=None, **more):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    error = {"code": http, "message": message, "status": status}
    return {"error": {**error, "details": details if reason else more.get("details", [])}}


def _quota(*violations, delay=None):
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {"quotaMetric": "requests", "quotaId": name, "quotaValue": value}
                for name, value in violations
            ],
        }
    ]
    if delay is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    lines = "".join(
        f"\n* Quota exceeded for metric: generativelanguage.googleapis.com/requests, limit: {value}"
        for _, value in violations
    )
    message = f"You exceeded your current quota, please check your plan and billing details.{lines}"
    return _gemini(message, "RESOURCE_EXHAUSTED", details=details)


def _openrouter(http, message="", **metadata):
    return {"error": {"code": http, "message": message, "metadata": metadata}}


def _classify(kind, status, body, headers=None, dialect=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(kind, status, headers or {}, data, NOW, dialect)


PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
INPUT_PER_MINUTE = "GenerateContentInputTokensPerModelPerMinute-FreeTier"
GROQ_DAY = (
    "Rate limit reached for model `m` in organization `org_01abc` service tier `on_demand` on "
    "tokens per day (TPD): Limit 200000, Used 199236, Requested 1682. Please try again in "
    "6m36.576s. Need more tokens? Upgrade to Dev Tier today."
)
OPENAI_MINUTE = (
    "Rate limit reached for gpt-4 in organization org-abc on tokens per min (TPM): Limit 10000, "
    "Used 8782, Requested 8172. Please try again in 41.724s."
)
TOO_LARGE = (
    "Request too large for gpt-4 in organization org-abc on tokens per min (TPM): Limit 10000, "
    "Requested 11112. The input or output tokens must be reduced in order to run successfully."
)

#: name: class, dialect, status, body, headers
SAMPLES = {
    # A minute's limit.
    "openai tokens per minute": (
        F.RATE_LIMITED, "openai", 429, _openai(OPENAI_MINUTE, "tokens", "rate_limit_exceeded"),
    ),
    "openai requests, no words": (
        F.RATE_LIMITED, "openai", 429, _openai("", "requests", "rate_limit_exceeded"),
    ),
    "anthropic": (
        F.RATE_LIMITED, "anthropic", 429,
        _anthropic("This request would exceed your organization's rate limit of 50,000 input "
                   "tokens per minute.", "rate_limit_error"),
        {"retry-after": "20"},
    ),
    "gemini minute": (F.RATE_LIMITED, "gemini", 429, _quota((PER_MINUTE, "5"), delay="34s")),
    "gemini through its openai surface": (
        F.RATE_LIMITED, "gemini", 429, [_quota((PER_MINUTE, "5"), delay="34s")],
    ),
    "gemini without details": (
        F.RATE_LIMITED, "gemini", 429,
        _gemini("You exceeded your current quota, please check your plan.", "RESOURCE_EXHAUSTED"),
    ),
    "vertex shared quota": (
        F.RATE_LIMITED, "gemini", 429,
        _gemini("Resource exhausted, please try again later", "RESOURCE_EXHAUSTED"),
    ),
    "azure": (
        F.RATE_LIMITED, "azure", 429,
        _openai("Rate limit is exceeded. Please retry after 26 seconds.", code="429"),
    ),
    "azure by code": (F.RATE_LIMITED, "azure", 429, _openai("", code="RateLimitReached")),
    "mistral": (
        F.RATE_LIMITED, "mistral", 429,
        {"message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
    ),
    "openrouter minute": (
        F.RATE_LIMITED, "openrouter", 429,
        _openrouter(429, "Rate limit exceeded: free-models-per-min."),
    ),
    "xai": (F.RATE_LIMITED, "xai", 429, {"code": "Some resource has been exhausted", "error": "x"}),
    "bedrock": (
        F.RATE_LIMITED, "bedrock", 429, {"message": "Too many tokens"},
        {"x-amzn-errortype": "ThrottlingException:http://internal"},
    ),
    "nothing but a status": (F.RATE_LIMITED, "openai", 429, b""),
    # A day's limit.
    "groq day": (
        F.RATE_LIMITED_DAY, "groq", 429, _openai(GROQ_DAY, "tokens", "rate_limit_exceeded"),
    ),
    "groq requests of the day": (
        F.RATE_LIMITED_DAY, "groq", 429, _openai("Slow", "requests", "rate_limit_exceeded"),
        {"x-ratelimit-limit-requests": "1000", "x-ratelimit-remaining-requests": "0"},
    ),
    "cerebras day by headers": (
        F.RATE_LIMITED_DAY, "cerebras", 429, {"message": "Too many", "code": "x"},
        {"x-ratelimit-limit-requests-day": "2400", "x-ratelimit-remaining-requests-day": "0"},
    ),
    "gemini day": (
        F.RATE_LIMITED_DAY, "gemini", 429, _quota((PER_MINUTE, "5"), (PER_DAY, "20"), delay="18s"),
    ),
    "openrouter day": (
        F.RATE_LIMITED_DAY, "openrouter", 429,
        _openrouter(429, "Rate limit exceeded: free-models-per-day. Add 10 credits."),
    ),
    # More than the limit can ever hold.
    "openai too large": (
        F.TOO_BIG_FOR_LIMIT, "openai", 429, _openai(TOO_LARGE, "tokens", "rate_limit_exceeded"),
    ),
    "figures alone": (
        F.TOO_BIG_FOR_LIMIT, "openai", 429,
        _openai("on tokens per min (TPM): Limit 10000, Used 0, Requested 11112.", "tokens"),
    ),
    "groq 413": (
        F.TOO_BIG_FOR_LIMIT, "groq", 413, _openai("Too many", "tokens", "rate_limit_exceeded"),
    ),
    "openrouter weight": (
        F.TOO_BIG_FOR_LIMIT, "openrouter", 402,
        _openrouter(402, "lower max_tokens", limit_source="openrouter_credits",
                    reason="weight_exceeds_budget"),
    ),
    # An account that grew too fast.
    "openai slow down": (
        F.SLOW_DOWN, "openai", 429, _openai("Slow down", "rate_limit_error", "slow_down"),
    ),
    "anthropic ramp": (
        F.SLOW_DOWN, "anthropic", 429,
        _anthropic("Too fast", "rate_limit_error", "ramp_limit_exceeded"), {"retry-after": "7"},
    ),
    "together requests": (
        F.SLOW_DOWN, "together", 429, _openai("Limited", "dynamic_request_limited"),
    ),
    "together tokens": (F.SLOW_DOWN, "together", 429, _openai("Limited", "dynamic_token_limited")),
    "fireworks": (F.SLOW_DOWN, "fireworks", 429, _openai("Too many")),
    "mistral tier": (
        F.SLOW_DOWN, "mistral", 429,
        {"message": "Service tier capacity exceeded", "type": "service_tier_capacity_exceeded",
         "code": "3505"},
    ),
    # No allowance at all.
    "gemini limit 0": (
        F.ZERO_ALLOWANCE, "gemini", 429, _quota((PER_DAY, "0"), (PER_MINUTE, "0"), delay="40s"),
    ),
    "mistral zero": (
        F.ZERO_ALLOWANCE, "mistral", 429,
        {"message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
        {"x-ratelimit-limit-req-minute": "0", "x-ratelimit-remaining-req-minute": "0"},
    ),
    "anthropic fast": (
        F.ZERO_ALLOWANCE, "anthropic", 429, _anthropic("No fast mode", "rate_limit_error"),
        {"anthropic-fast-input-tokens-limit": "0"},
    ),
    # Money.
    "openai quota": (
        F.QUOTA_BILLING, "openai", 429,
        _openai("You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota", "insufficient_quota"),
    ),
    "openai quota by words": (
        F.QUOTA_BILLING, "openai", 429,
        _openai("You exceeded your current quota, please check your plan and billing details."),
    ),
    "openai type wins over a vague code": (
        F.QUOTA_BILLING, "openai", 429, _openai("x", "insufficient_quota", "rate_limit_exceeded"),
    ),
    "anthropic month": (
        F.QUOTA_BILLING, "anthropic", 429,
        _anthropic("Spend", "rate_limit_error", "enforced_spend_limit_reached"),
    ),
    "anthropic own limit": (
        F.QUOTA_BILLING, "anthropic", 400,
        _anthropic("You have reached your specified workspace API usage limits. You will regain "
                   "access on 2026-12-01 at 00:00 UTC.", "invalid_request_error"),
    ),
    "anthropic credit": (
        F.QUOTA_BILLING, "anthropic", 400,
        _anthropic("Your credit balance is too low to access the API.", "invalid_request_error"),
    ),
    "anthropic billing": (F.QUOTA_BILLING, "anthropic", 402, _anthropic("Pay", "billing_error")),
    "deepseek balance": (F.QUOTA_BILLING, "deepseek", 402, _openai("Insufficient Balance")),
    "together cap": (F.QUOTA_BILLING, "together", 402, b""),
    "openrouter credits": (
        F.QUOTA_BILLING, "openrouter", 402, _openrouter(402, limit_source="openrouter_credits"),
    ),
    "fireworks suspended": (
        F.QUOTA_BILLING, "fireworks", 412, _openai("Account acme is suspended."),
    ),
    "gemini billing": (
        F.QUOTA_BILLING, "gemini", 400,
        _gemini("Please enable billing on your project.", "FAILED_PRECONDITION", 400),
    ),
    "xai credits": (
        F.QUOTA_BILLING, "xai", 403,
        {"code": "no permission", "error": "Your team doesn't have any credits yet."},
    ),
    # Budgets of one key, or of the moment.
    "openrouter in flight": (
        F.IN_FLIGHT_BUDGET, "openrouter", 402,
        _openrouter(402, limit_source="openrouter_in_flight_budget"), {"retry-after": "3"},
    ),
    "openrouter key": (
        F.KEY_BUDGET, "openrouter", 402, _openrouter(402, limit_source="openrouter_key_limit"),
    ),
    # The credential.
    "openai key": (
        F.KEY_INVALID, "openai", 401,
        _openai("Incorrect API key provided: sk-ab***yz.", "invalid_request_error",
                "invalid_api_key"),
    ),
    "anthropic key": (
        F.KEY_INVALID, "anthropic", 401, _anthropic("invalid x-api-key", "authentication_error"),
    ),
    "gemini key": (
        F.KEY_INVALID, "gemini", 400,
        _gemini("API key not valid.", "INVALID_ARGUMENT", 400, "API_KEY_INVALID"),
    ),
    "gemini expired": (
        F.KEY_INVALID, "gemini", 400, _gemini("API key expired.", "INVALID_ARGUMENT", 400),
    ),
    "gemini leaked": (
        F.KEY_INVALID, "gemini", 403,
        _gemini("Your API key was reported as leaked.", "PERMISSION_DENIED", 403),
    ),
    "xai key": (
        F.KEY_INVALID, "xai", 400,
        {"code": "Client specified an invalid argument",
         "error": "Incorrect API key provided: xa***yz."},
    ),
    "groq key": (
        F.KEY_INVALID, "groq", 401, _openai("Invalid API Key", "x", "invalid_api_key"),
    ),
    "mistral key": (F.KEY_INVALID, "mistral", 401, {"message": "Unauthorized"}),
    "cohere key": (F.KEY_INVALID, "cohere", 401, {"message": "invalid api token"}),
    "cohere 498": (F.KEY_INVALID, "cohere", 498, {"id": "1", "message": "no"}),
    # Who stands behind it.
    "openai deactivated": (F.ACCOUNT_DISABLED, "openai", 403, _openai(code="account_deactivated")),
    "anthropic on hold": (
        F.ACCOUNT_DISABLED, "anthropic", 400,
        _anthropic("On hold", "invalid_request_error", "organization_on_hold"),
    ),
    "gemini suspended": (
        F.ACCOUNT_DISABLED, "gemini", 403,
        _gemini("Suspended", "PERMISSION_DENIED", 403, "CONSUMER_SUSPENDED"),
    ),
    "xai team": (
        F.ACCOUNT_DISABLED, "xai", 403, {"code": "x", "error": "Your team 1-2-3 is blocked."},
    ),
    "anthropic's customer key store": (
        F.ACCOUNT_DISABLED, "anthropic", 503, _anthropic("x", "api_error", "cmek_key_unreachable"),
    ),
    # The model.
    "openai model": (
        F.MODEL_UNAVAILABLE, "openai", 404,
        _openai("The model `gpt-9` does not exist or you do not have access to it.",
                "invalid_request_error", "model_not_found"),
    ),
    "openai verification": (
        F.MODEL_UNAVAILABLE, "openai", 403,
        _openai("Your organization must be verified to use the model `o3`."),
    ),
    "openai tier": (
        F.MODEL_UNAVAILABLE, "openai", 400,
        _openai("Invalid service_tier argument", "invalid_request_error", param="service_tier"),
    ),
    "anthropic model": (
        F.MODEL_UNAVAILABLE, "anthropic", 404, _anthropic("model: x", "not_found_error"),
    ),
    "anthropic permission": (
        F.UNEXPLAINED, "anthropic", 403, _anthropic("No", "permission_error"),
    ),
    "azure deployment": (F.MODEL_UNAVAILABLE, "azure", 404, _openai(code="DeploymentNotFound")),
    "groq decommissioned": (
        F.MODEL_UNAVAILABLE, "groq", 400,
        _openai("Gone", "invalid_request_error", "model_decommissioned"),
    ),
    "openrouter, no endpoints at all": (
        F.MODEL_UNAVAILABLE, "openrouter", 404, _openrouter(404, "No endpoints found for a/b."),
    ),
    "openrouter, no such id": (
        F.MODEL_UNAVAILABLE, "openrouter", 400, _openrouter(400, "a/b is not a valid model ID"),
    ),
    "mistral model": (
        F.MODEL_UNAVAILABLE, "mistral", 400, {"message": "Invalid model: x", "code": "1500"},
    ),
    "deepseek model": (F.MODEL_UNAVAILABLE, "deepseek", 400, _openai("Model Not Exist")),
    "openai, another endpoint's model": (
        F.MODEL_UNAVAILABLE, "openai", 404,
        _openai("This is not a chat model and thus not supported in the v1/chat/completions "
                "endpoint. Did you mean to use v1/completions?", "invalid_request_error"),
    ),
    "openai, no model for embeddings": (
        F.MODEL_UNAVAILABLE, "openai", 403,
        _openai("You are not allowed to generate embeddings from this model"),
    ),
    # What another model may do.
    "openrouter, tools": (
        F.UNFIT_MODEL, "openrouter", 404,
        _openrouter(404, "No endpoints found that support tool use."),
    ),
    "openrouter, data policy": (
        F.UNFIT_MODEL, "openrouter", 404,
        _openrouter(404, "No endpoints found matching your data policy."),
    ),
    "groq, tools": (
        F.UNFIT_MODEL, "groq", 400,
        _openai("Failed to call a function.", "invalid_request_error", "tool_use_failed"),
    ),
    "ollama, tools": (F.UNFIT_MODEL, "openai", 400, {"error": "x does not support tools"}),
    # What nobody explains.
    "bare 402": (F.UNEXPLAINED, "openai", 402, b""),
    "bare 403": (F.UNEXPLAINED, "openai", 403, b"{}"),
    "bare 404": (F.UNEXPLAINED, "openai", 404, b""),
    "openrouter, bare": (F.UNEXPLAINED, "openrouter", 402, _openrouter(402)),
    "gemini, forbidden": (F.UNEXPLAINED, "gemini", 403, _gemini("No", "PERMISSION_DENIED", 403)),
    "a web server's own page": (
        F.UNEXPLAINED, "openai", 404,
        b"<html>\r\n<head><title>404 Not Found</title></head><body>nginx</body></html>",
        {"content-type": "text/html"},
    ),
    # What a smaller request could be paid for.
    "openrouter, large": (
        F.TOO_BIG_FOR_LIMIT, "openrouter", 402,
        _openrouter(402, "This request requires more credits, or fewer max_tokens. You requested "
                         "up to 60000 tokens, but can only afford 4000."),
    ),
    "openrouter, large, by source": (
        F.TOO_BIG_FOR_LIMIT, "openrouter", 402,
        _openrouter(402, "You can only afford 4000.", limit_source="openrouter_credits"),
    ),
    "ollama model": (F.MODEL_UNAVAILABLE, "openai", 404, {"error": "model 'x' not found"}),
    # Where we call from.
    "openai region": (
        F.REGION_BLOCKED, "openai", 403,
        _openai("Country, region, or territory not supported", "request_forbidden",
                "unsupported_country_region_territory"),
    ),
    "gemini region": (
        F.REGION_BLOCKED, "gemini", 400,
        _gemini("User location is not supported for the API use.", "FAILED_PRECONDITION", 400),
    ),
    "a guard's page": (
        F.UNEXPLAINED, "openai", 403, b"<!DOCTYPE html><html>Sorry, you have been blocked",
        {"content-type": "text/html; charset=UTF-8"},
    ),
    "openai address": (
        F.IP_NOT_AUTHORIZED, "openai", 401,
        _openai("IP not authorized", "invalid_request_error"),
    ),
    "azure network": (
        F.IP_NOT_AUTHORIZED, "azure", 403,
        _openai("Access denied due to Virtual Network/Firewall rules.", code="AccessDenied"),
    ),
    # The provider.
    "anthropic overloaded": (
        F.OVERLOADED, "anthropic", 529, _anthropic("Overloaded", "overloaded_error"),
    ),
    "openai overloaded": (
        F.OVERLOADED, "openai", 503,
        _openai("Busy", "service_unavailable_error", "server_is_overloaded"),
    ),
    "gemini overloaded": (
        F.OVERLOADED, "gemini", 503, _gemini("The model is overloaded.", "UNAVAILABLE", 503),
    ),
    "azure capacity": (
        F.OVERLOADED, "azure", 429,
        _openai("The service is temporarily unable to process your request.", code="429"),
    ),
    "azure demand": (
        F.OVERLOADED, "azure", 429, _openai("System is experiencing high demand", code="429"),
    ),
    "openai flex": (
        F.OVERLOADED, "openai", 429, _openai("Resource unavailable", "rate_limit_error"),
    ),
    "groq flex": (F.OVERLOADED, "groq", 498, _openai("Flex tier capacity")),
    "together busy": (F.OVERLOADED, "together", 503, b""),
    "openrouter 502": (F.OVERLOADED, "openrouter", 502, _openrouter(502, "down")),
    "openrouter overloaded": (
        F.OVERLOADED, "openrouter", 429, _openrouter(429, error_type="provider_overloaded"),
    ),
    "llama.cpp loads": (
        F.OVERLOADED, "openai", 503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
    ),
    "ollama queue": (
        F.OVERLOADED, "openai", 503,
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
    ),
    "server error": (F.SERVER_ERROR, "openai", 500, _openai("Oops", "server_error")),
    "bad gateway": (F.SERVER_ERROR, "openai", 502, b"<html>502</html>"),
    "gateway timeout": (F.SERVER_ERROR, "anthropic", 504, _anthropic("Late", "timeout_error")),
    "cloudflare 520": (F.SERVER_ERROR, "openai", 520, b"error code: 520"),
    "cloudflare 524": (F.SERVER_ERROR, "openai", 524, b""),
    "a key in a 500 is not believed": (
        F.SERVER_ERROR, "openai", 500,
        _openai("Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
    ),
    # The request.
    "openai context": (
        F.CONTEXT_LENGTH, "openai", 400,
        _openai("Too long", "invalid_request_error", "context_length_exceeded"),
    ),
    "anthropic context": (
        F.CONTEXT_LENGTH, "anthropic", 400,
        _anthropic("prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
    ),
    "gemini context": (
        F.CONTEXT_LENGTH, "gemini", 400,
        _gemini("The input token count (9) exceeds the maximum number", "INVALID_ARGUMENT", 400),
    ),
    "openrouter context": (
        F.CONTEXT_LENGTH, "openrouter", 400,
        _openrouter(400, error_type="context_length_exceeded"),
    ),
    "vllm context": (
        F.CONTEXT_LENGTH, "openai", 400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens.",
         "type": "BadRequestError", "code": 400},
    ),
    "openai policy": (
        F.CONTENT_FILTER, "openai", 400, _openai("No", None, "content_policy_violation"),
    ),
    "openai moderation": (
        F.CONTENT_FILTER, "openai", 400, _openai("No", code="moderation_blocked"),
    ),
    "azure filter": (
        F.CONTENT_FILTER, "azure", 400,
        _openai("Filtered", code="x", innererror={"code": "ResponsibleAIPolicyViolation"}),
    ),
    "openrouter moderation": (
        F.CONTENT_FILTER, "openrouter", 403,
        _openrouter(403, "m requires moderation. Your input was flagged.", reasons=["x"]),
    ),
    "bad request": (F.BAD_REQUEST, "openai", 400, _openai("No", "invalid_request_error")),
    "xai argument": (
        F.BAD_REQUEST, "xai", 400, {"code": "Client specified an invalid argument", "error": "x"},
    ),
    "method": (F.BAD_REQUEST, "openai", 405, b""),
    "media type": (F.BAD_REQUEST, "openai", 415, b""),
    "validation": (
        F.BAD_REQUEST, "mistral", 422, {"detail": [{"loc": ["body", "n"], "msg": "too big"}]},
    ),
    "size": (F.BAD_REQUEST, "anthropic", 413, _anthropic("Too large", "request_too_large")),
    "unknown address": (
        F.BAD_REQUEST, "openai", 404, _openai("Invalid URL (POST /v1/x)", "invalid_request_error"),
    ),
    "words of the request prove nothing": (
        F.BAD_REQUEST, "openai", 400,
        _openai("Invalid value: 'Incorrect API key provided'.", "invalid_request_error"),
    ),
    "request timeout": (F.CONFLICT, "openai", 408, b""),
    "conflict": (F.CONFLICT, "anthropic", 409, _anthropic("Again", "conflict_error")),
    "too early": (F.CONFLICT, "openai", 425, b""),
}  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_recorded_refusal_has_its_class(sample):
    expected, dialect, status, body, *headers = sample
    failure = _classify(dialect, status, body, *headers)
    assert (failure.kind, failure.status) == (expected, status)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_dialect_of_the_body_changes_nothing_where_headers_have_their_own(sample):
    """Most providers are reached through one adapter, which knows them by their headers."""
    expected, dialect, status, body, *headers = sample
    failure = _classify("openai", status, body, *(headers or [None]), dialect=dialect)
    assert failure.kind is expected


CODES_OF_QUOTA = [
    "credit_balance_exhausted", "organization_spend_limit_exceeded",
    "organization_usage_limit_exceeded", "billing_hard_limit_reached", "billing_not_active",
    "project_spend_limit_exceeded", "contract_spend_limit_reached",
    "linked_organization_spend_limit_reached", "linked_organization_billing_unavailable",
]  # fmt: skip


@pytest.mark.parametrize("code", CODES_OF_QUOTA)
def test_an_empty_account_is_told_by_many_codes(code):
    assert (
        _classify("openai", 429, _openai("x", "insufficient_quota", code)).kind is F.QUOTA_BILLING
    )
    failure = _classify("anthropic", 402, _anthropic("x", "billing_error", code))
    assert (failure.kind, failure.code) == (F.QUOTA_BILLING, code)


WAITS = {
    "openai": ("openai", 429, _openai(OPENAI_MINUTE, "tokens"), None, 41.724),
    "groq": ("groq", 429, _openai(GROQ_DAY, "tokens"), None, 396.576),
    "words beside a shorter header": (
        "openai", 429, _openai(OPENAI_MINUTE), {"retry-after": "20"}, 41.724,
    ),
    "a header beside shorter words": (
        "openai", 429, _openai(OPENAI_MINUTE), {"retry-after": "42"}, 42.0,
    ),
    "figures without a wait": (
        "groq", 429,
        _openai("on tokens per day (TPD): Limit 500000, Used 499731, Requested 664."), None, 68.256,
    ),
    "milliseconds": ("azure", 429, _openai("x", code="429"), {"retry-after-ms": "250"}, 0.25),
    "azure's words": ("azure", 429, _openai("Please retry after 26 seconds."), None, 26.0),
    "minutes": ("openai", 429, _openai("Please try again in 2 minutes."), None, 120.0),
    "short words": ("openai", 429, _openai("Please try again in 20ms. Visit us."), None, 0.02),
    "gemini's detail": ("gemini", 429, _quota((PER_MINUTE, "5"), delay="34.07s"), None, 34.07),
    "gemini's words": (
        "gemini", 429, _gemini("Please retry in 10h17m5.72s.", "RESOURCE_EXHAUSTED"), None,
        37025.72,
    ),
    "together": ("together", 429, _openai("x"), {"x-ratelimit-reset": "3"}, 3.0),
    "openrouter's repeated headers": (
        "openrouter", 429,
        _openrouter(429, "x", headers={"X-RateLimit-Reset": f"{(NOW + 60) * 1000:.0f}"}), None,
        60.0,
    ),
    "in flight": (
        "openrouter", 402, _openrouter(402, limit_source="openrouter_in_flight_budget"),
        {"retry-after": "3"}, 3.0,
    ),
    "untold": ("openai", 429, _openai("Slow down"), None, None),
    "a year, asked again after a day": (
        "openai", 429, _openai("Slow down"), {"retry-after": "31536000"}, 86400.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("sample", WAITS.values(), ids=WAITS)
def test_the_told_wait_is_kept(sample):
    dialect, status, body, headers, wait_s = sample
    assert _classify(dialect, status, body, headers).retry_after_s == pytest.approx(wait_s)


INSTANTS = {
    "an own limit": (SAMPLES["anthropic own limit"], 1796083200.0 - NOW),
    "the first of the month": (SAMPLES["anthropic month"], 1796083200.0 - NOW),
    "midnight in california": (SAMPLES["gemini day"], 6 * HOUR_S),
    "midnight UTC": (SAMPLES["openrouter day"], 22 * HOUR_S),
    "a rolling day ends when it says": (SAMPLES["groq day"], None),
    "a minute": (SAMPLES["gemini minute"], None),
    "an empty account": (SAMPLES["openai quota"], None),
}


@pytest.mark.parametrize(("sample", "opens_in_s"), INSTANTS.values(), ids=INSTANTS)
def test_the_told_instant_becomes_a_span(sample, opens_in_s):
    _, dialect, status, body, *headers = sample
    assert _classify(dialect, status, body, *headers).opens_in_s == opens_in_s


def test_a_delay_of_hours_is_trusted_over_the_calendar():
    failure = _classify("gemini", 429, _quota((PER_DAY, "20"), delay="37025.72s"))
    assert (failure.retry_after_s, failure.opens_in_s) == (37025.72, None)


def test_a_date_that_is_none_is_no_instant():
    body = _anthropic("You will regain access on 2026-13-45 at 00:00 UTC.", "rate_limit_error")
    failure = _classify("anthropic", 429, body)
    assert (failure.kind, failure.opens_in_s) == (F.QUOTA_BILLING, None)


LIMITS = {
    "openai": (
        "openai", _openai(OPENAI_MINUTE, "tokens"), None,
        (ObservedLimit(D.TOKENS, 10000.0, 1218.0, period_s=MINUTE_S, source=BODY),),
    ),
    "groq": (
        "groq", _openai(GROQ_DAY), None,
        (ObservedLimit(D.TOKENS, 200000.0, 764.0, period_s=DAY_S, source=BODY),),
    ),
    "requests": (
        "openai", _openai("on requests per day (RPD): Limit 200, Used 200, Requested 1."), None,
        (ObservedLimit(D.REQUESTS, 200.0, 0.0, period_s=DAY_S, source=BODY),),
    ),
    "letters alone": (
        "openai", _openai("(ITPM): Limit 20,000, Used 19,000, Requested 1,500."), None,
        (ObservedLimit(D.INPUT_TOKENS, 20000.0, 1000.0, period_s=MINUTE_S, source=BODY),),
    ),
    "audio": (
        "groq", _openai("on seconds of audio per hour (ASH): Limit 7200, Used 7000, Requested 9"),
        None, (ObservedLimit(D.AUDIO_SECONDS, 7200.0, 200.0, period_s=HOUR_S, source=BODY),),
    ),
    "prose": (
        "anthropic", SAMPLES["anthropic"][3], None,
        (ObservedLimit(D.INPUT_TOKENS, 50000.0, None, period_s=MINUTE_S, source=BODY),),
    ),
    "too large": (
        "openai", _openai(TOO_LARGE), None,
        (ObservedLimit(D.TOKENS, 10000.0, None, period_s=MINUTE_S, source=BODY),),
    ),
    "gemini": (
        "gemini", _quota((PER_MINUTE, "5"), (PER_DAY, "20"), (INPUT_PER_MINUTE, "250000")), None,
        (
            ObservedLimit(D.REQUESTS, 5.0, 0.0, None, MINUTE_S, source=BODY),
            ObservedLimit(
                D.REQUESTS, 20.0, 0.0, 6 * HOUR_S, DAY_S, Algorithm.FIXED, BODY,
                calendar=Calendar.DAY_PACIFIC,
            ),
            ObservedLimit(D.INPUT_TOKENS, 250000.0, None, None, MINUTE_S, source=BODY),
        ),
    ),
    "headers too": (
        "mistral", {"message": "x"}, {"x-ratelimit-limit-req-minute": "60"},
        (ObservedLimit(D.REQUESTS, 60.0, None, None, MINUTE_S),),
    ),
    "words date a header": (
        "openrouter", SAMPLES["openrouter day"][3],
        {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "0"},
        (ObservedLimit(D.REQUESTS, 50.0, 0.0, None, DAY_S, Algorithm.FIXED),),
    ),
    "no allowance is no capacity": ("gemini", SAMPLES["gemini limit 0"][3], None, ()),
    "no figures": ("openai", _openai("Slow down"), None, ()),
}  # fmt: skip


@pytest.mark.parametrize("sample", LIMITS.values(), ids=LIMITS)
def test_a_refusal_reveals_limits(sample):
    dialect, body, headers, limits = sample
    assert _classify(dialect, 429, body, headers).limits == limits


@pytest.mark.parametrize(
    ("dialect", "body", "headers", "account"),
    [
        ("groq", _openai(GROQ_DAY), {}, "org_01abc"),
        ("openai", _openai(OPENAI_MINUTE), {}, "org-abc"),
        ("openai", _openai(OPENAI_MINUTE), {"openai-organization": "acme"}, "acme"),
        ("openai", _openai("x"), {}, ""),
    ],
)
def test_a_refusal_names_the_account(dialect, body, headers, account):
    assert _classify(dialect, 429, body, headers).account == account


SECRETS = [
    "sk-proj-abcDEF123", "sk-ant-api03-abc_DEF-123", "sk-abc***xyz", "gsk_abcDEF123",
    "xai-abcDEF123", "AIzaSyAbcDEF123", "AQ.Ab8RN6abc", "pplx-abcdef", "csk-abcdef", "fw_abcdef",
    "hf_abcdef", "Bearer abc/def+ghi==", "0123456789abcdef0123456789abcdef",
    "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2", "eyJhbGciOi.eyJzdWIi.c2ln",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("wrap", ["Incorrect key: {}.", "{}", "({})", '"{}"', "x={}&y"])
def test_no_message_keeps_a_credential(secret, wrap):
    for body in (_openai(wrap.format(secret)), wrap.format(secret).encode()):
        failure = _classify("openai", 401, body)
        assert secret.rstrip("=") not in repr(failure)
        assert "masked" in failure.message


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: ab12***yz.",
        "Incorrect API key provided: hunter2!",
        "GET /v1beta/models?key=hunter2!&alt=sse",
        "x-api-key: hunter2!",
    ],
)
def test_what_stands_where_a_key_stands_is_masked(text):
    message = _classify("openai", 401, _openai(text)).message
    assert "[masked]" in message
    assert "hunter2" not in message
    assert "ab12" not in message


def test_a_message_is_one_short_line():
    message = _classify("openai", 500, _openai("a\n\x1b[31mb\t" + "é" * 5000)).message
    assert len(message) == 500
    assert message.startswith("a [31mb é")


def test_a_message_keeps_no_input_that_a_validation_echoes():
    body = {"detail": [{"loc": ["body", "n"], "msg": "too big", "input": "my diary"}]}
    assert _classify("mistral", 422, body).message == "body.n: too big"


def test_the_most_telling_code_is_told():
    body = _anthropic("x", "rate_limit_error", "ramp_limit_exceeded")
    assert _classify("anthropic", 429, body).code == "ramp_limit_exceeded"
    assert _classify("openrouter", 402, _openrouter(402)).code == "402"


@pytest.mark.parametrize("code", [*BY_CODE, *BY_VAGUE_CODE])
def test_every_code_is_understood_with_the_status_it_comes_with(code):
    expected = BY_CODE.get(code) or BY_VAGUE_CODE[code]
    status = NATURAL_STATUS.get(expected, 500)
    assert _classify("openai", status, _openai("", None, code.upper())).kind is expected


EMBEDDED = {
    "openrouter": (
        "openai", b'data: {"error":{"code":502,"message":"down"},"choices":[]}\n\n',
        F.SERVER_ERROR, 502,
    ),
    "openrouter in a whole body": (
        "openai", b'{\n  "error": {\n    "code": 429, "message": "x"}\n}', F.RATE_LIMITED, 429,
    ),
    "anthropic": (
        "anthropic",
        b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}',
        F.OVERLOADED, 503,
    ),
    "anthropic's limit": (
        "anthropic", b'data: {"type":"error","error":{"type":"rate_limit_error","message":"x"}}',
        F.RATE_LIMITED, 429,
    ),
    "responses": (
        "openai",
        b'data: {"type":"error","code":"rate_limit_exceeded","message":"x","sequence_number":1}',
        F.RATE_LIMITED, 429,
    ),
    "responses failed": (
        "openai",
        b'data: {"type":"response.failed","response":{"error":{"code":"server_error"}}}',
        F.SERVER_ERROR, 500,
    ),
    "responses prompt": (
        "openai",
        b'data: {"type":"response.failed","response":{"error":{"code":"invalid_prompt"}}}',
        F.BAD_REQUEST, 400,
    ),
    "after a comment, with CRLF": (
        "openai", b': PROCESSING\r\n\r\ndata: {"error":"busy"}\r\n\r\n', F.SERVER_ERROR, 500,
    ),
    "mistral's minute": (
        "openai", b'data: {"error":{"message":"x","code":"1300"}}\n\n', F.RATE_LIMITED, 429,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "event", "expected", "status"), EMBEDDED.values(), ids=EMBEDDED)
def test_an_error_inside_of_a_200_is_found(kind, event, expected, status):
    failure = classify_embedded(kind, event, NOW)
    assert failure is not None
    assert (failure.kind, failure.status) == (expected, status)


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"data: [DONE]\n\n",
        b": keep-alive\n\n",
        b'data: {"choices":[{"delta":{"content":"\\"error\\": {\\"code\\": 500}"}}]}\n\n',
        b'data: {"type":"response.created","response":{"error":null}}\n\n',
        b'data: {"error":null,"choices":[]}\n\n',
        b'data: {"error":{},"choices":[]}\n\n',
        b'data: {"error":{"message":"cut off',
        b'data: {"message":"error","code":500}\n\n',
        b'data: ["error"]\n\n',
    ],
)
def test_what_is_no_error_is_none(event):
    assert classify_embedded("openai", event, NOW) is None


_ADDRESS = SimpleNamespace(host="h", port=443, ssl=True, is_ssl=True)
EXCEPTIONS = {
    "refused": (ConnectionRefusedError(111, "refused"), F.UNREACHABLE),
    "no route": (aiohttp.ClientConnectorError(_ADDRESS, OSError(113, "no route")), F.UNREACHABLE),
    "no such name": (
        aiohttp.ClientConnectorDNSError(_ADDRESS, OSError(-2, "unknown")), F.UNREACHABLE,
    ),
    "resolver": (socket.gaierror(-2, "unknown"), F.UNREACHABLE),
    "certificate": (
        aiohttp.ClientConnectorCertificateError(_ADDRESS, ValueError("bad")), F.UNREACHABLE,
    ),
    "connecting took too long": (aiohttp.ConnectionTimeoutError("slow"), F.UNREACHABLE),
    "reading took too long": (aiohttp.SocketTimeoutError("slow"), F.TIMEOUT),
    "server timeout": (aiohttp.ServerTimeoutError("slow"), F.TIMEOUT),
    "deadline": (TimeoutError(), F.TIMEOUT),
    "reset": (ConnectionResetError(104, "reset"), F.NETWORK),
    "client reset": (aiohttp.ClientConnectionResetError("closing"), F.NETWORK),
    "system": (aiohttp.ClientOSError(104, "reset"), F.NETWORK),
    "disconnected": (aiohttp.ServerDisconnectedError(), F.NETWORK),
    "broken payload": (aiohttp.ClientPayloadError("short"), F.NETWORK),
    "anything": (RuntimeError("odd"), F.NETWORK),
}  # fmt: skip


@pytest.mark.parametrize(("error", "expected"), EXCEPTIONS.values(), ids=EXCEPTIONS)
def test_no_answer_has_its_class(error, expected):
    failure = classify_exception(error)
    assert (failure.kind, failure.status) == (expected, None)


def test_an_exception_tells_no_credential():
    failure = classify_exception(aiohttp.ClientPayloadError("Bearer abcdef123"))
    assert failure == Failure(F.NETWORK, "ClientPayloadError: [masked]")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "detail", "details", "code", "type", "status", "reason",
                 "metadata", "headers", "innererror", "violations", "quotaId", "quotaValue",
                 "retryDelay", "response", "error_type", "limit_source", "__type", "x-y"]
            ),
            inner, max_size=5,
        )
    ),
    max_leaves=20,
)  # fmt: skip
BODIES = st.binary(max_size=300) | JSON.map(lambda data: json.dumps(data).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset", "content-type",
                     "x-amzn-errortype", "openai-organization"]),
    st.text(max_size=30),
)  # fmt: skip


@given(
    kind=st.sampled_from(list(DIALECTS)), status=st.integers(-1, 10**6), headers=HEADERS,
    body=BODIES,
)  # fmt: skip
def test_any_answer_has_a_class(kind, status, headers, body):
    failure = classify(kind, status, headers, body, NOW)
    assert isinstance(failure.kind, FailureClass)
    assert failure.status == status
    assert len(failure.message) <= 500
    failure.message.encode()
    assert failure.retry_after_s is None or failure.retry_after_s >= 0.0


@given(kind=st.sampled_from(list(DIALECTS)), event=BODIES, prefix=st.sampled_from([b"", b"data: "]))
def test_any_event_is_an_error_or_none(kind, event, prefix):
    failure = classify_embedded(kind, prefix + event, NOW)
    assert failure is None or 400 <= (failure.status or 0) < 600


@given(text=st.text(alphabet="Limit Used: 0123456789,.RequestdTPMry againin(s)org-", max_size=200))
def test_any_words_are_read(text):
    assert _classify("openai", 429, _openai(text)).status == 429


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"error":' * 900 + b"1" + b"}" * 900,
        b'{"message":' * 900 + b"1" + b"}" * 900,
        b'{"error":{"code":' + b"9" * 5000 + b"}}",
        b'{"error":{"message":"\\ud800"}}',
        b"\xff" * 3_000_000,
        json.dumps(_openai("limit " * 20_000)).encode(),
        json.dumps(_openai("try again in " + "1" * 100_000)).encode(),
        json.dumps(_openai("-a" * 50_000)).encode(),
    ],
    ids=range(9),
)
def test_a_monstrous_body_is_classified(body):
    failure = _classify("openai", 400, body)
    assert failure.kind is F.BAD_REQUEST
    assert len(failure.message) <= 500


def test_page_is_told_by_its_title():
    page = b"<html><head><title>403 Forbidden</title></head><body>secret of nginx</body></html>"
    assert _classify("openai", 403, page).message == "403 Forbidden"
    assert _classify("openai", 502, b"<!DOCTYPE html><p>x").message == ""
