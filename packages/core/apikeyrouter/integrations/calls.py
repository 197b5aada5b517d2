"""A client's request in, an answer in its own dialect out; nothing here knows a HTTP library.

Whatever cannot be served is an answer too: the client reads it as it would read a provider's.
"""

import uuid
from dataclasses import dataclass

from apikeyrouter.dialects.dialect import BadBodyError, Dialect, ToldError
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.models.system_error import SystemError
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.errors import NoEligibleKeysError
from apikeyrouter.gateway.counting import ESTIMATED, estimated_count
from apikeyrouter.gateway.demands import demand_for
from apikeyrouter.gateway.headers import request_headers, response_headers
from apikeyrouter.gateway.outgoing import Outgoing
from apikeyrouter.gateway.refusals import (
    ErrorAnswer,
    for_failure,
    for_no_key,
    is_clients_fault,
    refusal,
    refusal_headers,
)
from apikeyrouter.integrations.addresses import Target, target_of
from apikeyrouter.integrations.model_lists import show_models
from apikeyrouter.request.exchange import Answer
from apikeyrouter.request.metered_stream import MeteredStream
from apikeyrouter.router import ApiKeyRouter

Headers = list[tuple[bytes, bytes]]
_JSON = (b"content-type", b"application/json")


class BrokenStreamError(Exception):
    """A stream broke off, and there is no way to say so in it."""


@dataclass(slots=True)
class Call:
    """One request of a client, whole.

    Attributes:
        path: Of its URL, as it was sent.
        headers: In lower case.
        patience_s: How long the client waits for the first byte; `None` for ever.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes
    patience_s: float | None = None


@dataclass(slots=True)
class Reply:
    """What the client gets: a whole body, or a stream that must be read to its end or closed."""

    status: int
    headers: Headers
    body: bytes = b""
    stream: "ReplyStream | None" = None


class ReplyStream:
    """An answer on its way. If it breaks off, an error in the client's dialect ends it.

    Args:
        tells: An error can be put into it.

    Attributes:
        is_over: There is nothing more to read, nor to close.
    """

    def __init__(self, stream: MeteredStream, dialect: Dialect, *, id: str, tells: bool) -> None:
        self._stream = stream
        self._dialect = dialect
        self._id = id
        self._tells = tells
        self.is_over = False

    async def next(self) -> bytes:
        """Return the next bytes; none at the end.

        Raises:
            BrokenStreamError: It broke off, and its bytes are compressed or no events.
        """
        if self.is_over:
            return b""
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            self.is_over = True
            return b""
        except SystemError as error:
            self.is_over = True
            if not self._tells:
                raise BrokenStreamError(error.message) from None
            told = ToldError(502, error.message, "server_error", "stream_interrupted")
            return b"\n\n" + self._dialect.error_event(told, self._id)

    def close(self) -> None:
        """Stop here: the call to the provider is cancelled, the hold settled."""
        self.is_over = True
        self._stream.close()


class _Held:
    """A body that came whole and plain."""

    is_packed = False

    def __init__(self, content: bytes) -> None:
        self.received = self.content = content

    def release(self) -> None:
        self.received = self.content = b""


class Calls:
    """Answers the calls of clients by a router, on the loop that it runs in."""

    def __init__(self, router: ApiKeyRouter) -> None:
        self._router = router

    async def answer(self, call: Call) -> Reply:
        """Answer one request."""
        headers = dict(call.headers)
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        name = given or f"req-{uuid.uuid4().hex}"
        target = target_of(call.method, call.path, call.query, headers)
        try:
            if target.lists_models:
                return self._models(target, name)
            return await self._forward(call, target, headers, name)
        except BadBodyError as error:
            return _refused(refusal(400, str(error), param=error.param), target.dialect, name)
        except NoEligibleKeysError as error:
            return _refused(for_no_key(error), target.dialect, name)

    async def _forward(
        self, call: Call, target: Target, headers: dict[bytes, bytes], name: str
    ) -> Reply:
        router, dialect = self._router, target.dialect
        seen = target.peek(call.body)
        demand = demand_for(
            target.endpoint, seen, call.body, headers,
            request_id=name, now=router.now, settings=router.settings,
        )  # fmt: skip
        estimate = estimated_count(demand, router.routes)
        if estimate is not None:
            return Reply(200, [*ESTIMATED, *_own_headers(dialect, name)], estimate)
        _hurry(demand, call.patience_s, router)
        outgoing = Outgoing(
            target.endpoint, _Held(call.body), seen,
            dialect=dialect, headers=request_headers(call.headers),
            path_for=target.path_for, query=target.query, method=call.method,
        )  # fmt: skip
        answer = await router.forward(
            demand, outgoing.request_for, withhold_usage=outgoing.has_spliced_usage
        )
        if answer.failure is not None and not is_clients_fault(answer):
            told = self._told_of(answer, answer.failure, demand.model)
            return _refused(told, dialect, name, answer)
        passed = response_headers(answer) + _own_headers(dialect, name)
        if answer.stream is None:
            return Reply(answer.status, passed, answer.body)
        tells = not answer.is_opaque and all(known != b"content-encoding" for known, _ in passed)
        stream = ReplyStream(answer.stream, dialect, id=name, tells=tells)
        return Reply(answer.status, passed, stream=stream)

    def _models(self, target: Target, name: str) -> Reply:
        body = show_models(self._router, target)
        return Reply(200, [_JSON, *_own_headers(target.dialect, name)], body)

    def _told_of(self, answer: Answer, failure: Failure, model: str) -> ErrorAnswer:
        is_missing = failure.kind is FailureClass.MODEL_UNAVAILABLE
        nearest = self._router.nearest_models(model) if is_missing else ()
        return for_failure(failure, answer.attempt.provider.id, nearest)


def _hurry(demand: Demand, patience_s: float | None, router: ApiKeyRouter) -> None:
    """Let nobody wait in line for longer than its client waits for an answer."""
    if patience_s is not None:
        waits_s = demand.max_wait
        if waits_s is None:
            waits_s = router.settings.max_queue_wait_seconds
        demand.max_wait = min(patience_s, waits_s)


def _refused(
    error: ErrorAnswer, dialect: Dialect, name: str, answer: Answer | None = None
) -> Reply:
    headers = [*refusal_headers(error, answer), *_own_headers(dialect, name)]
    return Reply(dialect.error_status(error.told), headers, dialect.error_body(error.told, name))


def _own_headers(dialect: Dialect, name: str) -> Headers:
    return [(b"x-request-id", name.encode("latin-1")), *dialect.answer_headers(name)]
