"""OpenAI's tongue: its paths, credentials, errors and headers."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.asgi import Headers
from apikeyrouter_simulator.dialects import wording
from apikeyrouter_simulator.dialects.dialect import (
    Asked,
    Desk,
    Dialect,
    Drawn,
    FreeCall,
    Incoming,
    Manners,
    Refusal,
    Whole,
)
from apikeyrouter_simulator.dialects.openai import media, objects, shapes
from apikeyrouter_simulator.dialects.wording import event
from apikeyrouter_simulator.quotas.limits import CONCURRENCY, KINDS, Reading, Shortfall

_MODEL = re.compile(r"v1/models/([^/:]+)")
_INVALID = "invalid_request_error"
_QUOTA = "You exceeded your current quota, please check your plan and billing details."
#: Status, message, type and code of a refusal.
_REFUSALS: dict[str, tuple[int, str, str, str | None]] = {
    "no_key": (401, "Incorrect API key provided.", _INVALID, "invalid_api_key"),
    "unknown_key": (401, "Incorrect API key provided.", _INVALID, "invalid_api_key"),
    "two_keys": (400, "More than one API key provided.", _INVALID, None),
    "invalid_key": (401, "Incorrect API key provided: sk-sim***", _INVALID, "invalid_api_key"),
    "revoked_key": (401, "This API key has been revoked.", _INVALID, "invalid_api_key"),
    "insufficient_quota": (429, _QUOTA, "insufficient_quota", "insufficient_quota"),
    "unknown_url": (404, "Unknown URL ({})", _INVALID, "unknown_url"),
    "bad_request": (400, "{}", _INVALID, None),
    "unknown_model": (
        404, "The model `{}` does not exist or you do not have access to it.", _INVALID,
        "model_not_found",
    ),
    "unknown_object": (404, "{} not found.", _INVALID, None),
    "coding": (415, "Unsupported content encoding: {}", _INVALID, None),
    "too_large": (413, "Request body is too large.", _INVALID, None),
}  # fmt: skip


@dataclass(slots=True)
class Text(Asked):
    """A chat, a completion or embeddings."""

    kind: str
    request: shapes.Request
    body: bytes
    model: str
    cap: int | None
    streams: bool
    makes_tokens: bool

    def text_tokens(self) -> int:
        """Return the input tokens of the text alone."""
        return shapes.text_tokens(self.request)

    def last_word(self) -> str:
        """Return the last word of a chat."""
        return shapes.last_word(self.request)

    def whole(self, drawn: Drawn) -> bytes:
        """Write a plain answer."""
        request, given, made = self.request, drawn.given, drawn.made
        if self.kind == "embeddings":
            return shapes.embeddings(request, given)
        tools = shapes.tools_called(request, self.body)
        if tools:
            arguments = wording.arguments_json(self.body)
            return shapes.tool_answer(drawn.name, request.model, tools, arguments, given, made)
        return shapes.plain(
            self.kind, drawn.name, request.model, given, made, _finish(drawn), echo=drawn.echo
        )

    def events(self, drawn: Drawn) -> list[bytes]:
        """Write all events of a stream."""
        request = self.request
        wants = bool(request.stream_options and request.stream_options.include_usage)
        tools = shapes.tools_called(request, self.body)
        events = list(
            shapes.chunks(
                self.kind, drawn.name, request.model, drawn.made, _finish(drawn),
                tools=tools, arguments=wording.arguments_json(self.body) if tools else "",
                usage_too=wants, echo=drawn.echo,
            )
        )  # fmt: skip
        if not drawn.finishes:
            return events[:-1]
        if wants:
            events.append(
                shapes.usage_chunk(self.kind, drawn.name, request.model, drawn.given, drawn.made)
            )
        return [*events, shapes.DONE]

    def error_event(self, status: int) -> bytes:
        """Write the event of a stream that says that it failed."""
        return event(msgspec.json.decode(status_error(status)))


def _finish(drawn: Drawn) -> str:
    return "length" if drawn.is_cut_short else "stop"


def status_error(status: int) -> bytes:
    """Write the body of an error of that status."""
    type_, code = "server_error" if status >= 500 else _INVALID, None
    if status == 429:
        type_, code = "requests", "rate_limit_exceeded"
    return shapes.error(f"The simulated provider answers {status}.", type_, code)


class OpenAIDialect(Dialect):
    """OpenAI's tongue."""

    name = "openai"
    _kinds: ClassVar = {
        "v1/chat/completions": "chat",
        "v1/completions": "text",
        "v1/embeddings": "embeddings",
    }

    def is_meant(self, incoming: Incoming) -> bool:  # noqa: ARG002 - others need it
        """Tell whether a request of a shared path bears this tongue's signs: there are none."""
        return False

    def knows(self, incoming: Incoming) -> bool:
        """Tell whether it has this path."""
        path = incoming.path
        if path in self._kinds or path in media.KINDS:
            return True
        return path == "v1/models" or objects.knows(path) or _MODEL.fullmatch(path) is not None

    def secret(self, incoming: Incoming) -> str | Refusal:
        """Return the bearer's token."""
        return incoming.bearer or Refusal("no_key")

    def read(self, incoming: Incoming) -> Asked | FreeCall | Refusal:
        """Read a request."""
        kind = self._kinds.get(incoming.path)
        if kind is None:
            return _read_other(incoming)
        request = shapes.read(kind, incoming.body)
        if isinstance(request, str):
            return Refusal("bad_request", request[:300])
        makes = kind != "embeddings"
        return Text(
            kind, request, incoming.body, request.model, request.cap,
            streams=bool(request.stream) and makes, makes_tokens=makes,
        )  # fmt: skip

    def refuse(self, refusal: Refusal, name: str) -> Whole:
        """Write the answer that refuses a call."""
        headers = [asgi.JSON, (b"x-request-id", name.encode())]
        if refusal.reason == "status":
            return Whole(refusal.status, headers, status_error(refusal.status))
        status, message, type_, code = _REFUSALS[refusal.reason]
        body = shapes.error(message.format(refusal.message), type_, refusal.code or code)
        return Whole(status, headers, body)

    def over_limit(self, lack: Shortfall, model: str, manners: Manners) -> Whole:
        """Write the answer that refuses a call by a limit."""
        headers, tells = [asgi.JSON], manners.refusals
        if not lack.is_too_large and tells != "bare":
            headers.append((b"retry-after", b"%d" % math.ceil(lack.wait_s)))
            if tells != "seconds":
                headers.append((b"retry-after-ms", b"%d" % math.ceil(lack.wait_s * 1000)))
        if tells != "full":
            return Whole(
                429, headers, shapes.error("Too many requests.", "requests", "rate_limit_exceeded")
            )
        label = KINDS[lack.limit_name].label if lack.limit_name != CONCURRENCY else CONCURRENCY
        return Whole(429, headers, shapes.refusal(lack, model, f"org-{manners.account}", label))

    def headers(
        self,
        readings: Iterator[Reading],
        manners: Manners,
        now: float,  # noqa: ARG002 - others need it
    ) -> Headers:
        """Write the headers that every answer has."""
        headers: Headers = [(b"x-request-id", manners.name.encode())]
        if manners.account_told:
            headers.append((b"openai-organization", f"org-{manners.account}".encode()))
        if manners.family != "none":
            headers += shapes.limit_headers(
                readings,
                manners.hidden,
                requests_are="rpd" if manners.family == "groq" else None,
                only_remaining=manners.family == "remaining",
            )
        return headers


def _read_other(incoming: Incoming) -> Asked | FreeCall | Refusal:
    """Read what is neither a chat nor its like."""
    if incoming.path in media.KINDS:
        medium = media.read(incoming)
        return Refusal("bad_request", medium[:300]) if isinstance(medium, str) else medium
    if objects.knows(incoming.path):
        return objects.read(incoming)
    match = _MODEL.fullmatch(incoming.path)
    return FreeCall(lambda desk: _models(desk, match[1] if match else None), lists_models=True)


def _models(desk: Desk, name: str | None) -> Whole | Refusal:
    if name is None:
        return Whole(200, [asgi.JSON], shapes.models(desk.models))
    if name not in desk.models:
        return Refusal("unknown_model", name)
    return Whole(200, [asgi.JSON], msgspec.json.encode(shapes.model(name)))
