"""Providers that speak OpenAI's chat dialect."""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from apikeyrouter.dialects.openai_chat.usage_tap import usage_of
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.domain.limits.calendars import Calendar
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
from apikeyrouter.infrastructure.adapters.connection_options import ConnectionOptions
from apikeyrouter.infrastructure.adapters.http_adapter import (
    OWN_HEADERS,
    HttpAdapter,
    system_error_of,
)
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS, Transport

_E = ErrorCategory
BASE_URL = "https://api.openai.com/v1"
#: What OpenAI speaks.
DIALECTS = ("openai", "openai-responses")
_JSON = {**OWN_HEADERS, "content-type": "application/json"}
#: OpenAI charges the larger of the output cap and its own estimate of the input.
ADMISSION = Admission(counts_cap=True, larger_of=True)


class OpenAIAdapter(HttpAdapter):
    """OpenAI, or anything else that speaks its dialect at another *base_url*.

    Arguments are those of `HttpAdapter`; `per_model` left out is true of OpenAI
    itself and false of an address that nothing is known of. Without `dialects`
    another address is tried for whether it speaks responses.
    """

    kind = "openai"

    def __init__(
        self,
        base_url: str = BASE_URL,
        *,
        credential_header: str = "Authorization",
        credential_prefix: str = "Bearer ",
        headers: Mapping[str, str] | None = None,
        dialects: tuple[str, ...] | None = None,
        tried_dialects: tuple[str, ...] = (),
        dialect: str = "openai",
        admission: Admission = ADMISSION,
        calendars: Mapping[float, Calendar] | None = None,
        per_model: bool | None = None,
        stream_options: bool = True,
        models: tuple[str, ...] | None = None,
        connection: ConnectionOptions | None = None,
        transport: Transport | None = None,
    ) -> None:
        is_openai = base_url.rstrip("/") == BASE_URL
        spoken = DIALECTS if is_openai else DIALECTS[:1]
        super().__init__(
            base_url,
            credential_header=credential_header,
            credential_prefix=credential_prefix,
            headers=headers,
            dialects=spoken if dialects is None else dialects,
            tried_dialects=DIALECTS if dialects is None else tried_dialects,
            dialect=dialect,
            admission=admission,
            calendars=calendars,
            per_model=is_openai if per_model is None else per_model,
            stream_options=stream_options,
            models=models,
            connection=connection,
            transport=transport,
        )

    def encode(self, intent: RequestIntent) -> bytes:
        """Return the body of the chat request for *intent*."""
        return intent.encoded()

    def prepare(self, intent: RequestIntent) -> WireRequest:
        """Build the chat request for *intent*."""
        return WireRequest("chat/completions", self.encode(intent), dict(_JSON))

    async def execute_request(self, intent: RequestIntent, key: APIKey) -> bytes:
        """Send *intent* with *key*; return the provider's body.

        Raises:
            SystemError: It was refused, or no whole answer came.
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
        """Turn a chat answer (bytes or decoded) into a `SystemResponse`.

        What is missing or of another type is left at its default.

        Raises:
            SystemError: It is no JSON object.
        """
        data = _decode(raw) if isinstance(raw, (bytes, str)) else raw
        if not isinstance(data, dict):
            raise SystemError(_E.ProviderError, "the provider's answer is no JSON object")
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

    def normalize_chunk(self, data: bytes) -> ResponseChunk | None:
        """Turn the data of one event into a piece; `None` for `[DONE]` and what is no object."""
        return chunk_of(data)

    def get_capabilities(self) -> ProviderCapabilities:
        """Say what the dialect can do."""
        return ProviderCapabilities()

    async def list_models(self, secret: str) -> tuple[str, ...]:
        """Ask which models *secret* may use.

        Returns:
            Their names; empty when the provider does not say.
        """
        answer = await self.ask("models", secret)
        if answer is None or answer[0].status != 200:
            return ()
        try:
            listed = _decode_models(answer[1])
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ()
        models = listed if isinstance(listed, list) else listed.data
        return tuple(model.id for model in models)


def chunk_of(data: bytes) -> ResponseChunk | None:
    """Turn the data of one event of a chat into a piece; `None` if it has none."""
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


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


#: Some providers leave out the object around the list.
_decode_models = msgspec.json.Decoder(_Models | list[_Model]).decode


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
