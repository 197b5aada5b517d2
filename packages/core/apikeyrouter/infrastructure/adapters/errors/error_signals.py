"""What a refusal means: signals to classes, as rows of data.

Signals are weighed in this order: the body's codes (its type is the last of
them), its words, codes that say little, then the status. A signal that its
status contradicts is not believed: `invalid_api_key` in a 500 blames no key.
Sources: the providers' documentation, SDKs and recorded replies, 2026-11.
"""

import re
from collections.abc import Mapping

from apikeyrouter.domain.failures.failure import FailureClass

_F = FailureClass

#: A body's code, status, reason or type, in lower case, that leaves no doubt.
BY_CODE: Mapping[str, FailureClass] = {
    # The account is out of money.
    "insufficient_quota": _F.QUOTA_BILLING,
    "credit_balance_exhausted": _F.QUOTA_BILLING,
    "organization_spend_limit_exceeded": _F.QUOTA_BILLING,
    "organization_usage_limit_exceeded": _F.QUOTA_BILLING,
    "project_spend_limit_exceeded": _F.QUOTA_BILLING,
    "billing_hard_limit_reached": _F.QUOTA_BILLING,
    "billing_not_active": _F.QUOTA_BILLING,
    "billing_error": _F.QUOTA_BILLING,
    "enforced_spend_limit_reached": _F.QUOTA_BILLING,
    "contract_spend_limit_reached": _F.QUOTA_BILLING,
    "linked_organization_spend_limit_reached": _F.QUOTA_BILLING,
    "linked_organization_billing_unavailable": _F.QUOTA_BILLING,
    "spend_limit_exceeded": _F.QUOTA_BILLING,
    "openrouter_credits": _F.QUOTA_BILLING,
    "exceeded_current_quota_error": _F.QUOTA_BILLING,
    "arrearage": _F.QUOTA_BILLING,
    "allocationquota.freetieronly": _F.QUOTA_BILLING,
    "payment_required": _F.QUOTA_BILLING,
    "openrouter_in_flight_budget": _F.IN_FLIGHT_BUDGET,
    "openrouter_key_limit": _F.KEY_BUDGET,
    "weight_exceeds_budget": _F.TOO_BIG_FOR_LIMIT,
    # The credential, or who stands behind it.
    "invalid_api_key": _F.KEY_INVALID,
    "api_key_invalid": _F.KEY_INVALID,
    "account_deactivated": _F.ACCOUNT_DISABLED,
    "organization_on_hold": _F.ACCOUNT_DISABLED,
    "consumer_suspended": _F.ACCOUNT_DISABLED,
    "service_disabled": _F.ACCOUNT_DISABLED,
    "team_blocked": _F.ACCOUNT_DISABLED,
    # The customer's own key store is away: nobody else's calls are concerned.
    "cmek_key_unreachable": _F.ACCOUNT_DISABLED,
    "cmek_key_disabled": _F.ACCOUNT_DISABLED,
    "cmek_key_network_blocked": _F.ACCOUNT_DISABLED,
    "cmek_context_unavailable": _F.ACCOUNT_DISABLED,
    "claude_code_key_creator_not_member": _F.KEY_INVALID,
    "model_not_found": _F.MODEL_UNAVAILABLE,
    "model_decommissioned": _F.MODEL_UNAVAILABLE,
    "deploymentnotfound": _F.MODEL_UNAVAILABLE,
    "invalid_model": _F.MODEL_UNAVAILABLE,
    "model_not_available": _F.MODEL_UNAVAILABLE,
    "organization_type_not_supported": _F.MODEL_UNAVAILABLE,
    "unsupported_country_region_territory": _F.REGION_BLOCKED,
    "region_not_supported": _F.REGION_BLOCKED,
    "ip_not_authorized": _F.IP_NOT_AUTHORIZED,
    "api_key_ip_address_blocked": _F.IP_NOT_AUTHORIZED,
    "api_key_http_referrer_blocked": _F.IP_NOT_AUTHORIZED,
    # The provider.
    "server_is_overloaded": _F.OVERLOADED,
    "overloaded_error": _F.OVERLOADED,
    "engine_overloaded_error": _F.OVERLOADED,
    "provider_overloaded": _F.OVERLOADED,
    "provider_unavailable": _F.OVERLOADED,
    "modelnotreadyexception": _F.OVERLOADED,
    "serviceunavailableexception": _F.OVERLOADED,
    "modeltimeoutexception": _F.TIMEOUT,
    # The pace of an account that grew too fast, or its share of a busy model.
    "slow_down": _F.SLOW_DOWN,
    "ramp_limit_exceeded": _F.SLOW_DOWN,
    "limit_burst_rate": _F.SLOW_DOWN,
    "throttling.burstrate": _F.SLOW_DOWN,
    "dynamic_request_limited": _F.SLOW_DOWN,
    "dynamic_token_limited": _F.SLOW_DOWN,
    "service_tier_capacity_exceeded": _F.SLOW_DOWN,
    "3505": _F.SLOW_DOWN,
    # The request.
    "tool_use_failed": _F.UNFIT_MODEL,
    "context_length_exceeded": _F.CONTEXT_LENGTH,
    "token_limit_exceeded": _F.CONTEXT_LENGTH,
    "content_policy_violation": _F.CONTENT_FILTER,
    "content_filter": _F.CONTENT_FILTER,
    "moderation_blocked": _F.CONTENT_FILTER,
    "data_inspection_failed": _F.CONTENT_FILTER,
    "datainspectionfailed": _F.CONTENT_FILTER,
    "responsibleaipolicyviolation": _F.CONTENT_FILTER,
    "refusal": _F.CONTENT_FILTER,
    "bio_policy": _F.CONTENT_FILTER,
    "misalignment_policy_violation": _F.CONTENT_FILTER,
    "invalid_prompt": _F.BAD_REQUEST,
    "max_tokens_exceeded": _F.BAD_REQUEST,
    "payload_too_large": _F.BAD_REQUEST,
    "request_too_large": _F.BAD_REQUEST,
    "file_expired": _F.BAD_REQUEST,
    "unprocessable": _F.BAD_REQUEST,
    "precondition_failed": _F.BAD_REQUEST,
    "data_residency_mismatch": _F.BAD_REQUEST,
    "validationexception": _F.BAD_REQUEST,
}
#: Where one provider means something else by a code.
_BY_DIALECT_AND_CODE: Mapping[tuple[str, str], FailureClass] = {
    # The tokens of a minute: an empty account has a code of its own.
    ("qwen", "insufficient_quota"): _F.RATE_LIMITED,
    ("qwen", "throttling.allocationquota"): _F.RATE_LIMITED,
}
#: Beginnings of codes that come in families.
_BY_PREFIX: Mapping[str, FailureClass] = {"image_": _F.BAD_REQUEST}
#: Codes that words may refine: which limit it was, or why a credential was refused.
BY_VAGUE_CODE: Mapping[str, FailureClass] = {
    "rate_limit_exceeded": _F.RATE_LIMITED,
    "rate_limit_error": _F.RATE_LIMITED,
    "rate_limited": _F.RATE_LIMITED,
    "ratelimitreached": _F.RATE_LIMITED,
    "1300": _F.RATE_LIMITED,
    "requests": _F.RATE_LIMITED,
    "tokens": _F.RATE_LIMITED,
    "resource_exhausted": _F.RATE_LIMITED,
    "throttlingexception": _F.RATE_LIMITED,
    "servicequotaexceededexception": _F.RATE_LIMITED,
    "authentication_error": _F.KEY_INVALID,
    "authentication": _F.KEY_INVALID,
    "unauthenticated": _F.KEY_INVALID,
    "permission_error": _F.UNEXPLAINED,
    "permission_denied": _F.UNEXPLAINED,
    "accessdeniedexception": _F.UNEXPLAINED,
    "not_found_error": _F.UNEXPLAINED,
    "not_found": _F.UNEXPLAINED,
    "resourcenotfoundexception": _F.MODEL_UNAVAILABLE,
    # Billing is off, or the free tier is not offered to this project.
    "failed_precondition": _F.QUOTA_BILLING,
    "service_unavailable_error": _F.OVERLOADED,
    "unavailable_error": _F.OVERLOADED,
    "unavailable": _F.OVERLOADED,
    "api_error": _F.SERVER_ERROR,
    "server_error": _F.SERVER_ERROR,
    "server": _F.SERVER_ERROR,
    "internal": _F.SERVER_ERROR,
    "timeout_error": _F.SERVER_ERROR,
    "timeout": _F.SERVER_ERROR,
    "deadline_exceeded": _F.SERVER_ERROR,
    "conflict_error": _F.CONFLICT,
    "invalid_request_error": _F.BAD_REQUEST,
    "invalid_request": _F.BAD_REQUEST,
    "invalid_argument": _F.BAD_REQUEST,
}
_FIVES = frozenset(range(500, 600))
#: Words of the message or of a quota's name; the first row that matches wins.
BY_WORDS: tuple[tuple[re.Pattern[str], FailureClass, frozenset[int]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), kind, frozenset(statuses))
    for pattern, kind, statuses in (
        (r"\blimit:? 0(?![\d.,]*\d)", _F.ZERO_ALLOWANCE, (429,)),
        # Google's words for a file or a cache that is of another project, or of none.
        (r"^you do not have permission to access .{1,200} or it may not exist"
         r"|^cachedcontent not found", _F.NOT_FOUND, (403, 404)),
        (r"request too large", _F.TOO_BIG_FOR_LIMIT, (429, 413)),
        (r"credit balance is too low|regain access on|reached your specified .{0,20}usage limits"
         r"|insufficient (?:balance|credits?|funds)|(?:used|spent) all (?:your )?available credits"
         r"|reached its monthly spending limit|doesn.t have any credits|enable billing"
         r"|credits are depleted"
         # One provider tells every limit of a minute with the words of another's empty account.
         r"|exceeded your current quota(?!.*(?:resource_exhausted|quota exceeded for metric))",
         _F.QUOTA_BILLING, (400, 402, 403, 412, 429)),
        (r"incorrect api key|invalid api key|api key (?:not valid|not found|expired)"
         r"|invalid (?:api )?token|api key.{0,60}(?:leaked|revoked|expired)",
         _F.KEY_INVALID, (400, 401, 403, 498)),
        (r"(?:account|organization|consumer).{0,60}(?:deactivated|suspended|been disabled)"
         r"|team.{0,60}\bblocked", _F.ACCOUNT_DISABLED, (400, 401, 403)),
        (r"\bip (?:address )?(?:is )?not authorized|virtual network|firewall rules",
         _F.IP_NOT_AUTHORIZED, (401, 403)),
        (r"country, region, or territory|user location is not supported",
         _F.REGION_BLOCKED, (400, 403)),
        (r"invalid url", _F.BAD_REQUEST, (404,)),
        (r"no endpoints found (?:that|which|matching|with)|no allowed providers"
         r"|does not support (?:tool|function|image|vision|audio)",
         _F.UNFIT_MODEL, (400, 404, 422)),
        (r"(?:model|deployment).{0,100}(?:does not exist|not found|decommissioned)"
         r"|(?:do not|don.t) have access to|must be verified to use the model|invalid service_tier"
         r"|no endpoints found for|not a valid model|(?:invalid|unknown|no such) model"
         r"|model not exist|unable to access (?:non-serverless )?model"
         r"|not a chat model|not allowed to generate embeddings|^model: |not found for account",
         _F.MODEL_UNAVAILABLE, (400, 403, 404)),
        (r"prompt is too long|maximum context length|input token count.{0,60}exceeds",
         _F.CONTEXT_LENGTH, (400, 413, 422)),
        (r"requires moderation|\bwas flagged|guardrail|content management policy",
         _F.CONTENT_FILTER, (400, 403)),
        (r"unable to process your request|experiencing high demand|overloaded"
         r"|resource unavailable|flex capacity", _F.OVERLOADED, (429, 498, *_FIVES)),
        (r"usage increase rate|rate increased too quickly", _F.SLOW_DOWN, (429,)),
        (r"free-models-per-min", _F.RATE_LIMITED, (429,)),
        (r"\bper[ -](?:day|month)\b|\((?:[RT]P|AS)D\)|PerDay", _F.RATE_LIMITED_DAY, (429,)),
    )
)  # fmt: skip
#: An account that is not empty, but has less left than this request may cost.
_SMALLER = re.compile(r"can only afford|(?:fewer|lower|reduce) (?:your )?max_tokens", re.IGNORECASE)
_BY_STATUS: Mapping[int, FailureClass] = {
    401: _F.KEY_INVALID,
    402: _F.UNEXPLAINED,
    403: _F.UNEXPLAINED,
    404: _F.UNEXPLAINED,
    408: _F.TIMEOUT,
    409: _F.CONFLICT,
    412: _F.QUOTA_BILLING,
    425: _F.CONFLICT,
    429: _F.RATE_LIMITED,
    498: _F.OVERLOADED,
    499: _F.CONFLICT,
    503: _F.OVERLOADED,
    529: _F.OVERLOADED,
}
#: Where one provider means something else by a status.
_BY_DIALECT_AND_STATUS: Mapping[tuple[str, int], FailureClass] = {
    ("cohere", 498): _F.KEY_INVALID,
    ("fireworks", 429): _F.SLOW_DOWN,
    ("together", 402): _F.QUOTA_BILLING,
    ("openrouter", 412): _F.BAD_REQUEST,
    ("openrouter", 502): _F.OVERLOADED,
}
_CLIENT_ERRORS = frozenset({400, 402, 403, 404, 405, 409, 410, 412, 413, 415, 422, 424, 429})
#: Statuses with which a class can come at all; a class without a row comes with any.
_PLAUSIBLE: Mapping[FailureClass, frozenset[int]] = {
    _F.RATE_LIMITED: frozenset({400, 403, 413, 429}),
    _F.RATE_LIMITED_DAY: frozenset({403, 429}),
    _F.TOO_BIG_FOR_LIMIT: frozenset({400, 402, 413, 429}),
    _F.SLOW_DOWN: frozenset({429, 503}),
    _F.QUOTA_BILLING: frozenset({400, 401, 402, 403, 412, 429}),
    _F.IN_FLIGHT_BUDGET: frozenset({402, 403, 429}),
    _F.KEY_BUDGET: frozenset({402, 403, 429}),
    _F.KEY_INVALID: frozenset({400, 401, 403, 498}),
    _F.ACCOUNT_DISABLED: frozenset({400, 401, 402, 403, 503}),
    _F.MODEL_UNAVAILABLE: frozenset({400, 403, 404, 410}),
    _F.UNFIT_MODEL: frozenset({400, 403, 404, 422}),
    _F.UNEXPLAINED: frozenset({402, 403, 404}),
    _F.REGION_BLOCKED: frozenset({400, 401, 403, 451}),
    _F.IP_NOT_AUTHORIZED: frozenset({401, 403}),
    _F.OVERLOADED: frozenset({429, 498}) | _FIVES,
    _F.SERVER_ERROR: _FIVES,
    _F.TIMEOUT: frozenset({408}) | _FIVES,
    _F.CONFLICT: frozenset({409, 425}),
    _F.CONTEXT_LENGTH: frozenset({400, 413, 422}),
    _F.CONTENT_FILTER: frozenset({400, 403, 422}),
    _F.BAD_REQUEST: _CLIENT_ERRORS - {402, 403, 409, 429},
}
#: What a class is told as where a stream reports it without a status.
NATURAL_STATUS: Mapping[FailureClass, int] = {
    _F.RATE_LIMITED: 429,
    _F.RATE_LIMITED_DAY: 429,
    _F.TOO_BIG_FOR_LIMIT: 429,
    _F.SLOW_DOWN: 429,
    _F.ZERO_ALLOWANCE: 429,
    _F.QUOTA_BILLING: 402,
    _F.IN_FLIGHT_BUDGET: 402,
    _F.KEY_BUDGET: 402,
    _F.KEY_INVALID: 401,
    _F.ACCOUNT_DISABLED: 403,
    _F.MODEL_UNAVAILABLE: 404,
    _F.UNFIT_MODEL: 400,
    _F.UNEXPLAINED: 403,
    _F.REGION_BLOCKED: 403,
    _F.IP_NOT_AUTHORIZED: 403,
    _F.OVERLOADED: 503,
    _F.CONTEXT_LENGTH: 400,
    _F.CONTENT_FILTER: 400,
    _F.BAD_REQUEST: 400,
    _F.CONFLICT: 409,
}


