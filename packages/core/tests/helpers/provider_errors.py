"""Refusals as providers word them, and the classification of one at a given instant."""

import json

from apikeyrouter.domain.failures.failure import FailureClass
from apikeyrouter.domain.limits.observation import (
    Dimension,
    Provenance,
)
from apikeyrouter.infrastructure.adapters.errors.error_classification import (
    classify,
)

#: 2026-11-24 02:00:00 UTC; midnight in California is in 6 hours.
NOW = 1795485600.0
F, D = FailureClass, Dimension
BODY = Provenance.ERROR_BODY


def openai(message="", type_=None, code=None, **more):
    return {"error": {"message": message, "type": type_, "param": None, "code": code, **more}}


def anthropic(message, type_, code=None):
    error = {"type": type_, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": "req_1"}


def gemini(message, status, http=429, reason=None, **more):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}]
    error = {"code": http, "message": message, "status": status}
    return {"error": {**error, "details": details if reason else more.get("details", [])}}


def quota(*violations, delay=None):
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
    return gemini(message, "RESOURCE_EXHAUSTED", details=details)


def openrouter(http, message="", **metadata):
    return {"error": {"code": http, "message": message, "metadata": metadata}}


def classify_at(kind, status, body, headers=None, dialect=None):
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
