"""Recorded refusals have their class."""

import pytest
from provider_errors import F, anthropic, classify_at, gemini, openai, openrouter
from recorded_refusals import OF_ACCOUNTS

pytestmark = pytest.mark.unit

#: name: class, dialect, status, body, headers
SAMPLES = OF_ACCOUNTS | {
    # The model.
    "openai model": (
        F.MODEL_UNAVAILABLE, "openai", 404,
        openai("The model `gpt-9` does not exist or you do not have access to it.",
                "invalid_request_error", "model_not_found"),
    ),
    "openai verification": (
        F.MODEL_UNAVAILABLE, "openai", 403,
        openai("Your organization must be verified to use the model `o3`."),
    ),
    "openai tier": (
        F.MODEL_UNAVAILABLE, "openai", 400,
        openai("Invalid service_tier argument", "invalid_request_error", param="service_tier"),
    ),
    "anthropic model": (
        F.MODEL_UNAVAILABLE, "anthropic", 404, anthropic("model: x", "not_found_error"),
    ),
    "anthropic permission": (
        F.UNEXPLAINED, "anthropic", 403, anthropic("No", "permission_error"),
    ),
    "azure deployment": (F.MODEL_UNAVAILABLE, "azure", 404, openai(code="DeploymentNotFound")),
    "groq decommissioned": (
        F.MODEL_UNAVAILABLE, "groq", 400,
        openai("Gone", "invalid_request_error", "model_decommissioned"),
    ),
    "openrouter, no endpoints at all": (
        F.MODEL_UNAVAILABLE, "openrouter", 404, openrouter(404, "No endpoints found for a/b."),
    ),
    "openrouter, no such id": (
        F.MODEL_UNAVAILABLE, "openrouter", 400, openrouter(400, "a/b is not a valid model ID"),
    ),
    "mistral model": (
        F.MODEL_UNAVAILABLE, "mistral", 400, {"message": "Invalid model: x", "code": "1500"},
    ),
    "deepseek model": (F.MODEL_UNAVAILABLE, "deepseek", 400, openai("Model Not Exist")),
    "openai, another endpoint's model": (
        F.MODEL_UNAVAILABLE, "openai", 404,
        openai("This is not a chat model and thus not supported in the v1/chat/completions "
                "endpoint. Did you mean to use v1/completions?", "invalid_request_error"),
    ),
    "openai, no model for embeddings": (
        F.MODEL_UNAVAILABLE, "openai", 403,
        openai("You are not allowed to generate embeddings from this model"),
    ),
    # What another model may do.
    "openrouter, tools": (
        F.UNFIT_MODEL, "openrouter", 404,
        openrouter(404, "No endpoints found that support tool use."),
    ),
    "openrouter, data policy": (
        F.UNFIT_MODEL, "openrouter", 404,
        openrouter(404, "No endpoints found matching your data policy."),
    ),
    "groq, tools": (
        F.UNFIT_MODEL, "groq", 400,
        openai("Failed to call a function.", "invalid_request_error", "tool_use_failed"),
    ),
    "ollama, tools": (F.UNFIT_MODEL, "openai", 400, {"error": "x does not support tools"}),
    # What nobody explains.
    "bare 402": (F.UNEXPLAINED, "openai", 402, b""),
    "bare 403": (F.UNEXPLAINED, "openai", 403, b"{}"),
    "bare 404": (F.UNEXPLAINED, "openai", 404, b""),
    "openrouter, bare": (F.UNEXPLAINED, "openrouter", 402, openrouter(402)),
    "gemini, forbidden": (F.UNEXPLAINED, "gemini", 403, gemini("No", "PERMISSION_DENIED", 403)),
    "a web server's own page": (
        F.UNEXPLAINED, "openai", 404,
        b"<html>\r\n<head><title>404 Not Found</title></head><body>nginx</body></html>",
        {"content-type": "text/html"},
    ),
    # What a smaller request could be paid for.
    "openrouter, large": (
        F.TOO_BIG_FOR_LIMIT, "openrouter", 402,
        openrouter(402, "This request requires more credits, or fewer max_tokens. You requested "
                         "up to 60000 tokens, but can only afford 4000."),
    ),
    "openrouter, large, by source": (
        F.TOO_BIG_FOR_LIMIT, "openrouter", 402,
        openrouter(402, "You can only afford 4000.", limit_source="openrouter_credits"),
    ),
    "ollama model": (F.MODEL_UNAVAILABLE, "openai", 404, {"error": "model 'x' not found"}),
    # Where we call from.
    "openai region": (
        F.REGION_BLOCKED, "openai", 403,
        openai("Country, region, or territory not supported", "request_forbidden",
                "unsupported_country_region_territory"),
    ),
    "gemini region": (
        F.REGION_BLOCKED, "gemini", 400,
        gemini("User location is not supported for the API use.", "FAILED_PRECONDITION", 400),
    ),
    "a guard's page": (
        F.UNEXPLAINED, "openai", 403, b"<!DOCTYPE html><html>Sorry, you have been blocked",
        {"content-type": "text/html; charset=UTF-8"},
    ),
    "openai address": (
        F.IP_NOT_AUTHORIZED, "openai", 401,
        openai("IP not authorized", "invalid_request_error"),
    ),
    "azure network": (
        F.IP_NOT_AUTHORIZED, "azure", 403,
        openai("Access denied due to Virtual Network/Firewall rules.", code="AccessDenied"),
    ),
    # The provider.
    "anthropic overloaded": (
        F.OVERLOADED, "anthropic", 529, anthropic("Overloaded", "overloaded_error"),
    ),
    "openai overloaded": (
        F.OVERLOADED, "openai", 503,
        openai("Busy", "service_unavailable_error", "server_is_overloaded"),
    ),
    "gemini overloaded": (
        F.OVERLOADED, "gemini", 503, gemini("The model is overloaded.", "UNAVAILABLE", 503),
    ),
    "azure capacity": (
        F.OVERLOADED, "azure", 429,
        openai("The service is temporarily unable to process your request.", code="429"),
    ),
    "azure demand": (
        F.OVERLOADED, "azure", 429, openai("System is experiencing high demand", code="429"),
    ),
    "openai flex": (
        F.OVERLOADED, "openai", 429, openai("Resource unavailable", "rate_limit_error"),
    ),
    "groq flex": (F.OVERLOADED, "groq", 498, openai("Flex tier capacity")),
    "together busy": (F.OVERLOADED, "together", 503, b""),
    "openrouter 502": (F.OVERLOADED, "openrouter", 502, openrouter(502, "down")),
    "openrouter overloaded": (
        F.OVERLOADED, "openrouter", 429, openrouter(429, error_type="provider_overloaded"),
    ),
    "llama.cpp loads": (
        F.OVERLOADED, "openai", 503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
    ),
    "ollama queue": (
        F.OVERLOADED, "openai", 503,
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
    ),
    "server error": (F.SERVER_ERROR, "openai", 500, openai("Oops", "server_error")),
    "bad gateway": (F.SERVER_ERROR, "openai", 502, b"<html>502</html>"),
    "gateway timeout": (F.SERVER_ERROR, "anthropic", 504, anthropic("Late", "timeout_error")),
    "cloudflare 520": (F.SERVER_ERROR, "openai", 520, b"error code: 520"),
    "cloudflare 524": (F.SERVER_ERROR, "openai", 524, b""),
    "a key in a 500 is not believed": (
        F.SERVER_ERROR, "openai", 500,
        openai("Incorrect API key provided", "invalid_request_error", "invalid_api_key"),
    ),
    # The request.
    "openai context": (
        F.CONTEXT_LENGTH, "openai", 400,
        openai("Too long", "invalid_request_error", "context_length_exceeded"),
    ),
    "anthropic context": (
        F.CONTEXT_LENGTH, "anthropic", 400,
        anthropic("prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
    ),
    "gemini context": (
        F.CONTEXT_LENGTH, "gemini", 400,
        gemini("The input token count (9) exceeds the maximum number", "INVALID_ARGUMENT", 400),
    ),
    "openrouter context": (
        F.CONTEXT_LENGTH, "openrouter", 400,
        openrouter(400, error_type="context_length_exceeded"),
    ),
    "vllm context": (
        F.CONTEXT_LENGTH, "openai", 400,
        {"object": "error", "message": "This model's maximum context length is 4096 tokens.",
         "type": "BadRequestError", "code": 400},
    ),
    "openai policy": (
        F.CONTENT_FILTER, "openai", 400, openai("No", None, "content_policy_violation"),
    ),
    "openai moderation": (
        F.CONTENT_FILTER, "openai", 400, openai("No", code="moderation_blocked"),
    ),
    "azure filter": (
        F.CONTENT_FILTER, "azure", 400,
        openai("Filtered", code="x", innererror={"code": "ResponsibleAIPolicyViolation"}),
    ),
    "openrouter moderation": (
        F.CONTENT_FILTER, "openrouter", 403,
        openrouter(403, "m requires moderation. Your input was flagged.", reasons=["x"]),
    ),
    "bad request": (F.BAD_REQUEST, "openai", 400, openai("No", "invalid_request_error")),
    "xai argument": (
        F.BAD_REQUEST, "xai", 400, {"code": "Client specified an invalid argument", "error": "x"},
    ),
    "method": (F.BAD_REQUEST, "openai", 405, b""),
    "media type": (F.BAD_REQUEST, "openai", 415, b""),
    "validation": (
        F.BAD_REQUEST, "mistral", 422, {"detail": [{"loc": ["body", "n"], "msg": "too big"}]},
    ),
    "size": (F.BAD_REQUEST, "anthropic", 413, anthropic("Too large", "request_too_large")),
    "unknown address": (
        F.BAD_REQUEST, "openai", 404, openai("Invalid URL (POST /v1/x)", "invalid_request_error"),
    ),
    "words of the request prove nothing": (
        F.BAD_REQUEST, "openai", 400,
        openai("Invalid value: 'Incorrect API key provided'.", "invalid_request_error"),
    ),
    "nvidia, of another account": (
        F.MODEL_UNAVAILABLE, "generic", 404,
        {"status": 404, "title": "Not Found",
         "detail": "Function '0f1e-2d': Not found for account 'acc-1'"},
    ),
    "qwen, tokens of a minute": (
        F.RATE_LIMITED, "qwen", 429,
        openai("You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota", "insufficient_quota"),
    ),
    "qwen, too fast": (
        F.SLOW_DOWN, "qwen", 429,
        openai("Request rate increased too quickly.", "limit_burst_rate", "limit_burst_rate"),
    ),
    "qwen, overdue": (
        F.QUOTA_BILLING, "qwen", 400,
        openai("Access denied, please make sure your account is in good standing.", "Arrearage",
                "Arrearage"),
    ),
    "qwen, content": (
        F.CONTENT_FILTER, "qwen", 400,
        openai("Input data may contain inappropriate content.", "data_inspection_failed",
                "data_inspection_failed"),
    ),
    "moonshot, balance": (
        F.QUOTA_BILLING, "generic", 429, openai("Recharge.", "exceeded_current_quota_error"),
    ),
    "moonshot, busy": (
        F.OVERLOADED, "generic", 429,
        openai("The engine is currently overloaded.", "engine_overloaded_error"),
    ),
    "zai, balance": (
        F.QUOTA_BILLING, "generic", 429,
        openai("Insufficient balance or no resource package. Please recharge.", code="1113"),
    ),
    "request timeout": (F.TIMEOUT, "openai", 408, b""),
    "conflict": (F.CONFLICT, "anthropic", 409, anthropic("Again", "conflict_error")),
    "too early": (F.CONFLICT, "openai", 425, b""),
}  # fmt: skip


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_recorded_refusal_has_its_class(sample):
    expected, dialect, status, body, *headers = sample
    failure = classify_at(dialect, status, body, *headers)
    assert (failure.kind, failure.status) == (expected, status)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_the_dialect_of_the_body_changes_nothing_where_headers_have_their_own(sample):
    """Most providers are reached through one adapter, which knows them by their headers."""
    expected, dialect, status, body, *headers = sample
    failure = classify_at("openai", status, body, *(headers or [None]), dialect=dialect)
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
        classify_at("openai", 429, openai("x", "insufficient_quota", code)).kind is F.QUOTA_BILLING
    )
    failure = classify_at("anthropic", 402, anthropic("x", "billing_error", code))
    assert (failure.kind, failure.code) == (F.QUOTA_BILLING, code)


