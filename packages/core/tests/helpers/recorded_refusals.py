"""Recorded refusals of accounts and credentials: class, dialect, status, body, headers."""

from provider_errors import (
    GROQ_DAY,
    OPENAI_MINUTE,
    PER_DAY,
    PER_MINUTE,
    TOO_LARGE,
    F,
    anthropic,
    gemini,
    openai,
    openrouter,
    quota,
)

#: name: class, dialect, status, body, headers
OF_ACCOUNTS = {
    # A minute's limit.
    "openai tokens per minute": (
        F.RATE_LIMITED, "openai", 429, openai(OPENAI_MINUTE, "tokens", "rate_limit_exceeded"),
    ),
    "openai requests, no words": (
        F.RATE_LIMITED, "openai", 429, openai("", "requests", "rate_limit_exceeded"),
    ),
    "anthropic": (
        F.RATE_LIMITED, "anthropic", 429,
        anthropic("This request would exceed your organization's rate limit of 50,000 input "
                   "tokens per minute.", "rate_limit_error"),
        {"retry-after": "20"},
    ),
    "gemini minute": (F.RATE_LIMITED, "gemini", 429, quota((PER_MINUTE, "5"), delay="34s")),
    "gemini through its openai surface": (
        F.RATE_LIMITED, "gemini", 429, [quota((PER_MINUTE, "5"), delay="34s")],
    ),
    "gemini without details": (
        F.RATE_LIMITED, "gemini", 429,
        gemini("You exceeded your current quota, please check your plan.", "RESOURCE_EXHAUSTED"),
    ),
    "vertex shared quota": (
        F.RATE_LIMITED, "gemini", 429,
        gemini("Resource exhausted, please try again later", "RESOURCE_EXHAUSTED"),
    ),
    "azure": (
        F.RATE_LIMITED, "azure", 429,
        openai("Rate limit is exceeded. Please retry after 26 seconds.", code="429"),
    ),
    "azure by code": (F.RATE_LIMITED, "azure", 429, openai("", code="RateLimitReached")),
    "mistral": (
        F.RATE_LIMITED, "mistral", 429,
        {"message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
    ),
    "openrouter minute": (
        F.RATE_LIMITED, "openrouter", 429,
        openrouter(429, "Rate limit exceeded: free-models-per-min."),
    ),
    "xai": (F.RATE_LIMITED, "xai", 429, {"code": "Some resource has been exhausted", "error": "x"}),
    "bedrock": (
        F.RATE_LIMITED, "bedrock", 429, {"message": "Too many tokens"},
        {"x-amzn-errortype": "ThrottlingException:http://internal"},
    ),
    "nothing but a status": (F.RATE_LIMITED, "openai", 429, b""),
    # A day's limit.
    "groq day": (
        F.RATE_LIMITED_DAY, "groq", 429, openai(GROQ_DAY, "tokens", "rate_limit_exceeded"),
    ),
    "groq requests of the day": (
        F.RATE_LIMITED_DAY, "groq", 429, openai("Slow", "requests", "rate_limit_exceeded"),
        {"x-ratelimit-limit-requests": "1000", "x-ratelimit-remaining-requests": "0"},
    ),
    "cerebras day by headers": (
        F.RATE_LIMITED_DAY, "cerebras", 429, {"message": "Too many", "code": "x"},
        {"x-ratelimit-limit-requests-day": "2400", "x-ratelimit-remaining-requests-day": "0"},
    ),
    "gemini day": (
        F.RATE_LIMITED_DAY, "gemini", 429, quota((PER_MINUTE, "5"), (PER_DAY, "20"), delay="18s"),
    ),
    "openrouter day": (
        F.RATE_LIMITED_DAY, "openrouter", 429,
        openrouter(429, "Rate limit exceeded: free-models-per-day. Add 10 credits."),
    ),
    # More than the limit can ever hold.
    "openai too large": (
        F.TOO_BIG_FOR_LIMIT, "openai", 429, openai(TOO_LARGE, "tokens", "rate_limit_exceeded"),
    ),
    "figures alone": (
        F.TOO_BIG_FOR_LIMIT, "openai", 429,
        openai("on tokens per min (TPM): Limit 10000, Used 0, Requested 11112.", "tokens"),
    ),
    "groq 413": (
        F.TOO_BIG_FOR_LIMIT, "groq", 413, openai("Too many", "tokens", "rate_limit_exceeded"),
    ),
    "openrouter weight": (
        F.TOO_BIG_FOR_LIMIT, "openrouter", 402,
        openrouter(402, "lower max_tokens", limit_source="openrouter_credits",
                    reason="weight_exceeds_budget"),
    ),
    # An account that grew too fast.
    "openai slow down": (
        F.SLOW_DOWN, "openai", 429, openai("Slow down", "rate_limit_error", "slow_down"),
    ),
    "anthropic ramp": (
        F.SLOW_DOWN, "anthropic", 429,
        anthropic("Too fast", "rate_limit_error", "ramp_limit_exceeded"), {"retry-after": "7"},
    ),
    "together requests": (
        F.SLOW_DOWN, "together", 429, openai("Limited", "dynamic_request_limited"),
    ),
    "together tokens": (F.SLOW_DOWN, "together", 429, openai("Limited", "dynamic_token_limited")),
    "fireworks": (F.SLOW_DOWN, "fireworks", 429, openai("Too many")),
    "mistral tier": (
        F.SLOW_DOWN, "mistral", 429,
        {"message": "Service tier capacity exceeded", "type": "service_tier_capacity_exceeded",
         "code": "3505"},
    ),
    # No allowance at all.
    "gemini limit 0": (
        F.ZERO_ALLOWANCE, "gemini", 429, quota((PER_DAY, "0"), (PER_MINUTE, "0"), delay="40s"),
    ),
    "mistral zero": (
        F.ZERO_ALLOWANCE, "mistral", 429,
        {"message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
        {"x-ratelimit-limit-req-minute": "0", "x-ratelimit-remaining-req-minute": "0"},
    ),
    "anthropic fast": (
        F.ZERO_ALLOWANCE, "anthropic", 429, anthropic("No fast mode", "rate_limit_error"),
        {"anthropic-fast-input-tokens-limit": "0"},
    ),
    # Money.
    "openai quota": (
        F.QUOTA_BILLING, "openai", 429,
        openai("You exceeded your current quota, please check your plan and billing details.",
                "insufficient_quota", "insufficient_quota"),
    ),
    "openai quota by words": (
        F.QUOTA_BILLING, "openai", 429,
        openai("You exceeded your current quota, please check your plan and billing details."),
    ),
    "openai type wins over a vague code": (
        F.QUOTA_BILLING, "openai", 429, openai("x", "insufficient_quota", "rate_limit_exceeded"),
    ),
    "anthropic month": (
        F.QUOTA_BILLING, "anthropic", 429,
        anthropic("Spend", "rate_limit_error", "enforced_spend_limit_reached"),
    ),
    "anthropic own limit": (
        F.QUOTA_BILLING, "anthropic", 400,
        anthropic("You have reached your specified workspace API usage limits. You will regain "
                   "access on 2026-12-01 at 00:00 UTC.", "invalid_request_error"),
    ),
    "anthropic credit": (
        F.QUOTA_BILLING, "anthropic", 400,
        anthropic("Your credit balance is too low to access the API.", "invalid_request_error"),
    ),
    "anthropic billing": (F.QUOTA_BILLING, "anthropic", 402, anthropic("Pay", "billing_error")),
    "deepseek balance": (F.QUOTA_BILLING, "deepseek", 402, openai("Insufficient Balance")),
    "together cap": (F.QUOTA_BILLING, "together", 402, b""),
    "openrouter credits": (
        F.QUOTA_BILLING, "openrouter", 402, openrouter(402, limit_source="openrouter_credits"),
    ),
    "fireworks suspended": (
        F.QUOTA_BILLING, "fireworks", 412, openai("Account acme is suspended."),
    ),
    "gemini billing": (
        F.QUOTA_BILLING, "gemini", 400,
        gemini("Please enable billing on your project.", "FAILED_PRECONDITION", 400),
    ),
    "xai credits": (
        F.QUOTA_BILLING, "xai", 403,
        {"code": "no permission", "error": "Your team doesn't have any credits yet."},
    ),
    # Budgets of one key, or of the moment.
    "openrouter in flight": (
        F.IN_FLIGHT_BUDGET, "openrouter", 402,
        openrouter(402, limit_source="openrouter_in_flight_budget"), {"retry-after": "3"},
    ),
    "openrouter key": (
        F.KEY_BUDGET, "openrouter", 402, openrouter(402, limit_source="openrouter_key_limit"),
    ),
    # The credential.
    "openai key": (
        F.KEY_INVALID, "openai", 401,
        openai("Incorrect API key provided: sk-ab***yz.", "invalid_request_error",
                "invalid_api_key"),
    ),
    "anthropic key": (
        F.KEY_INVALID, "anthropic", 401, anthropic("invalid x-api-key", "authentication_error"),
    ),
    "gemini key": (
        F.KEY_INVALID, "gemini", 400,
        gemini("API key not valid.", "INVALID_ARGUMENT", 400, "API_KEY_INVALID"),
    ),
    "gemini expired": (
        F.KEY_INVALID, "gemini", 400, gemini("API key expired.", "INVALID_ARGUMENT", 400),
    ),
    "gemini leaked": (
        F.KEY_INVALID, "gemini", 403,
        gemini("Your API key was reported as leaked.", "PERMISSION_DENIED", 403),
    ),
    "xai key": (
        F.KEY_INVALID, "xai", 400,
        {"code": "Client specified an invalid argument",
         "error": "Incorrect API key provided: xa***yz."},
    ),
    "groq key": (
        F.KEY_INVALID, "groq", 401, openai("Invalid API Key", "x", "invalid_api_key"),
    ),
    "mistral key": (F.KEY_INVALID, "mistral", 401, {"message": "Unauthorized"}),
    "cohere key": (F.KEY_INVALID, "cohere", 401, {"message": "invalid api token"}),
    "cohere 498": (F.KEY_INVALID, "cohere", 498, {"id": "1", "message": "no"}),
    # Who stands behind it.
    "openai deactivated": (F.ACCOUNT_DISABLED, "openai", 403, openai(code="account_deactivated")),
    "anthropic on hold": (
        F.ACCOUNT_DISABLED, "anthropic", 400,
        anthropic("On hold", "invalid_request_error", "organization_on_hold"),
    ),
    "gemini suspended": (
        F.ACCOUNT_DISABLED, "gemini", 403,
        gemini("Suspended", "PERMISSION_DENIED", 403, "CONSUMER_SUSPENDED"),
    ),
    "xai team": (
        F.ACCOUNT_DISABLED, "xai", 403, {"code": "x", "error": "Your team 1-2-3 is blocked."},
    ),
    "anthropic's customer key store": (
        F.ACCOUNT_DISABLED, "anthropic", 503, anthropic("x", "api_error", "cmek_key_unreachable"),
    ),
}  # fmt: skip
