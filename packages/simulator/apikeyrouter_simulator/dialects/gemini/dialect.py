"""Gemini's tongue: its paths, credentials and errors. It tells nothing in headers."""

import re

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.asgi import Headers
from apikeyrouter_simulator.dialects.dialect import (
    Asked,
    Desk,
    Dialect,
    FreeCall,
    Incoming,
    Manners,
    Refusal,
    Whole,
)
from apikeyrouter_simulator.dialects.gemini import contents, errors, files
from apikeyrouter_simulator.dialects.gemini.generate import Generation, read_embedding
from apikeyrouter_simulator.dialects.gemini.pages import page
from apikeyrouter_simulator.quotas.limits import Shortfall

_ACTION = re.compile(
    r"v1(?:beta)?/models/([^/:]+):"
    r"(generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents)"
)
_MODELS = re.compile(r"v1(?:beta)?/models(?:/([^/:]+))?")
_NO_KEY = (
    "Method doesn't allow unregistered callers (callers without established identity). "
    "Please use API Key or other form of API consumer identity to call this API."
)
_TWO_KEYS = "Multiple authentication credentials received. Please pass only one."
_NO_CREDIT = "Your prepayment credits are depleted. Please manage your project and billing."
_DEPLETED = 429
#: Status, message and reason of a refusal.
_REFUSALS: dict[str, tuple[int, str, str]] = {
    "no_key": (403, _NO_KEY, ""),
    "unknown_key": (400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"),
    "two_keys": (400, _TWO_KEYS, ""),
    "invalid_key": (400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"),
    "revoked_key": (
        403, "Your API key was reported as leaked. Please use another API key.", "",
    ),
    "insufficient_quota": (_DEPLETED, _NO_CREDIT, ""),
    "unknown_url": (404, "Requested entity was not found: {}", ""),
    "bad_request": (400, "{}", ""),
    "unknown_model": (
        404, "models/{} is not found for API version v1beta, or is not supported for this method.",
        "",
    ),
    "unknown_object": (403, "You do not have permission to access {} or it may not exist.", ""),
    "coding": (415, "Unsupported content encoding: {}", ""),
    "too_large": (413, "Request payload size exceeds the limit.", ""),
}  # fmt: skip


class GeminiDialect(Dialect):
    """Gemini's tongue."""

    name = "gemini"

    def is_meant(self, incoming: Incoming) -> bool:
        """Tell whether a request of a shared path bears this tongue's signs."""
        return (
            b"x-goog-api-key" in incoming.headers
            or "key" in incoming.query
            or incoming.path.startswith(("v1beta/", "upload/"))
        )

    def knows(self, incoming: Incoming) -> bool:
        """Tell whether it has this path."""
        path = incoming.path
        return bool(_ACTION.fullmatch(path) or _MODELS.fullmatch(path)) or files.knows(path)

    def key_name(self, incoming: Incoming) -> str | None:
        """Return the name of the key that an upload was begun with."""
        return files.key_name(incoming)

    def secret(self, incoming: Incoming) -> str | Refusal:
        """Return the only credential of a request."""
        own = incoming.headers.get(b"x-goog-api-key")
        found = [
            own.decode("latin-1") if own is not None else None,
            incoming.query.get("key"),
            incoming.bearer,
        ]
        given = [secret for secret in found if secret is not None]
        if len(given) > 1:
            return Refusal("two_keys")
        return given[0] if given else Refusal("no_key")

    def read(self, incoming: Incoming) -> Asked | FreeCall | Refusal:
        """Read a request."""
        match = _ACTION.fullmatch(incoming.path)
        if files.knows(incoming.path):
            return files.read(incoming)
        if match is None:
            return FreeCall(lambda desk: _models(incoming, desk), lists_models=True)
        model, action = match[1], match[2]
        if action.endswith(("embedContent", "EmbedContents")):
            asked = read_embedding(incoming.body, model, is_batch=action.startswith("batch"))
            return Refusal("bad_request", asked[:300]) if isinstance(asked, str) else asked
        if action == "countTokens":
            return _count(incoming, model)
        return _generation(incoming, model, streams=action.startswith("stream"))

    def refuse(self, refusal: Refusal, name: str) -> Whole:  # noqa: ARG002 - others need it
        """Write the answer that refuses a call."""
        if refusal.reason == "status":
            return _json(errors.status_error(refusal.status), refusal.status)
        status, message, reason = _REFUSALS[refusal.reason]
        details = [errors.reason(reason)] if reason else []
        return _json(errors.error(status, message.format(refusal.message), *details), status)

    def over_limit(self, lack: Shortfall, model: str, manners: Manners) -> Whole:
        """Write the answer that refuses a call by a limit."""
        return _json(errors.over_quota(lack, model, manners.refusals), 429)

    def headers(self, *_: object) -> Headers:
        """Write no header: nothing is told."""
        return []


def _generation(incoming: Incoming, model: str, *, streams: bool) -> Generation | Refusal:
    request = contents.read(incoming.body)
    if isinstance(request, str):
        return Refusal("bad_request", request[:300])
    cap = request.generation_config.max_output_tokens
    is_sse = incoming.query.get("alt") == "sse"
    return Generation(request, incoming.body, model, cap, streams, is_sse)


class _Counted(msgspec.Struct, rename="camel"):
    """A request to count: contents, or what would be sent to generate."""

    contents: list[msgspec.Raw] | None = None
    generate_content_request: msgspec.Raw | None = None


def _count(incoming: Incoming, model: str) -> FreeCall | Refusal:
    try:
        counted = msgspec.json.decode(incoming.body, type=_Counted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refusal("bad_request", f"Invalid JSON payload received. {error}"[:300])
    whole = counted.generate_content_request
    request = contents.read(bytes(whole) if whole is not None else incoming.body)
    if isinstance(request, str):
        return Refusal("bad_request", request[:300])
    total = Generation(request, b"", model, None, streams=False, is_sse=False).text_tokens()
    details = [{"modality": "TEXT", "tokenCount": total}]
    return FreeCall(lambda _: _json({"totalTokens": total, "promptTokensDetails": details}))


def _models(incoming: Incoming, desk: Desk) -> Whole | Refusal:
    """Answer with a page of the models, or with one."""
    match = _MODELS.fullmatch(incoming.path)
    name = match[1] if match else None
    if name is not None:
        return _json(_model(name)) if name in desk.models else Refusal("unknown_model", name)
    return page("models", [_model(model) for model in desk.models], incoming)


def _model(name: str) -> dict[str, object]:
    return {
        "name": f"models/{name}", "version": "001", "displayName": name.title(),
        "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent"],
    }  # fmt: skip


def _json(data: object, status: int = 200) -> Whole:
    return Whole(status, [asgi.JSON], msgspec.json.encode(data))
