"""A 2xx answer is judged before it counts as one: it may be an error in odd clothes.

A whole body is judged at once, a stream by its beginning, which is held back until
a piece carries something. Until then another provider can take over.
"""

import msgspec

from apikeyrouter.dialects.catalogue import RAW
from apikeyrouter.dialects.dialect import BadBodyError, Dialect, Tap, Verdict
from apikeyrouter.dialects.streams.content_coding import (
    BlindTap,
    OpaqueTap,
    PackedTap,
    is_plain,
    unpacked,
)
from apikeyrouter.dialects.streams.stream_head import Form
from apikeyrouter.dialects.streams.unpacking import unpacker_of
from apikeyrouter.dialects.translation import Translation
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.interfaces.wire import WireResponse
from apikeyrouter.domain.key_material import masked_in
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.infrastructure.adapters.errors.error_bodies import decode
from apikeyrouter.infrastructure.adapters.errors.error_classification import classify_embedded
from apikeyrouter.request.held_head import HeldHead
from apikeyrouter.request.metered_stream import MeteredStream, settle_at

_EVENT_STREAM = "text/event-stream"
#: Kinds of answers that are no stream though one was asked for.
_WHOLE = ("application/json", "text/html", "text/plain")
_BAD_GATEWAY = 502

RawHeaders = tuple[tuple[bytes, bytes], ...]


class Answer(msgspec.Struct, eq=False):
    """What a provider answered in the end.

    Attributes:
        body: All of it, or empty when `stream` has it.
        stream: To be iterated to its end, or closed.
        failure: Why the last attempt failed; the body is the provider's words then.
        translation: How it was read, where the provider speaks another dialect than its client;
            the body of a failure is in the provider's.
        left_out: What of the request it does not answer, by names of the client's dialect.
        is_opaque: Nothing is read of the stream, and nothing can be told in it.
    """

    status: int
    raw_headers: RawHeaders
    attempt: Attempt
    body: bytes = b""
    stream: MeteredStream | None = None
    failure: Failure | None = None
    translation: Translation | None = None
    left_out: tuple[str, ...] = ()
    is_opaque: bool = False


class Arrival(msgspec.Struct, eq=False):
    """An answer whose head has come and says that it is fine.

    Attributes:
        dialect: Of the answer.
        endpoint: That was asked, in that dialect.
        translation: Turns it into the client's dialect, if that is another.
    """

    attempt: Attempt
    adapter: WireAdapter
    response: WireResponse
    dialect: Dialect
    endpoint: str
    translation: Translation | None = None

    @property
    def is_chunked(self) -> bool:
        """Whether a stream of it would be chunks that the dialect can judge."""
        return self.endpoint in self.dialect.chunked

    @property
    def encoding(self) -> str | None:
        """Its `Content-Encoding`."""
        return self.response.headers.get("content-encoding")

    @property
    def stall_s(self) -> float:
        """How long a stream of it may be silent."""
        usual_s = self.adapter.stall_timeout_s
        if not self.adapter.learns_stall:
            return usual_s
        return self.attempt.grant.candidate.health.stall_timeout_s(usual_s)

    def may_stream(self) -> bool:
        """Tell whether it may be a stream, whatever it is labelled as."""
        kind = self.response.content_type.lower()
        if kind.startswith(_EVENT_STREAM):
            return True
        is_wanted = self.attempt.demand.stream
        return is_wanted and (self.is_chunked or not kind.startswith(_WHOLE))

    def is_opaque(self) -> bool:
        """Tell whether it is passed on unread: a file, sounds, a picture."""
        demand = self.attempt.demand
        if demand.is_opaque:
            return True
        if self.endpoint in self.dialect.json_endpoints or self.is_chunked:
            return False
        kind = self.response.content_type.lower()
        if kind.startswith(_EVENT_STREAM):
            return self.endpoint == RAW
        return bool(kind) and "json" not in kind and not kind.startswith(_WHOLE)

    def note(self, *, is_whole: bool = False) -> None:
        """Tell the attempt that the provider let the request in."""
        attempt, headers = self.attempt, self.response.headers
        if attempt.wants_limits(attempt.now()):
            limits = self.adapter.read_limits(headers, attempt.wall())
            attempt.answered(limits, self.adapter.read_account(headers), is_whole=is_whole)
        else:
            attempt.answered()

    def failed(self, failure: Failure, body: bytes = b"") -> Answer:
        """End the attempt; the body is kept where it is an error in the usual shape."""
        self.attempt.fail(failure)
        words = body if b'"error"' in body else b""
        return Answer(
            failure.status or _BAD_GATEWAY, without_coding(self.response.raw_headers),
            self.attempt, words, failure=failure, translation=self.translation,
        )  # fmt: skip


