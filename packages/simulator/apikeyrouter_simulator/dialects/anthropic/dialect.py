"""Anthropic's tongue: its paths, credentials, errors and headers."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.asgi import Headers
from apikeyrouter_simulator.dialects.anthropic import objects, turns
from apikeyrouter_simulator.dialects.anthropic.messages import Message, error
from apikeyrouter_simulator.dialects.anthropic.pages import page
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
from apikeyrouter_simulator.quotas.limits import CONCURRENCY, KINDS, Reading, Shortfall

_MODELS = re.compile(r"v1/models(?:/[^/:]+)?")
_VERSIONS = ("2023-01-01", "2023-06-01", "2026-10-21")
_MOST_BYTES = 32 * 1024 * 1024
_CREDIT = (
    "Your credit balance is too low to access the Anthropic API. "
    "Please go to Plans & Billing to upgrade or purchase credits."
)
#: Status and message of a refusal.
_REFUSALS: dict[str, tuple[int, str]] = {
    "no_key": (401, "x-api-key header is required"),
    "unknown_key": (401, "invalid x-api-key"),
    "two_keys": (400, "more than one API key"),
    "invalid_key": (401, "invalid x-api-key"),
    "revoked_key": (401, "this API key has been revoked"),
    "insufficient_quota": (400, _CREDIT),
    "unknown_url": (404, "Not found: {}"),
    "bad_request": (400, "{}"),
    "unknown_model": (404, "model: {}"),
    "unknown_object": (404, "not found: {}"),
    "coding": (415, "unsupported content encoding: {}"),
    "too_large": (413, "Request exceeds the maximum size"),
}
_DIMENSIONS = {
    "requests": b"requests", "tokens": b"tokens", "input": b"input-tokens",
    "output": b"output-tokens",
}  # fmt: skip


class AnthropicDialect(Dialect):
    """Anthropic's tongue."""

    name = "anthropic"

    def is_meant(self, incoming: Incoming) -> bool:
        """Tell whether a request of a shared path bears this tongue's signs."""
        return b"anthropic-version" in incoming.headers or b"x-api-key" in incoming.headers

    def knows(self, incoming: Incoming) -> bool:
        """Tell whether it has this path."""
        path = incoming.path
        if path in ("v1/messages", "v1/messages/count_tokens") or objects.knows(path):
            return True
        return _MODELS.fullmatch(path) is not None

    def secret(self, incoming: Incoming) -> str | Refusal:
        """Return the key of its own header, else the bearer's token."""
        own = incoming.headers.get(b"x-api-key")
        if own is not None:
            return own.decode("latin-1")
        return incoming.bearer or Refusal("no_key")

    def read(self, incoming: Incoming) -> Asked | FreeCall | Refusal:
        """Read a request."""
        version = incoming.headers.get(b"anthropic-version", b"").decode("latin-1")
        if not version:
            return Refusal("bad_request", "anthropic-version: header is required")
        if version not in _VERSIONS:
            return Refusal("bad_request", f'anthropic-version: "{version}" is not a valid version')
        if len(incoming.body) > _MOST_BYTES:
            return Refusal("too_large")
        if incoming.path.startswith("v1/models"):
            return FreeCall(lambda desk: _models(incoming, desk), lists_models=True)
        if objects.knows(incoming.path):
            return objects.read(incoming)
        counts_only = incoming.path != "v1/messages"
        request = turns.read(incoming.body, version, counts_only=counts_only)
        if isinstance(request, str):
            return Refusal("bad_request", request[:300])
        message = Message(request, incoming.body, request.model, request.max_tokens, request.stream)
        if counts_only:
            return FreeCall(lambda _: _json({"input_tokens": message.text_tokens()}))
        if b'"cache_control"' in incoming.body:
            message.prefixes = turns.prefixes(request)
        return message

    def refuse(self, refusal: Refusal, name: str) -> Whole:
        """Write the answer that refuses a call."""
        if refusal.reason == "status":
            status, message = refusal.status, ""
        else:
            status, message = _REFUSALS[refusal.reason]
        about = (b"request-id", f"req_{name}".encode())
        answer = _error(status, message.format(refusal.message), name)
        return Whole(status, [*answer.headers, about], answer.body)

    def over_limit(self, lack: Shortfall, model: str, manners: Manners) -> Whole:
        """Write the answer that refuses a call by a limit."""
        label = KINDS[lack.limit_name].label if lack.limit_name != CONCURRENCY else "calls at once"
        message = "This request would exceed your rate limit."
        if manners.refusals == "full":
            message = (
                "This request would exceed the rate limit for your organization "
                f"(org-{manners.account}) of {lack.limit:.0f} {label} (model: {model})."
            )
        answer = _error(429, message, manners.name)
        if not lack.is_too_large and manners.refusals != "bare":
            answer.headers.append((b"retry-after", b"%d" % math.ceil(lack.wait_s)))
        return answer

    def headers(self, readings: Iterator[Reading], manners: Manners, now: float) -> Headers:
        """Write the headers that every answer has."""
        headers: Headers = [(b"request-id", f"req_{manners.name}".encode())]
        if manners.account_told:
            headers.append((b"anthropic-organization-id", f"org-{manners.account}".encode()))
        if manners.family == "none":
            return headers
        told: set[bytes] = set()
        for reading in readings:
            what = _DIMENSIONS[reading.kind.dimension]
            if what not in told and reading.kind.name not in manners.hidden:
                told.add(what)
                headers += _told(reading, what, now, only_remaining=manners.family == "remaining")
        return headers


def _told(reading: Reading, what: bytes, now: float, *, only_remaining: bool) -> Headers:
    """Write what is told of one window: tokens in thousands, the reset as an instant."""
    remaining = math.floor(reading.remaining + 1e-6)
    if what != b"requests":
        remaining = round(remaining, -3)
    name = b"anthropic-ratelimit-" + what
    headers = [(name + b"-remaining", b"%d" % remaining)]
    if not only_remaining:
        full_at = datetime.fromtimestamp(math.ceil(now + reading.reset_s), UTC)
        headers.append((name + b"-limit", b"%d" % reading.limit))
        headers.append((name + b"-reset", full_at.strftime("%Y-%m-%dT%H:%M:%SZ").encode()))
    return headers


def _error(status: int, message: str, name: str) -> Whole:
    return _json(error(status, message) | {"request_id": f"req_{name}"}, status)


def _json(data: object, status: int = 200) -> Whole:
    return Whole(status, [asgi.JSON], msgspec.json.encode(data))


def _models(incoming: Incoming, desk: Desk) -> Whole | Refusal:
    """Answer with a page of the models, or with one."""
    name = incoming.path.removeprefix("v1/models").strip("/")
    if not name:
        return page([_model(model) for model in desk.models], incoming)
    return _json(_model(name)) if name in desk.models else Refusal("unknown_model", name)


def _model(name: str) -> dict[str, object]:
    return {
        "type": "model", "id": name, "display_name": name.title(),
        "created_at": "2026-01-01T00:00:00Z", "max_input_tokens": 200_000, "max_tokens": 64_000,
    }  # fmt: skip
