"""One attempt over the wire: send, judge the head, read or hand over the body.

A failure before the first byte reaches a client ends the attempt, and the loop
goes on; after it the stream itself has to tell.
"""

from dataclasses import dataclass

from apikeyrouter.deadline import Deadline
from apikeyrouter.domain.components.attempt import Attempt
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter.domain.models.wire import Headers, WireRequest, WireResponse
from apikeyrouter.infrastructure.adapters.error_classification import classify_embedded
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS
from apikeyrouter.infrastructure.adapters.usage_tap import StreamTap, read_usage
from apikeyrouter.metering import MeteredStream, settle_at

_EVENT_STREAM = "text/event-stream"


@dataclass(slots=True)
class Answer:
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
    request: WireRequest,
    *,
    deadline: float,
    withhold_usage: bool = False,
) -> Answer | None:
    """Make one call; the attempt has ended unless the answer streams.

    Args:
        deadline: The loop's time at which the call is given up.
        withhold_usage: Keep back the usage event that we asked for ourselves.

    Returns:
        The answer, or `None` when none came.
    """
    adapter = attempt.provider.adapter
    assert isinstance(adapter, WireAdapter)  # noqa: S101 - only such providers come here
    response: WireResponse | None = None
    try:
        with Deadline(deadline):
            response = await adapter.send(request, attempt.slot.secret)
            if 200 <= response.status < 300:
                return await _accept(attempt, adapter, response, deadline, withhold_usage)
            return await _refused(attempt, adapter, response)
    except TRANSPORT_ERRORS as error:
        attempt.fail(adapter.classify_exception(error))
        return None
    finally:
        # Whatever ended this early (a client that left is a cancellation) settles the hold.
        if attempt.is_open and not attempt.is_streaming:
            attempt.cancel()
        if response is not None and not attempt.is_streaming:
            response.close()


async def _accept(
    attempt: Attempt,
    adapter: WireAdapter,
    response: WireResponse,
    deadline: float,
    withhold_usage: bool,
) -> Answer | None:
    if response.content_type.startswith(_EVENT_STREAM):
        return await _begin_stream(attempt, adapter, response, deadline, withhold_usage)
    body = await response.read()
    _note_answer(attempt, adapter, response.headers, attempt.now())
    settle_at(attempt, read_usage(body))
    return Answer(response.status, response.raw_headers, attempt, body)


async def _begin_stream(
    attempt: Attempt,
    adapter: WireAdapter,
    response: WireResponse,
    deadline: float,
    withhold_usage: bool,
) -> Answer | None:
    try:
        first = await response.chunks.__anext__()
    except StopAsyncIteration:
        attempt.fail(Failure(FailureClass.NETWORK, "the stream ended before its first byte"))
        return None
    now = attempt.now()
    if b'"error"' in first:
        failure = classify_embedded(adapter.kind, first, now)
        if failure is not None:
            attempt.fail(failure)
            return Answer(response.status, response.raw_headers, attempt, first, failure=failure)
    headers = response.headers
    _note_answer(attempt, adapter, headers, now)
    tap = StreamTap(withhold_usage=withhold_usage)
    stream = MeteredStream(attempt, response, first=first, tap=tap, deadline=deadline)
    attempt.is_streaming = True
    return Answer(response.status, response.raw_headers, attempt, stream=stream)


def _note_answer(attempt: Attempt, adapter: WireAdapter, headers: Headers, now: float) -> None:
    if attempt.wants_limits(now):
        attempt.answered(adapter.read_limits(headers, now), adapter.read_account(headers))
    else:
        attempt.answered()


async def _refused(attempt: Attempt, adapter: WireAdapter, response: WireResponse) -> Answer:
    body = await response.read()
    failure = adapter.classify(response.status, response.headers, body, attempt.now())
    attempt.fail(failure)
    return Answer(response.status, response.raw_headers, attempt, body, failure=failure)
