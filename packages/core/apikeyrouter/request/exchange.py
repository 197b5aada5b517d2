"""One attempt over the wire: send, then read a refusal or accept an answer.

A failure before the first byte reaches a client ends the attempt, and the loop
goes on; after it the stream itself has to tell.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from apikeyrouter.dialects.catalogue import DIALECTS, dialect_of
from apikeyrouter.dialects.conversation import UntranslatableError
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.streams.content_coding import unpacked
from apikeyrouter.dialects.translation import Translation, Translations
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.provider_adapter import FIRST_TOKEN_TIMEOUT_S, WireAdapter
from apikeyrouter.domain.interfaces.wire import WireRequest, WireResponse
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS
from apikeyrouter.request.acceptance import Answer, Arrival, accept, without_coding
from apikeyrouter.request.deadline import Deadline
from apikeyrouter.request.rewording import is_to_be_reworded, readable

__all__ = ["Answer", "Sender", "exchange"]

#: Sends the request of an attempt; the caller closes the answer.
Sender = Callable[[Attempt, WireAdapter, WireRequest], Awaitable[WireResponse]]

#: What is shorter is no secret that a body could repeat by more than chance.
_SHORTEST_SECRET = 6
_BAD_REQUEST = 400
#: How an object, a path or a method is refused that there is not.
_NOT_THERE = (404, 405, 501)
#: What a refusal means stands in its head and its first words; nobody waits for the rest for long.
_WORDS_WITHIN_S = 2.0
_MOST_WORDS_BYTES = 2**24


async def exchange(
    attempt: Attempt,
    request_for: Callable[[Attempt], WireRequest],
    *,
    deadline: float,
    withhold_usage: bool = False,
    translations: Translations | None = None,
    send: Sender | None = None,
) -> Answer | None:
    """Make one call; the attempt has ended unless the answer streams.

    Args:
        request_for: Builds the outgoing request; what it raises ends the attempt unsent.
            It is asked again when a provider does not understand how it was asked.
        deadline: The loop's time at which the call is given up.
        withhold_usage: Keep back the usage event that we asked for ourselves.
        translations: Of this request, where a provider speaks another dialect.
        send: Sends otherwise than by a request over HTTP.

    Returns:
        The answer, or `None` when none came.
    """
    adapter, send = attempt.provider.wire, send or _send
    limit = Deadline(_given_up_at(attempt, deadline))
    request: WireRequest | None = None
    translation: Translation | None = None
    response: WireResponse | None = None
    try:
        request, translation = _outgoing(attempt, request_for, translations)
        assert adapter is not None  # noqa: S101 - no other has requests built for it
        with limit:
            response = _bounded(await send(attempt, adapter, request))
            while _may_be_misunderstood(attempt, adapter, response):
                plainer = await readable(adapter, request, response)
                if plainer is not None:
                    request = plainer
                elif await is_to_be_reworded(attempt, adapter, request, response):
                    withhold_usage = withhold_usage and not request.asks_usage
                    request, translation = _outgoing(attempt, request_for, translations)
                else:
                    break
                response.close()
                response = _bounded(await send(attempt, adapter, request))
            if 200 <= response.status < 300:
                endpoint = request.endpoint
                arrival = Arrival(
                    attempt, adapter, response, dialect_of(endpoint), endpoint, translation
                )
                answer = await accept(arrival, deadline=deadline, withhold_usage=withhold_usage)
                answer.left_out = request.left_out
                return answer
            return await _refused(attempt, adapter, response, translation)
    except (UntranslatableError, BadBodyError) as error:
        return _untranslated(attempt, error)
    except TRANSPORT_ERRORS as error:
        assert adapter is not None  # noqa: S101 - it has sent something
        failure = adapter.classify_exception(error)
        attempt.fail(_overdue(attempt, deadline) if limit.is_over else failure)
        return None
    finally:
        # Whatever ended this early (a client that left is a cancellation) settles the hold.
        if attempt.is_open and not attempt.is_streaming:
            attempt.cancel(sent=request is not None)
        if response is not None and not attempt.is_streaming:
            response.close()


async def _send(attempt: Attempt, adapter: WireAdapter, request: WireRequest) -> WireResponse:
    return await adapter.send(request, attempt.slot.secret)


class _Words:
    """The body of a refusal: read once, and no further than it takes to know what it means.

    Attributes:
        error: Why it is not whole; `None` if it is, or was cut because it is too long.
    """

    def __init__(self, response: WireResponse) -> None:
        self._chunks = response.chunks
        self._pieces: list[bytes] | None = None
        self.error: Exception | None = None

    async def __call__(self) -> bytes:
        """Return what has come of it; asked again, the same."""
        if self._pieces is None:
            self._pieces = []
            try:
                with Deadline(asyncio.get_running_loop().time() + _WORDS_WITHIN_S):
                    await self._gather(self._pieces)
            except TRANSPORT_ERRORS as error:
                self.error = error
        return b"".join(self._pieces)

    async def _gather(self, pieces: list[bytes]) -> None:
        size = 0
        async for piece in self._chunks:
            size += len(piece)
            if size > _MOST_WORDS_BYTES:
                # In parts they would be no JSON, and an error in its own words is none either.
                pieces.clear()
                return
            pieces.append(piece)


def _bounded(response: WireResponse) -> WireResponse:
    """Return the answer as it is; but the body of a refusal is waited for only so long."""
    if response.status >= 300:
        response.read = _Words(response)
    return response


def _given_up_at(attempt: Attempt, deadline: float) -> float:
    """Return when the first token of a stream is overdue, or else the whole answer."""
    adapter = attempt.provider.wire
    if not attempt.demand.stream or adapter is None:
        return deadline
    patience_s = adapter.first_token_timeout_s
    if patience_s is None:
        health = attempt.grant.candidate.health
        patience_s = health.first_token_timeout_s(FIRST_TOKEN_TIMEOUT_S)
    return min(deadline, asyncio.get_running_loop().time() + patience_s)


def _may_be_misunderstood(attempt: Attempt, adapter: WireAdapter, response: WireResponse) -> bool:
    """Tell whether the answer is to be looked at for that; a fine one rarely is."""
    return response.status >= 300 or adapter.is_trying(attempt.demand.endpoint)


def _overdue(attempt: Attempt, deadline: float) -> Failure:
    if asyncio.get_running_loop().time() >= deadline:
        return attempt.out_of_time()
    lasted_s = attempt.now() - attempt.started_at
    return Failure(FailureClass.TIMEOUT, f"no first token within {lasted_s:.1f} s")


def _outgoing(
    attempt: Attempt,
    request_for: Callable[[Attempt], WireRequest],
    translations: Translations | None,
) -> tuple[WireRequest, Translation | None]:
    """Return the request in a dialect that the provider speaks, and the way back if it is another.

    Raises:
        BadBodyError, UntranslatableError: It cannot be said in the provider's dialect.
    """
    request = request_for(attempt)
    request.model = attempt.model
    adapter = attempt.provider.wire
    if translations is None or adapter is None or attempt.is_native:
        return request, None
    translation = translations.translate(
        request, DIALECTS[adapter.dialects[0]],
        model=attempt.model, stream=attempt.demand.stream,
        asks_usage=adapter.asks_usage(attempt.model),
    )  # fmt: skip
    return translation.request, translation


def _untranslated(attempt: Attempt, error: UntranslatableError | BadBodyError) -> Answer:
    failure = Failure(FailureClass.UNTRANSLATABLE, str(error), code="untranslatable")
    attempt.fail(failure)
    return Answer(_BAD_REQUEST, (), attempt, failure=failure)


async def _refused(
    attempt: Attempt,
    adapter: WireAdapter,
    response: WireResponse,
    translation: Translation | None,
) -> Answer:
    words, raw_headers = response.read, response.raw_headers
    body = await words()
    plain = await unpacked(body, response.headers.get("content-encoding"))
    if plain is not None and plain is not body:
        body, raw_headers = plain, without_coding(raw_headers)
    body = _without_secret(body, attempt.slot.secret)
    failure = adapter.classify(response.status, response.headers, body, attempt.wall())
    if isinstance(words, _Words) and words.error is not None:
        body = b""
        if failure.kind.is_fault_of_request:
            failure = adapter.classify_exception(words.error)
    if not attempt.demand.model:
        failure = _of_object(failure)
    attempt.fail(failure)
    return Answer(
        response.status, raw_headers, attempt, body, failure=failure, translation=translation,
        left_out=translation.dropped if translation is not None else (),
    )  # fmt: skip


def _of_object(failure: Failure) -> Failure:
    """Read a refusal where no model is used: it is about an object, and no key's fault."""
    if failure.status in _NOT_THERE:
        return replace(failure, kind=FailureClass.NOT_FOUND)
    if failure.kind is FailureClass.CONFLICT:
        return replace(failure, kind=FailureClass.BAD_REQUEST)
    return failure


def _without_secret(body: bytes, secret: str) -> bytes:
    """Return a refusal's body without our credential, which some providers repeat in it."""
    if len(secret) < _SHORTEST_SECRET:
        return body
    return body.replace(secret.encode(), b"[masked]")
