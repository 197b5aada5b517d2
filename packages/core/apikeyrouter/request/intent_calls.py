"""One attempt for an intent: the request that an adapter makes of it, and the answer read back."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from apikeyrouter.dialects.streams.sse import data_of_events
from apikeyrouter.dialects.translation import Translations
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.domain.models.request_intent import RequestIntent
from apikeyrouter.domain.models.system_response import ResponseChunk, SystemResponse
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.adapters.errors.error_classification import classify_embedded
from apikeyrouter.infrastructure.adapters.http_adapter import system_error_of
from apikeyrouter.infrastructure.adapters.intent_adapter import chunk_of, response_of
from apikeyrouter.request.custom_adapter import call_adapter, complete
from apikeyrouter.request.exchange import Answer, exchange


async def answer_whole(
    attempt: Attempt, intent: RequestIntent, deadline: float, translations: Translations
) -> SystemResponse | None:
    """Make one call for a whole answer; the attempt has ended.

    Args:
        deadline: The loop's time at which the call is given up.
        translations: Of this intent, where a provider speaks another dialect.

    Returns:
        The answer, or `None` when another key may be tried.
    """
    adapter = attempt.provider.adapter
    wanted = _for_model(intent, attempt.model)
    if not isinstance(adapter, WireAdapter):
        return await call_adapter(attempt, adapter, wanted, deadline)
    answer = await exchange(
        attempt, lambda attempt: _request_of(wanted, attempt, adapter),
        deadline=deadline, translations=translations,
    )  # fmt: skip
    if answer is None or answer.failure is not None:
        return None
    if answer.stream is not None:
        why = "the provider streamed an answer that should have come whole"
        answer.stream.reject(Failure(FailureClass.SERVER_ERROR, why, 502))
        return None
    if answer.translation is None:
        return complete(adapter.normalize_response(answer.body), attempt)
    return complete(response_of(msgspec.json.decode(answer.body)), attempt)


def stream_request_for(intent: RequestIntent) -> Callable[[Attempt], WireRequest]:
    """Return what builds the request of each attempt for a stream; it asks for usage if it can."""
    streamed = _with(intent, stream=True)

    def request_for(attempt: Attempt) -> WireRequest:
        adapter, wanted = _wire_adapter_of(attempt), _for_model(streamed, attempt.model)
        if not attempt.is_native:
            return _request_of(wanted, attempt, adapter)
        if "stream_options" in intent.parameters or not attempt.asks_usage:
            return adapter.prepare(wanted)
        request = adapter.prepare(_with(wanted, stream_options={"include_usage": True}))
        request.asks_usage = True
        return request

    return request_for


async def chunks_of(answer: Answer) -> AsyncGenerator[ResponseChunk, None]:
    """Yield the pieces of a stream, and close it.

    Raises:
        SystemError: The provider failed it, at once or midway.
    """
    if answer.failure is not None or answer.stream is None:
        raise system_error_of(answer.failure or Failure(FailureClass.SERVER_ERROR, "no stream"))
    adapter = _wire_adapter_of(answer.attempt)
    read = adapter.normalize_chunk if answer.translation is None else chunk_of
    failure: Failure | None = None
    try:
        async for data in data_of_events(answer.stream):
            # What follows an error is read to its end, so that the attempt ends as it should.
            if failure is None and b'"error"' in data:
                failure = classify_embedded(adapter.kind, data, answer.attempt.wall())
            chunk = read(data) if failure is None else None
            if chunk is not None:
                yield chunk
    finally:
        answer.stream.close()
    if failure is not None:
        raise system_error_of(failure)


def _request_of(intent: RequestIntent, attempt: Attempt, adapter: WireAdapter) -> WireRequest:
    """Return the request for *intent*; for a provider of another dialect what is translated."""
    if attempt.is_native:
        return adapter.prepare(intent)
    return WireRequest("chat/completions", intent.encoded())


def _for_model(intent: RequestIntent, model: str) -> RequestIntent:
    return intent if intent.model == model else intent.model_copy(update={"model": model})


def _with(intent: RequestIntent, **parameters: Any) -> RequestIntent:
    return intent.model_copy(update={"parameters": {**intent.parameters, **parameters}})


def _wire_adapter_of(attempt: Attempt) -> WireAdapter:
    adapter = attempt.provider.adapter
    if not isinstance(adapter, WireAdapter):
        raise ConfigurationError(
            f"provider '{attempt.provider.id}' cannot stream: its adapter passes no bytes"
        )
    return adapter
