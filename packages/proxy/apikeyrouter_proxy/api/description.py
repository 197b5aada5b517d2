"""What the OpenAPI description says of errors: every operation may refuse, in one shape."""

from typing import Any

from apikeyrouter_proxy.api.problems import MEDIA_TYPE

_EXAMPLE = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "limits.rpm: should be above 0",
    "errors": [{"field": "limits.rpm", "message": "should be above 0"}],
    "request_id": "req-5f2c",
}
_TEXT = {"type": "string"}
_SCHEMA = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "errors", "request_id"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that says what to do."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": _TEXT, "message": _TEXT},
            },
        },
        "request_id": _TEXT,
    },
    "examples": [_EXAMPLE],
}
_EVERYWHERE = {
    "400": "The request cannot be read.",
    "401": "The management key is missing or wrong.",
    "403": "No management key is configured, or the key may only look.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "415": "The body is no JSON by its type, or its encoding cannot be read.",
    "422": "A field is wrong; `errors` names it.",
    "429": "Too many wrong keys came from this address.",
    "503": "The store cannot be reached, or the service is too busy.",
}
_WITH_ID = {"404": "There is none of this id."}
_CHANGES = {
    "409": "It cannot be changed so: it is taken, or it has changed meanwhile.",
    "412": "If-Match names another version than there is.",
}


def describe_problems(schema: dict[str, Any]) -> dict[str, Any]:
    """Return *schema* with every operation's refusals."""
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = _SCHEMA
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            refusals = dict(_EVERYWHERE)
            if "{" in path:
                refusals |= _WITH_ID
            if method != "get":
                refusals |= _CHANGES
            operation["responses"] |= {code: _refusal(text) for code, text in refusals.items()}
    return schema


def _refusal(text: str) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": text, "content": content}