async def accept(arrival: Arrival, *, deadline: float, withhold_usage: bool) -> Answer:
    """Judge an answer that says it is fine.

    Args:
        deadline: The loop's time at which a stream is given up.
        withhold_usage: Keep back the usage event of a stream.

    Returns:
        The answer; its attempt has ended, well or badly, unless it streams.
    """
    attempt, response = arrival.attempt, arrival.response
    if arrival.is_opaque():
        return _pass_unread(arrival, deadline)
    if not arrival.may_stream():
        return await _accept_whole(arrival, await response.read())
    head = HeldHead(
        response, judge=arrival.dialect.judge, is_chunked=arrival.is_chunked,
        takes_arrays=arrival.dialect.streams_arrays,
    )  # fmt: skip
    await head.read()
    if head.form is Form.WHOLE:
        return await _accept_whole(arrival, await head.rest())
    failure = _failure_of_head(arrival.adapter, head, attempt.wall())
    if failure is not None:
        return arrival.failed(failure)
    arrival.note()
    stream = MeteredStream(
        attempt, response,
        first=head.raw, tap=_tap_for(arrival, head, withhold_usage),
        deadline=deadline, stall_s=arrival.stall_s,
    )  # fmt: skip
    attempt.is_streaming = True
    headers, translation = response.raw_headers, arrival.translation
    if translation is not None:
        headers = _labelled(headers, translation.stream_type)
    return Answer(response.status, headers, attempt, stream=stream, translation=translation)


def _pass_unread(arrival: Arrival, deadline: float) -> Answer:
    attempt, response = arrival.attempt, arrival.response
    arrival.note()
    is_read = response.content_type.lower().startswith(_EVENT_STREAM)
    tap = OpaqueTap(arrival.dialect.tap() if is_read else None)
    stream = MeteredStream(
        attempt, response,
        first=b"", tap=tap, deadline=deadline, stall_s=arrival.stall_s,
    )  # fmt: skip
    attempt.is_streaming = True
    return Answer(response.status, response.raw_headers, attempt, stream=stream, is_opaque=True)


def without_coding(headers: RawHeaders) -> RawHeaders:
    """Return the headers of a body that was unpacked."""
    return tuple(pair for pair in headers if pair[0].lower() != b"content-encoding")


def _labelled(headers: RawHeaders, kind: str) -> RawHeaders:
    """Return the headers of a body that was translated."""
    kept = tuple(pair for pair in without_coding(headers) if pair[0].lower() != b"content-type")
    return (*kept, (b"content-type", kind.encode()))


async def _accept_whole(arrival: Arrival, body: bytes) -> Answer:
    attempt, response = arrival.attempt, arrival.response
    plain = await unpacked(body, arrival.encoding)
    usage = None
    if plain is not None:
        usage, is_fine = arrival.dialect.read_body(plain)
        # An object may tell of an error of its own, and a deletion nothing at all.
        if not is_fine and attempt.demand.model:
            failure = _failure_in(arrival, plain)
            if failure is not None:
                return arrival.failed(failure, plain)
    secret = attempt.slot.secret.encode()
    masked = masked_in(plain or b"", secret)
    if arrival.translation is not None:
        return _translate_whole(arrival, arrival.translation, masked, usage)
    arrival.note(is_whole=True)
    settle_at(attempt, usage)
    if plain is None or masked is plain:
        return Answer(response.status, response.raw_headers, attempt, body)
    return Answer(response.status, without_coding(response.raw_headers), attempt, masked)


def _translate_whole(
    arrival: Arrival, translation: Translation, body: bytes, usage: Usage | None
) -> Answer:
    attempt, headers = arrival.attempt, arrival.response.raw_headers
    is_stream = attempt.demand.stream
    try:
        body = translation.answer_in_pieces(body) if is_stream else translation.answer(body)
    except BadBodyError as error:
        return arrival.failed(_empty(f"the provider's answer cannot be read: {error}"))
    arrival.note(is_whole=True)
    settle_at(attempt, usage)
    labelled = _labelled(headers, translation.stream_type if is_stream else "application/json")
    return Answer(arrival.response.status, labelled, attempt, body, translation=translation)


def _failure_in(arrival: Arrival, body: bytes) -> Failure | None:
    """Find what failed though the status says that all is well."""
    if not body.strip():
        if arrival.response.content_type.lower().startswith("text/plain"):
            # A transcript of silence.
            return None
        return _empty("the provider answered with nothing")
    if arrival.response.content_type.lower().startswith("text/html"):
        return _empty("the provider answered with a page")
    if arrival.endpoint in arrival.dialect.json_endpoints and decode(body) is None:
        return _empty("the provider answered with text that is no JSON")
    return classify_embedded(arrival.adapter.kind, body, arrival.attempt.wall())


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


def _tap_for(arrival: Arrival, head: HeldHead, withhold_usage: bool) -> Tap:
    tap = arrival.dialect.tap(withhold_usage=withhold_usage)
    translation = arrival.translation
    if not is_plain(arrival.encoding):
        unpacker = None if head.is_blind else unpacker_of(arrival.encoding or "")
        if unpacker is None:
            return BlindTap()
        tap = PackedTap(unpacker, arrival.dialect.tap(), passes_plain=translation is not None)
    return translation.tap(tap) if translation is not None else tap
