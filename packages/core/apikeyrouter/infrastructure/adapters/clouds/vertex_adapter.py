"""Claude at Vertex: Anthropic's bodies without the model, which the path names."""

from urllib.parse import quote

import msgspec

from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.streams.unpacking import unpack, unpacker_of
from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse
from apikeyrouter.infrastructure.adapters.anthropic_adapter import AnthropicAdapter

#: Of bodies that name none: Vertex looks for it nowhere else.
_VERSION = b'"vertex-2023-10-16"'
_MESSAGES, _COUNTS = "messages", "messages/count_tokens"
_COUNTER = "count-tokens"
_TRUE = b"true"
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class VertexAdapter(AnthropicAdapter):
    """Anthropic's models of one project and location of Google Cloud.

    Arguments are those of `HttpAdapter`; the base URL ends with `/publishers/anthropic`. A key's
    secret is an access token.
    """

    kind = "vertex"

    async def send(self, request: WireRequest, secret: str) -> WireResponse:
        """Send *request* with *secret*, where it asks for messages as a prediction.

        Raises:
            BadBodyError: It asks for messages, and is no JSON object.
        """
        if request.endpoint in (_MESSAGES, _COUNTS):
            request = await _prediction_of(request)
        return await super().send(request, secret)


async def _prediction_of(request: WireRequest) -> WireRequest:
    """Return *request* with its model in the path; values of the body stay as they are."""
    headers = dict(request.headers)
    body = request.body
    try:
        if unpacker := unpacker_of(headers.pop("content-encoding", "")):
            # Whoever let it in has bounded what it unpacks to.
            body = await unpack(body, unpacker, lambda _: None)
        members = _read_members(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadBodyError(f"the body is not a JSON object: {error}") from None
    members.setdefault("anthropic_version", msgspec.Raw(_VERSION))
    if request.endpoint == _COUNTS:
        model, verb = _COUNTER, "rawPredict"
    else:
        told = members.pop("model", None)
        model = request.model or _text_in(told)
        is_stream = bytes(members.get("stream", b"")) == _TRUE
        verb = "streamRawPredict" if is_stream else "rawPredict"
    return msgspec.structs.replace(
        request,
        path=f"models/{quote(model, safe='@')}:{verb}",
        body=msgspec.json.encode(members),
        headers=headers,
        query="",
    )


def _text_in(told: msgspec.Raw | None) -> str:
    try:
        return msgspec.json.decode(told, type=str) if told is not None else ""
    except msgspec.DecodeError:
        return ""