OF_ANTHROPIC = [
    (400, "invalid_request_error", None, F.BAD_REQUEST),
    (401, "authentication_error", None, F.KEY_INVALID),
    (402, "billing_error", None, F.QUOTA_BILLING),
    (403, "permission_error", None, F.UNEXPLAINED),
    (404, "not_found_error", None, F.UNEXPLAINED),
    (409, "conflict_error", None, F.CONFLICT),
    (413, "request_too_large", None, F.BAD_REQUEST),
    (429, "rate_limit_error", None, F.RATE_LIMITED),
    (500, "api_error", None, F.SERVER_ERROR),
    (504, "timeout_error", None, F.SERVER_ERROR),
    (529, "overloaded_error", None, F.OVERLOADED),
    (429, "rate_limit_error", "ramp_limit_exceeded", F.SLOW_DOWN),
    (429, "rate_limit_error", "enforced_spend_limit_reached", F.QUOTA_BILLING),
    (429, "rate_limit_error", "contract_spend_limit_reached", F.QUOTA_BILLING),
    (402, "billing_error", "linked_organization_spend_limit_reached", F.QUOTA_BILLING),
    (400, "invalid_request_error", "organization_on_hold", F.ACCOUNT_DISABLED),
    (400, "invalid_request_error", "organization_type_not_supported", F.MODEL_UNAVAILABLE),
    (400, "invalid_request_error", "cmek_key_disabled", F.ACCOUNT_DISABLED),
    (400, "invalid_request_error", "cmek_key_network_blocked", F.ACCOUNT_DISABLED),
    (503, "api_error", "cmek_key_unreachable", F.ACCOUNT_DISABLED),
    (503, "api_error", "cmek_context_unavailable", F.ACCOUNT_DISABLED),
    (400, "invalid_request_error", "claude_code_key_creator_not_member", F.KEY_INVALID),
    (400, "invalid_request_error", "claude_code_version_too_old", F.BAD_REQUEST),
    (400, "invalid_request_error", "request_body_encoding_invalid", F.BAD_REQUEST),
    (400, "invalid_request_error", "request_body_encoding_unsupported", F.BAD_REQUEST),
    (413, "request_too_large", "request_body_too_large_after_decoding", F.BAD_REQUEST),
    (400, "invalid_request_error", "workspace_human_review_disabled", F.BAD_REQUEST),
    (403, "permission_error", "sandbox_egress_restricted", F.UNEXPLAINED),
    (403, "permission_error", "region_not_supported", F.REGION_BLOCKED),
    (404, "not_found_error", "file_expired", F.BAD_REQUEST),
]


@pytest.mark.parametrize(("status", "type_", "code", "expected"), OF_ANTHROPIC)
def test_each_of_anthropics_errors_has_its_class(status, type_, code, expected):
    failure = classify_at("anthropic", status, anthropic("x", type_, code))
    assert (failure.kind, failure.status) == (expected, status)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (400, "Your credit balance is too low to access the Anthropic API.", F.QUOTA_BILLING),
        (400, "You have reached your specified workspace API usage limits. You will regain access "
              "on 2026-12-01 at 00:00 UTC.", F.QUOTA_BILLING),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", F.CONTEXT_LENGTH),
        (404, "model: claude-none", F.MODEL_UNAVAILABLE),
        (429, "Number of request tokens has exceeded your per-minute rate limit", F.RATE_LIMITED),
        (429, "This request would exceed your account's usage increase rate", F.SLOW_DOWN),
    ],
)  # fmt: skip
def test_anthropics_words_have_their_class(status, message, expected):
    type_ = {404: "not_found_error", 429: "rate_limit_error"}.get(status, "invalid_request_error")
    assert classify_at("anthropic", status, anthropic(message, type_)).kind is expected
