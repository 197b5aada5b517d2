"""Whether a provider has not understood how it was asked, so that the request is put otherwise.

What was not understood is remembered for the provider, and not tried again: a wish for
usage in streams, an endpoint of a dialect that it does not speak, a content coding.
Reasoning that another account has encrypted is left out.
"""

import msgspec

from apikeyrouter.dialects.openai_responses.sealed import FOREIGN, without_reasoning
from apikeyrouter.dialects.streams.content_coding import unpacked
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse

_BAD_REQUEST = 400
_REASONING = "input.encrypted_content"
#: How a field that is not known is refused.
_UNKNOWN_FIELD = (400, 422)
#: How a body is refused that cannot be read, and in which words: its JSON was read here.
_UNREAD = (400, 422)
_UNSUPPORTED = 415
_OF_READING = (b"encoding", b"compress", b"json", b"utf", b"decod", b"pars", b"malformed")
#: How a path is refused that there is not: by a router, by a gateway.
_UNKNOWN_PATH = (404, 405, 501)
#: Words of those who know the path, and lack something that the request names.
_OF_SOMETHING_ELSE = (b"model", b"resp_", b"previous_response", b"conv_", b"deployment")


async def is_to_be_reworded(
    attempt: Attempt, adapter: WireAdapter, request: WireRequest, response: WireResponse
) -> bool:
    """Tell whether the request is to be built and sent once more; it comes out otherwise then."""
    endpoint = attempt.demand.endpoint
    if request.endpoint == endpoint and adapter.is_trying(endpoint):
        lacks_path = await _lacks_path(response)
        # Some are refused for other reasons before anybody looks for the path.
        if lacks_path or 200 <= response.status < 300:
            attempt.note_tried(is_spoken=not lacks_path)
        return not attempt.is_native
    if request.endpoint == endpoint and not attempt.is_native:
        # Another request has shown it meanwhile.
        return await _lacks_path(response)
    if request.asks_usage and await _refuses_usage(response):
        adapter.stop_asking_usage(attempt.model)
        return True
    return False


async def readable(
    adapter: WireAdapter, request: WireRequest, response: WireResponse
) -> WireRequest | None:
    """Return what is to be sent to whom cannot read all of *request*.

    Returns:
        The same unpacked, or without reasoning that another account has encrypted; `None`
        where it was refused for another reason.
    """
    coding = request.headers.get("content-encoding", "").lower()
    if coding and await _refuses_packed(response):
        adapter.stop_packing(coding)
        return await _plain(request, coding)
    if response.status != _BAD_REQUEST or FOREIGN not in await _words_of(response):
        return None
    body = without_reasoning(request.body)
    if body is None:
        return None
    left_out = (*request.left_out, _REASONING)
    return msgspec.structs.replace(request, body=body, left_out=left_out)


async def _plain(request: WireRequest, coding: str) -> WireRequest | None:
    body = await unpacked(request.body, coding)
    if body is None or body is request.body:
        return None
    headers = {name: value for name, value in request.headers.items() if name != "content-encoding"}
    return msgspec.structs.replace(request, body=body, headers=headers)


async def _refuses_usage(response: WireResponse) -> bool:
    """Tell whether a provider does not understand that usage is asked for in a stream."""
    return response.status in _UNKNOWN_FIELD and b"stream_options" in await _words_of(response)


async def _refuses_packed(response: WireResponse) -> bool:
    """Tell whether a provider cannot unpack a request."""
    if response.status == _UNSUPPORTED:
        return True
    if response.status not in _UNREAD:
        return False
    words = (await _words_of(response)).lower()
    return any(word in words for word in _OF_READING)


async def _lacks_path(response: WireResponse) -> bool:
    """Tell whether there is nothing at the path, whatever the model."""
    if response.status not in _UNKNOWN_PATH:
        return False
    words = (await _words_of(response)).lower()
    return not any(word in words for word in _OF_SOMETHING_ELSE)


async def _words_of(response: WireResponse) -> bytes:
    body = await unpacked(await response.read(), response.headers.get("content-encoding"))
    return body or b""
