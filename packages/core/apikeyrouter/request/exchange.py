"""One attempt over the wire: send, judge the head, read or hand over the body.

A failure before the first byte reaches a client ends the attempt, and the loop
goes on; after it the stream itself has to tell.
"""

from collections.abc import Callable

import msgspec

from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter.domain.models.wire import Headers, WireRequest, WireResponse
from apikeyrouter.infrastructure.adapters.error_classification import classify_embedded
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS
from apikeyrouter.infrastructure.adapters.usage_tap import BlindTap, StreamTap, read_usage
from apikeyrouter.request.deadline import Deadline
from apikeyrouter.request.metered_stream import MeteredStream, settle_at

_EVENT_STREAM = "text/event-stream"
#: Kinds of answers that are no stream though one was asked for.
_WHOLE = ("application/json", "text/html", "text/plain")
#: So much of a beginning is read on for, when it may be an error cut in two.
_LONGEST_ERROR_BYTES = 2**14
_TOO_SHORT_TO_TELL = 64
#: What is shorter is no secret that a body could repeat by more than chance.
_SHORTEST_SECRET = 6


class Answer(msgspec.Struct, eq=False):
    """What a provider answered in the end.

    Attributes:
        body: All of it, or empty when `stream` has it.
        stream: To be iterated to its end, or closed.
        failure: Why the last attempt failed; the body is the provider's words then.
    """

    status: int
    raw_headers: tuple[tuple[bytes, bytes], ...]
    attempt: Attempt
    body: bytes = b""
    stream: MeteredStream | None = None
    failure: Failure | None = None


async def exchange(
    attempt: Attempt,
    request_for: Callable[[Attempt], WireRequest],
    *,
    deadline: float,
    withhold_usage: bool = False,
) -> Answer | None:
    """Make one call; the attempt has ended unless the answer streams.

    Args:
        request_for: Builds the outgoing request; what it raises ends the attempt unsent.
        deadline: The loop's time at which the call is given up.
        withhold_usage: Keep back the usage event that we asked for ourselves.

    Returns:
        The answer, or `None` when none came.
    """
    adapter = attempt.provider.adapter
    limit = Deadline(deadline)
    request: WireRequest | None = None
    response: WireResponse | None = None
    try:
        request = request_for(attempt)
        assert isinstance(adapter, WireAdapter)  # noqa: S101 - no other has requests built for it
        with limit:
            response = await adapter.send(request, attempt.slot.secret)
            if 200 <= response.status < 300:
                return await _accept(attempt, adapter, response, deadline, withhold_usage)
            return await _refused(attempt, adapter, response)
    except TRANSPORT_ERRORS as error:
        assert isinstance(adapter, WireAdapter)  # noqa: S101 - it has sent something
        failure = attempt.out_of_time() if limit.is_over else adapter.classify_exception(error)
        attempt.fail(failure)
        return None
    finally:
        # Whatever ended this early (a client that left is a cancellation) settles the hold.
        if attempt.is_open and not attempt.is_streaming:
            attempt.cancel(sent=request is not None)
        if response is not None and not attempt.is_streaming:
            response.close()


async def _accept(
    attempt: Attempt,
    adapter: WireAdapter,
    response: WireResponse,
    deadline: float,
    withhold_usage: bool,
) -> Answer | None:
    if _is_stream(response.content_type, attempt.demand.stream):
        return await _begin_stream(attempt, adapter, response, deadline, withhold_usage)
    body = await response.read()
    usage = read_usage(body)
    if usage is None:
        failure = _failure_in(adapter, response, body, attempt.wall())
        if failure is not None:
            attempt.fail(failure)
            return Answer(response.status, response.raw_headers, attempt, body, failure=failure)
    _note_answer(attempt, adapter, response.headers, attempt.now())
    settle_at(attempt, usage)
    return Answer(response.status, response.raw_headers, attempt, body)


def _is_stream(content_type: str, is_asked_for: bool) -> bool:
    kind = content_type.lower()
    return kind.startswith(_EVENT_STREAM) or (is_asked_for and not kind.startswith(_WHOLE))


def _failure_in(
    adapter: WireAdapter, response: WireResponse, body: bytes, now: float
) -> Failure | None:
    """Find what failed though the status says that all is well."""
    if not body:
        return Failure(FailureClass.SERVER_ERROR, "the provider answered with nothing", 502)
    if response.content_type.lower().startswith("text/html"):
        return Failure(FailureClass.SERVER_ERROR, "the provider answered with a page", 502)
    return classify_embedded(adapter.kind, body, now) if b'"error"' in body else None


async def _begin_stream(
    attempt: Attempt,
    adapter: WireAdapter,
    response: WireResponse,
    deadline: float,
    withhold_usage: bool,
) -> Answer | None:
    chunks = response.chunks
    try:
        first = await chunks.__anext__()
        while _may_be_half_an_error(first):
            first += await chunks.__anext__()
    except StopAsyncIteration:
        attempt.fail(Failure(FailureClass.NETWORK, "the stream ended before its first event"))
        return None
    now = attempt.now()
    if b'"error"' in first:
        failure = classify_embedded(adapter.kind, first, attempt.wall())
        if failure is not None:
            attempt.fail(failure)
            return Answer(response.status, response.raw_headers, attempt, first, failure=failure)
    _note_answer(attempt, adapter, response.headers, now)
    is_packed = response.headers.get("content-encoding", "identity").lower() != "identity"
    tap = BlindTap() if is_packed else StreamTap(withhold_usage=withhold_usage)
    stream = MeteredStream(attempt, response, first=first, tap=tap, deadline=deadline)
    attempt.is_streaming = True
    return Answer(response.status, response.raw_headers, attempt, stream=stream)


def _may_be_half_an_error(first: bytes) -> bool:
    """Tell whether the beginning of a stream is no whole event yet and may become an error.

    No client can read half an event, so that nothing is delayed by waiting for the rest.
    """
    if b"\n\n" in first or b"\n\r\n" in first or len(first) > _LONGEST_ERROR_BYTES:
        return False
    return len(first) < _TOO_SHORT_TO_TELL or b'"error"' in first


def _note_answer(attempt: Attempt, adapter: WireAdapter, headers: Headers, now: float) -> None:
    if attempt.wants_limits(now):
        attempt.answered(
            adapter.read_limits(headers, attempt.wall()), adapter.read_account(headers)
        )
    else:
        attempt.answered()


async def _refused(attempt: Attempt, adapter: WireAdapter, response: WireResponse) -> Answer:
    body = _without_secret(await response.read(), attempt.slot.secret)
    failure = adapter.classify(response.status, response.headers, body, attempt.wall())
    attempt.fail(failure)
    return Answer(response.status, response.raw_headers, attempt, body, failure=failure)


def _without_secret(body: bytes, secret: str) -> bytes:
    """Return a refusal's body without our credential, which some providers repeat in it."""
    if len(secret) < _SHORTEST_SECRET:
        return body
    return body.replace(secret.encode(), b"[masked]")