def class_by_code(
    codes: tuple[str, ...], status: int | None, *dialects: str
) -> FailureClass | None:
    """Return what the first decisive one of *codes* means; `None` if none is known.

    Args:
        dialects: The first that has its own idea of a code is believed.
    """
    for code in codes:
        own = (_BY_DIALECT_AND_CODE.get((dialect, code)) for dialect in dialects)
        kind = (
            next(filter(None, own), None)
            or BY_CODE.get(code)
            or next((kind for prefix, kind in _BY_PREFIX.items() if code.startswith(prefix)), None)
        )
        if kind is not None and _is_plausible(kind, status):
            return kind
    return None


def class_by_words(words: str, status: int | None) -> FailureClass | None:
    """Return what *words* mean; those that were quoted from a request should be cut out."""
    for pattern, kind, statuses in BY_WORDS:
        if (status is None or status in statuses) and pattern.search(words):
            return kind
    return None


def blames_size(words: str) -> bool:
    """Tell whether *words* say that a smaller request could be paid for."""
    return _SMALLER.search(words) is not None


def class_by_vague_code(codes: tuple[str, ...], status: int | None) -> FailureClass | None:
    """Return what the first of *codes* hints at; `None` if none is known."""
    for code in codes:
        kind = BY_VAGUE_CODE.get(code)
        if kind is not None and _is_plausible(kind, status):
            return kind
    return None


def class_by_status(status: int | None, *dialects: str) -> FailureClass:
    """Return what *status* alone means with the first of *dialects* that has its own idea."""
    if status is None:
        return _F.SERVER_ERROR
    for dialect in dialects:
        if (kind := _BY_DIALECT_AND_STATUS.get((dialect, status))) is not None:
            return kind
    if (kind := _BY_STATUS.get(status)) is not None:
        return kind
    return _F.BAD_REQUEST if 400 <= status < 500 else _F.SERVER_ERROR


def _is_plausible(kind: FailureClass, status: int | None) -> bool:
    statuses = _PLAUSIBLE.get(kind)
    return status is None or statuses is None or status in statuses
