"""The hot path: an ASGI endpoint that takes bytes in and passes bytes out.

The body is read, looked at, and forwarded as it is. A client that leaves
cancels the provider's call. What cannot be served is answered in the client's
dialect, before the first byte; after it, in the stream.
"""

import asyncio
from collections.abc import Callable

from apikeyrouter import (
    ApiKeyRouter,
    NoEligibleKeysError,
    OwnLimitError,
    SystemError,
    UnknownModelError,
)
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.table import CONSEQUENCES, Blame
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.domain.models.failure import FailureClass
from apikeyrouter.domain.models.wire import WireRequest
from apikeyrouter.domain.token_estimate import estimate_tokens
from apikeyrouter.request.exchange import Answer
from apikeyrouter.request.metered_stream import MeteredStream
from apikeyrouter_proxy.dataplane.asgi import Receive, Request, Send, ShutdownState
from apikeyrouter_proxy.dataplane.auth import Client, ClientRegister
from apikeyrouter_proxy.dataplane.errors import (
    NOT_KNOWN,
    STOPPING,
    UNEXPECTED,
    ErrorAnswer,
    error_body,
    for_failure,
    for_no_key,
    refusal,
    retry_hints,
)
from apikeyrouter_proxy.dataplane.headers import request_headers, response_headers
from apikeyrouter_proxy.dataplane.peek import (
    BadBodyError,
    Peek,
    peek,
    wants_usage_spliced,
    with_model,
    with_usage,
)
from apikeyrouter_proxy.dataplane.refusals import refuse_unread, send_refusal
from apikeyrouter_proxy.dataplane.watching import DisconnectPoller, Watch

#: A stream ends at its deadline; whose client does not take even that is cut off so much later.
_CUT_OFF_AFTER_S = 0.5
_USAGE_ENDPOINTS = frozenset({"chat/completions", "completions"})


class ClientGoneError(Exception):
    """The client left before its request was read."""


class Forwarder:
    """Forwards one endpoint's requests through the router.

    Args:
        on_unknown: Called when a client wants a model that nobody serves.
    """

    def __init__(
        self,
        router: ApiKeyRouter,
        clients: ClientRegister,
        *,
        endpoint: str,
        max_body_bytes: int,
        ending: ShutdownState,
        on_unknown: Callable[[], None],
    ) -> None:
        self._router = router
        self._clients = clients
        self._endpoint = endpoint
        self._patrol = DisconnectPoller()
        self._max_body = max_body_bytes
        self._ending = ending
        self._on_unknown = on_unknown

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._serve(request, receive, send)
        except ClientGoneError:
            return

    async def _serve(self, request: Request, receive: Receive, send: Send) -> None:
        client = None
        if len(self._clients):
            client = self._clients.find(request.headers)
            if client is None:
                await self._refuse_unread(send, receive, request, NOT_KNOWN)
                return
        try:
            body = await self._read(request.headers, receive)
            seen = peek(body)
            demand = self._demand_of(seen, body, request, client)
        except BadBodyError as error:
            await send_refusal(send, request, refusal(400, str(error), param=error.param))
            return
        except _TooLargeError:
            message = f"the body is larger than {self._max_body:,} bytes"
            too_large = refusal(413, message, code="request_too_large")
            await self._refuse_unread(send, receive, request, too_large)
            return
        except asyncio.CancelledError:
            if self._ending.is_due:
                await send_refusal(send, request, STOPPING)
            raise
        if client is not None and not client.may_use(seen.model):
            message = f"client '{client.name}' may not use model '{seen.model}'"
            await send_refusal(send, request, refusal(403, message, code="model_not_allowed"))
            return
        outgoing = _Outgoing(self._endpoint, body, seen, request)
        watch = Watch(receive, self._patrol)
        try:
            await self._answer(demand, outgoing, client, request, send)
        except asyncio.CancelledError:
            if not watch.client_left:
                raise
        finally:
            watch.stop()

    async def _answer(
        self,
        demand: Demand,
        outgoing: "_Outgoing",
        client: Client | None,
        request: Request,
        send: Send,
    ) -> None:
        try:
            answer = await self._router.forward(
                demand, outgoing.request_for,
                accounts=client.accounts if client is not None else (),
                withhold_usage=outgoing.has_spliced_usage,
            )  # fmt: skip
        except NoEligibleKeysError as error:
            if isinstance(error, UnknownModelError):
                self._on_unknown()
            told = _over_own_limit(error) if isinstance(error, OwnLimitError) else for_no_key(error)
            await send_refusal(send, request, told)
            return
        except asyncio.CancelledError:
            if self._ending.is_due:
                await send_refusal(send, request, STOPPING)
            raise
        if answer.failure is not None and not _is_clients_fault(answer):
            told = for_failure(answer.failure, answer.attempt.provider.id)
            await send_refusal(send, request, told, answer)
            return
        if answer.stream is not None:
            await self._send_stream(send, answer, answer.stream, request, demand)
            return
        await request.answer(send, answer.status, response_headers(answer), answer.body)

    async def _send_stream(
        self,
        send: Send,
        answer: Answer,
        stream: MeteredStream,
        request: Request,
        demand: Demand,
    ) -> None:
        # Nobody can be told anything who does not read: what is left then is to hang up.
        left_s = (demand.deadline or 0.0) - self._router.now() + _CUT_OFF_AFTER_S
        cut_off = asyncio.get_running_loop().call_later(
            left_s, _cut_off, request, asyncio.current_task()
        )
        try:
            await request.begin(send, answer.status, response_headers(answer))
            async for chunk in stream:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except SystemError as error:
            told = error_body(error.message, "server_error", "stream_interrupted")
            await _break_off(send, told)
            return
        except asyncio.CancelledError:
            stream.close()
            if self._ending.is_due:
                await _break_off(send, STOPPING.body)
            raise
        except Exception:
            await _break_off(send, UNEXPECTED.body)
            raise
        finally:
            cut_off.cancel()
            stream.close()
        await send({"type": "http.response.body", "body": b""})

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        declared = headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self._max_body:
            raise _TooLargeError
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            if len(body) > self._max_body:
                raise _TooLargeError
            return body
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body:
                raise _TooLargeError
        return b"".join(parts)

    async def _refuse_unread(
        self, send: Send, receive: Receive, request: Request, error: ErrorAnswer
    ) -> None:
        await refuse_unread(send, receive, request, error, most_bytes=2 * self._max_body)

    def _demand_of(
        self,
        seen: Peek,
        body: bytes,
        request: Request,
        client: Client | None,
    ) -> Demand:
        demand = Demand(
            model=seen.model,
            request_id=request.id,
            endpoint=self._endpoint,
            input_tokens=estimate_tokens(body),
            output_cap=seen.output_cap if self._endpoint in _USAGE_ENDPOINTS else 0,
            stream=seen.is_stream,
        )
        if client is not None:
            demand.client, demand.client_weight = client.name, client.weight
            demand.priority = client.priority
        wait = request.headers.get(b"x-request-timeout")
        if wait is not None:
            _apply_timeout(demand, wait, self._router)
        return demand


