"""Serves the library's own requests over HTTP, whatever dialect the provider speaks.

An intent is shaped like OpenAI's chat, and so is the answer that is made of it; for a provider
of another dialect both are translated. The proxy's bytes never come here.
"""

import time
from typing import Any

import msgspec

from apikeyrouter.dialects.catalogue import DIALECTS, OPENAI_CHAT
from apikeyrouter.dialects.dialect import Dialect
from apikeyrouter.dialects.openai_chat.usage_tap import usage_of
from apikeyrouter.dialects.translation import Translations
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.provider_capabilities import ProviderCapabilities
from apikeyrouter.domain.models.request_intent import RequestIntent
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.domain.models.system_response import (
    ResponseChunk,
    ResponseMetadata,
    SystemResponse,
)
from apikeyrouter.domain.models.token_usage import TokenUsage
from apikeyrouter.infrastructure.adapters.http_adapter import (
    OWN_HEADERS,
    HttpAdapter,
    system_error_of,
)
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS

_E = ErrorCategory
_JSON = {**OWN_HEADERS, "content-type": "application/json"}


class IntentAdapter(HttpAdapter):
    """A provider over HTTP that serves intents: as chats if it can, else in its first dialect."""

    def encode(self, intent: RequestIntent) -> bytes:
        """Return the body of the request for *intent*."""
        return self.prepare(intent).body

    def prepare(self, intent: RequestIntent) -> WireRequest:
        """Build the request for *intent*.

        Raises:
            UntranslatableError: It has what the provider's dialect cannot carry.
        """
        body, headers = intent.encoded(), dict(_JSON)
        request = WireRequest("chat/completions", body, headers, model=intent.model)
        dialect = self._dialect()
        if dialect is OPENAI_CHAT:
            return request
        stream = intent.parameters.get("stream") is True
        translated = (
            Translations(lenient=False)
            .translate(request, dialect, model=intent.model, stream=stream)
            .request
        )
        translated.headers = {**OWN_HEADERS, **translated.headers}
        return translated

    async def execute_request(self, intent: RequestIntent, key: APIKey) -> bytes:
        """Send *intent* with *key*; return the provider's body.

        Raises:
            SystemError: It was refused, or no whole answer came.
            UntranslatableError: It has what the provider's dialect cannot carry.
        """
        request, secret = self.prepare(intent), key.reveal()
        try:
            response = await self.send(request, secret)
            body = await response.read()
        except TRANSPORT_ERRORS as error:
            raise self.map_error(error) from error
        if not 200 <= response.status < 300:
            failure = self.classify(response.status, response.headers, body, time.time())
            raise system_error_of(failure)
        return body

    def normalize_response(self, raw: Any) -> SystemResponse:
        """Turn the provider's answer (bytes or decoded) into a `SystemResponse`.

        What is missing or of another type is left at its default.

        Raises:
            SystemError: It is no JSON object.
        """
        data = _decode(raw) if isinstance(raw, (bytes, str)) else raw
        if not isinstance(data, dict):
            raise SystemError(_E.ProviderError, "the provider's answer is no JSON object")
        theirs, ours = self._dialect().rendering, OPENAI_CHAT.rendering
        if theirs is None or theirs is ours:
            return response_of(data)
        response = response_of(msgspec.json.decode(ours.write_reply(theirs.read_reply(data))))
        usage = self._dialect().read_body(msgspec.json.encode(data))[0]
        if usage is not None:
            response.metadata.tokens_used = usage.told()
        return response.model_copy(update={"raw": data})

    def normalize_chunk(self, data: bytes) -> ResponseChunk | None:
        """Turn the data of one event of a chat into a piece; `None` if it has none."""
        return chunk_of(data)

    def get_capabilities(self) -> ProviderCapabilities:
        """Say what the dialect can do."""
        return ProviderCapabilities()

    def _dialect(self) -> Dialect:
        spoken = self.dialects
        return OPENAI_CHAT if OPENAI_CHAT.name in spoken else DIALECTS[spoken[0]]


def response_of(data: dict[str, Any]) -> SystemResponse:
    """Turn a decoded chat answer into a `SystemResponse`."""
    choice = _first_choice(data)
    message = _object(choice.get("message"))
    content = message.get("content")
    return SystemResponse(
        content=content if content is not None else choice.get("text") or "",
        metadata=ResponseMetadata(
            model_used=_text(data.get("model")),
            tokens_used=usage_of(data) or TokenUsage(exact=False),
            finish_reason=_text(choice.get("finish_reason")) or None,
            additional_metadata={"response_id": data.get("id")},
        ),
        raw=data,
        tool_calls=_list(message.get("tool_calls")),
    )


def chunk_of(data: bytes) -> ResponseChunk | None:
    """Turn the data of one event of a chat into a piece; `None` for `[DONE]` and no object."""
    if data.strip() == b"[DONE]":
        return None
    try:
        event = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(event, dict):
        return None
    choice = _first_choice(event)
    delta = _object(choice.get("delta"))
    return ResponseChunk(
        content=_text(delta.get("content")) or _text(choice.get("text")),
        finish_reason=_text(choice.get("finish_reason")) or None,
        usage=usage_of(event),
        tool_calls=_list(delta.get("tool_calls")),
        raw=event,
    )


def _decode(raw: bytes | str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SystemError(_E.ProviderError, f"the provider's answer is no JSON: {error}") from None


def _first_choice(data: dict[str, Any]) -> dict[str, Any]:
    choices = data.get("choices")
    return _object(choices[0]) if isinstance(choices, list) and choices else {}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
