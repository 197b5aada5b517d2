"""A 2xx answer is judged before it counts as one: it may be an error in odd clothes.

A whole body is judged at once, a stream by its beginning, which is held back until
a piece carries something. Until then another provider can take over.
"""

import msgspec

from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.interfaces.wire import Headers, WireResponse
from apikeyrouter.infrastructure.adapters.errors.error_bodies import decode
from apikeyrouter.infrastructure.adapters.errors.error_classification import classify_embedded
from apikeyrouter.infrastructure.adapters.streams.content_coding import (
    BlindTap,
    PackedTap,
    is_plain,
    unpacked,
    unpacker_of,
)
from apikeyrouter.infrastructure.adapters.streams.stream_head import Form, Verdict
from apikeyrouter.infrastructure.adapters.streams.usage_tap import StreamTap, read_body
from apikeyrouter.request.held_head import HeldHead
from apikeyrouter.request.metered_stream import MeteredStream, settle_at

_EVENT_STREAM = "text/event-stream"
#: Kinds of answers that are no stream though one was asked for.
_WHOLE = ("application/json", "text/html", "text/plain")
#: Whose streams are chunks with choices, whatever they are labelled as.
_CHUNKED = frozenset({"chat/completions", "completions"})
#: Whose whole answers are JSON objects.
_JSON = _CHUNKED | {"embeddings"}
_BAD_GATEWAY = 502

RawHeaders = tuple[tuple[bytes, bytes], ...]


class Answer(msgspec.Struct, eq=False):
    """What a provider answered in the end.

    Attributes:
        body: All of it, or empty when `stream` has it.
        stream: To be iterated to its end, or closed.
        failure: Why the last attempt failed; the body is the provider's words then.
    """

    status: int
    raw_headers: RawHeaders
    attempt: Attempt
    body: bytes = b""
    stream: MeteredStream | None = None
    failure: Failure | None = None


async def accept(
    attempt: Attempt,
    adapter: WireAdapter,
    response: WireResponse,
    *,
    deadline: float,
    withhold_usage: bool,
) -> Answer:
    """Judge an answer that says it is fine.

    Args:
        deadline: The loop's time at which a stream is given up.
        withhold_usage: Keep back the usage event of a stream.

    Returns:
        The answer; its attempt has ended, well or badly, unless it streams.
    """
    if not _may_stream(attempt, response.content_type):
        return _accept_whole(attempt, adapter, response, await response.read())
    head = HeldHead(response, is_chunked=attempt.demand.endpoint in _CHUNKED)
    await head.read()
    if head.form is Form.WHOLE:
        return _accept_whole(attempt, adapter, response, await head.rest())
    failure = _failure_of_head(adapter, head, attempt.wall())
    if failure is not None:
        return _failed(attempt, response, failure)
    _note_answer(attempt, adapter, response.headers)
    stream = MeteredStream(
        attempt, response,
        first=head.raw, tap=_tap_for(response.headers, head, withhold_usage),
        deadline=deadline, stall_s=adapter.stall_timeout_s,
    )  # fmt: skip
    attempt.is_streaming = True
    return Answer(response.status, response.raw_headers, attempt, stream=stream)


def without_coding(headers: RawHeaders) -> RawHeaders:
    """Return the headers of a body that was unpacked."""
    return tuple(pair for pair in headers if pair[0].lower() != b"content-encoding")


def _may_stream(attempt: Attempt, content_type: str) -> bool:
    kind, demand = content_type.lower(), attempt.demand
    if kind.startswith(_EVENT_STREAM):
        return True
    return demand.stream and (demand.endpoint in _CHUNKED or not kind.startswith(_WHOLE))


def _accept_whole(
    attempt: Attempt, adapter: WireAdapter, response: WireResponse, body: bytes
) -> Answer:
    plain = unpacked(body, response.headers.get("content-encoding"))
    usage = None
    if plain is not None:
        usage, is_fine = read_body(plain)
        if not is_fine:
            failure = _failure_in(attempt, adapter, response.content_type, plain)
            if failure is not None:
                return _failed(attempt, response, failure, plain)
    _note_answer(attempt, adapter, response.headers, is_whole=True)
    settle_at(attempt, usage)
    return Answer(response.status, response.raw_headers, attempt, body)


def _failed(
    attempt: Attempt, response: WireResponse, failure: Failure, body: bytes = b""
) -> Answer:
    """End the attempt; the body is kept where it is an error in the usual shape."""
    attempt.fail(failure)
    words = body if b'"error"' in body else b""
    status = failure.status or _BAD_GATEWAY
    return Answer(status, without_coding(response.raw_headers), attempt, words, failure=failure)


def _failure_in(
    attempt: Attempt, adapter: WireAdapter, content_type: str, body: bytes
) -> Failure | None:
    """Find what failed though the status says that all is well."""
    if not body.strip():
        return _empty("the provider answered with nothing")
    if content_type.lower().startswith("text/html"):
        return _empty("the provider answered with a page")
    if attempt.demand.endpoint in _JSON and decode(body) is None:
        return _empty("the provider answered with text that is no JSON")
    return classify_embedded(adapter.kind, body, attempt.wall())


def _failure_of_head(adapter: WireAdapter, head: HeldHead, now: float) -> Failure | None:
    if head.verdict is Verdict.FAILED:
        found = classify_embedded(adapter.kind, head.failed_event, now)
        return found or _empty("the stream began with an error")
    if head.form is Form.TEXT:
        return _empty("the provider answered with text that is no stream")
    if head.is_empty:
        return _empty("the stream ended before it carried anything")
    return None


def _empty(message: str) -> Failure:
    return Failure(FailureClass.SERVER_ERROR, message, _BAD_GATEWAY)


def _tap_for(headers: Headers, head: HeldHead, withhold_usage: bool) -> StreamTap | BlindTap:
    encoding = headers.get("content-encoding")
    if is_plain(encoding):
        return StreamTap(withhold_usage=withhold_usage)
    unpacker = None if head.is_blind else unpacker_of(encoding or "")
    return PackedTap(unpacker) if unpacker is not None else BlindTap()


def _note_answer(
    attempt: Attempt, adapter: WireAdapter, headers: Headers, *, is_whole: bool = False
) -> None:
    if attempt.wants_limits(attempt.now()):
        limits = adapter.read_limits(headers, attempt.wall())
        attempt.answered(limits, adapter.read_account(headers), is_whole=is_whole)
    else:
        attempt.answered()