class _TooLargeError(Exception):
    """The body exceeds what is configured."""


class _Outgoing:
    """Builds the request for whichever key and model an attempt uses."""

    __slots__ = ("_body", "_endpoint", "_headers", "_query", "_seen", "_splices")

    def __init__(self, endpoint: str, body: bytes, seen: Peek, request: Request) -> None:
        scope = request.scope
        self._endpoint = endpoint
        self._body = body
        self._seen = seen
        connection = request.headers.get(b"connection", b"")
        self._headers = request_headers(scope["headers"], connection)
        self._query = scope["query_string"].decode("latin-1")
        self._splices = endpoint in _USAGE_ENDPOINTS and wants_usage_spliced(seen)

    def has_spliced_usage(self, attempt: Attempt) -> bool:
        """Tell whether the usage event is our own wish, not the client's."""
        adapter = attempt.provider.adapter
        return (
            self._splices and isinstance(adapter, WireAdapter) and adapter.asks_usage(attempt.model)
        )

    def request_for(self, attempt: Attempt) -> WireRequest:
        """Return the same bytes, with what has to change spliced in."""
        body = self._body
        if attempt.model != self._seen.model:
            body = with_model(body, attempt.model)
        asks_usage = self.has_spliced_usage(attempt)
        if asks_usage:
            body = with_usage(body, self._seen)
        return WireRequest(
            self._endpoint, body, self._headers, query=self._query, asks_usage=asks_usage
        )


def _cut_off(request: Request, serving: "asyncio.Task[None] | None") -> None:
    if not request.abort() and serving is not None:
        serving.cancel()


async def _break_off(send: Send, told: bytes) -> None:
    """End a stream whose head is out: only the stream itself can tell. No [DONE] follows."""
    chunk = b"\n\ndata: " + told + b"\n\n"
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _is_clients_fault(answer: Answer) -> bool:
    """Tell whether the provider's own words are what the client should read."""
    failure = answer.failure
    if failure is None or not answer.body:
        return False
    if failure.kind is FailureClass.MODEL_UNAVAILABLE:
        return answer.status == 404
    return CONSEQUENCES[failure.kind].blame is Blame.REQUEST and answer.status != 401


def _over_own_limit(error: OwnLimitError) -> ErrorAnswer:
    answer = refusal(429, str(error), kind="rate_limit_error", code="rate_limit_exceeded")
    answer.headers = retry_hints(error.retry_after)
    return answer


def _apply_timeout(demand: Demand, value: bytes, router: ApiKeyRouter) -> None:
    """Take `X-Request-Timeout` (seconds) as the client's own deadline."""
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise BadBodyError("X-Request-Timeout should be seconds above 0", "X-Request-Timeout")
    demand.max_wait = min(seconds, router.settings.max_queue_wait_seconds)
    demand.deadline = router.now() + min(seconds, router.settings.request_timeout_seconds)
