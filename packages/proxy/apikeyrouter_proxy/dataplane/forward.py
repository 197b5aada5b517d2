"""The hot path: an ASGI endpoint that takes bytes in and passes bytes out.

The body is read, looked at, and forwarded as it is. A client that leaves
cancels the provider's call. What cannot be served is answered in the client's
dialect, before the first byte; after it, in the stream.
"""

import asyncio
from collections.abc import Callable

from apikeyrouter import (
    ApiKeyRouter,
    Demand,
    NoEligibleKeysError,
    SystemError,
    UnknownModelError,
)
from apikeyrouter.service import (
    Answer,
    BadBodyError,
    Failure,
    FailureClass,
    MeteredStream,
    ObjectRegister,
    Outgoing,
    Peek,
    ToldError,
    demand_for,
    dialect_of,
    is_clients_fault,
    request_headers,
    response_headers,
    without_credentials,
)
from apikeyrouter_proxy.dataplane.asgi import Receive, Request, Send, ShutdownState
from apikeyrouter_proxy.dataplane.auth import Client, ClientRegister
from apikeyrouter_proxy.dataplane.bodies.reader import (
    Body,
    BodyReader,
    ClientGoneError,
    RefusedBodyError,
)
from apikeyrouter_proxy.dataplane.disconnects import DisconnectPoller, DisconnectWatch
from apikeyrouter_proxy.dataplane.errors import (
    NOT_KNOWN,
    STOPPING,
    UNEXPECTED,
    ErrorAnswer,
    for_failure,
    for_no_key,
    refusal,
)
from apikeyrouter_proxy.dataplane.keep_alive import KeepAlive, gap_of
from apikeyrouter_proxy.dataplane.objects.binding import owner_of_all
from apikeyrouter_proxy.dataplane.objects.ids import names_in_talk
from apikeyrouter_proxy.dataplane.refusals import refuse_unread, send_refusal
from apikeyrouter_proxy.middleware.security_headers import HeaderList

#: A stream ends at its deadline; whose client does not take even that is cut off so much later.
_CUT_OFF_AFTER_S = 0.5


class Forwarder:
    """Forwards one endpoint's requests through the router.

    Args:
        endpoint: See `Demand.endpoint`.
        path: Below a provider's base URL; the endpoint's own name if empty.
        objects: Who has the objects that clients made.
        comment_after_s: Silence in a stream after which the client gets a comment; 0 for none.
        on_unknown: Called when a client wants a model that nobody serves.
    """

    def __init__(
        self,
        router: ApiKeyRouter,
        clients: ClientRegister,
        *,
        endpoint: str,
        path: str = "",
        objects: ObjectRegister,
        bodies: BodyReader,
        ending: ShutdownState,
        comment_after_s: float,
        on_unknown: Callable[[], None],
    ) -> None:
        self._router = router
        self._clients = clients
        self._endpoint = endpoint
        self._dialect = dialect_of(endpoint)
        self._path = path or endpoint
        self._objects = objects
        self._poller = DisconnectPoller()
        self._bodies = bodies
        self._ending = ending
        self._comment_after_s = comment_after_s
        self._on_unknown = on_unknown

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request.speak(self._dialect)
        try:
            await self._serve(request, receive, send)
        except ClientGoneError:
            return
        except BadBodyError as error:
            await send_refusal(send, request, refusal(400, str(error), param=error.param))
        except RefusedBodyError as error:
            if error.is_unread:
                await self._refuse_unread(send, receive, request, error.answer)
            else:
                await send_refusal(send, request, error.answer)

    async def _serve(self, request: Request, receive: Receive, send: Send) -> None:
        client = None
        if len(self._clients):
            client = self.client_of(request)
            if client is None:
                await self._refuse_unread(send, receive, request, NOT_KNOWN)
                return
        body = await self._bodies.read(request, receive)
        try:
            await self._serve_client(client, body, request, receive, send)
        finally:
            body.release()

    async def _serve_client(
        self, client: Client | None, body: Body, request: Request, receive: Receive, send: Send
    ) -> None:
        seen = self.peek(request, body.content)
        demand = self._demand_of(seen, body.content, request, client)
        if client is not None and not self.may_ask(client, seen, request):
            await send_refusal(send, request, _not_allowed(client, seen.model))
            return
        outgoing = self.outgoing(request, body, seen)
        watch = DisconnectWatch(receive, self._poller)
        try:
            await self._answer(demand, outgoing, client, request, send)
        except asyncio.CancelledError:
            if not watch.client_left:
                raise
        finally:
            watch.stop()

    def client_of(self, request: Request) -> Client | None:
        """Return who asks; `None` if nobody is known to."""
        return self._clients.find(request.headers)

    def peek(self, request: Request, body: bytes) -> Peek:
        """Read what a decision needs of a request.

        Raises:
            BadBodyError: It is none.
        """
        del request
        return self._dialect.peek(body)

    def may_ask(self, client: Client, seen: Peek, request: Request) -> bool:
        """Tell whether *client* may ask for it."""
        del request
        return client.may_use(seen.model)

    def outgoing(self, request: Request, body: Body, seen: Peek) -> Outgoing:
        """Return what builds the requests to providers."""
        return self.outgoing_as(Outgoing, request, body, seen)

    def outgoing_as(
        self, kind: type[Outgoing], request: Request, body: Body, seen: Peek
    ) -> Outgoing:
        """Return what builds the requests to providers, of this kind."""
        connection = request.headers.get(b"connection", b"")
        return kind(
            self._endpoint, body, seen,
            dialect=request.dialect,
            headers=request_headers(request.scope["headers"], connection),
            path_for=self.path_for(request), query=self.query_of(request), method=request.method,
        )  # fmt: skip

    def path_for(self, request: Request) -> Callable[[str], str]:
        """Return what says where a provider has the endpoint, by its own name of the model."""
        del request
        return lambda _: self._path

    def query_of(self, request: Request) -> str:
        """Return what of the address's query goes to providers: no credential of a client."""
        query: bytes = request.scope["query_string"]
        return without_credentials(query.decode("latin-1")) if query else ""

    async def _answer(
        self,
        demand: Demand,
        outgoing: Outgoing,
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
            await send_refusal(send, request, for_no_key(error))
            return
        outgoing.release_body()
        await self._pass_on(answer, demand, client, request, send)

    async def _pass_on(
        self, answer: Answer, demand: Demand, client: Client | None, request: Request, send: Send
    ) -> None:
        if answer.failure is not None and not is_clients_fault(answer):
            told = self._told_of(answer, answer.failure, demand.model, client)
            await send_refusal(send, request, told, answer)
            return
        if answer.stream is not None:
            await self._send_stream(send, answer, answer.stream, request, demand)
            return
        await request.answer(send, answer.status, response_headers(answer), answer.body)

    def _told_of(
        self, answer: Answer, failure: Failure, model: str, client: Client | None
    ) -> ErrorAnswer:
        nearest: tuple[str, ...] = ()
        if failure.kind is FailureClass.MODEL_UNAVAILABLE:
            known = self._router.nearest_models(model)
            nearest = tuple(name for name in known if client is None or client.may_use(name))
        return for_failure(failure, answer.attempt.provider.id, nearest)

    async def _send_stream(
        self,
        send: Send,
        answer: Answer,
        stream: MeteredStream,
        request: Request,
        demand: Demand,
    ) -> None:
        # A client that does not read cannot be told anything: its connection is closed.
        left_s = (demand.deadline or 0.0) - self._router.now() + _CUT_OFF_AFTER_S
        cut_off = asyncio.get_running_loop().call_later(
            left_s, _cut_off, request, asyncio.current_task()
        )
        headers = response_headers(answer)
        keep_alive = None
        gap_s = gap_of(
            self._comment_after_s, request.dialect, is_translated=answer.translation is not None
        )
        if gap_s and _is_plain_event_stream(headers):
            send = keep_alive = KeepAlive(send, gap_s, request.dialect.keep_alive)
        try:
            await request.begin(send, answer.status, headers)
            async for chunk in stream:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except SystemError as error:
            if answer.is_opaque and request.abort():
                return
            told = ToldError(502, error.message, "server_error", "stream_interrupted")
            await _break_off(send, request, headers, told)
            return
        except asyncio.CancelledError:
            stream.close()
            if self._ending.is_due:
                await _break_off(send, request, headers, STOPPING.told)
            raise
        except Exception:
            await _break_off(send, request, headers, UNEXPECTED.told)
            raise
        finally:
            cut_off.cancel()
            if keep_alive is not None:
                keep_alive.stop()
            stream.close()
        await send({"type": "http.response.body", "body": b""})

    async def _refuse_unread(
        self, send: Send, receive: Receive, request: Request, error: ErrorAnswer
    ) -> None:
        await refuse_unread(send, receive, request, error, most_bytes=2 * self._bodies.most_bytes)

    def _demand_of(
        self,
        seen: Peek,
        body: bytes,
        request: Request,
        client: Client | None,
    ) -> Demand:
        demand = demand_for(
            self._endpoint, seen, body, request.headers,
            request_id=request.id, now=self._router.now, settings=self._router.settings,
        )  # fmt: skip
        if client is not None:
            demand.client, demand.client_weight = client.name, client.weight
            demand.priority = client.priority
        if self._objects.has_any():
            owner = owner_of_all(self._objects, demand.client, names_in_talk(body))
            demand.key_id = owner.key_id if owner is not None else None
        return demand


def _not_allowed(client: Client, model: str) -> ErrorAnswer:
    message = f"client '{client.name}' may not use model '{model}'"
    if not model:
        message = (
            f"client '{client.name}' may use certain models only, "
            "and what this request uses cannot be seen"
        )
    return refusal(403, message, code="model_not_allowed")


def _cut_off(request: Request, serving: "asyncio.Task[None] | None") -> None:
    if not request.abort() and serving is not None:
        serving.cancel()


def _is_plain_event_stream(headers: HeaderList) -> bool:
    """Tell whether comments can be put between its events."""
    named = dict(headers)
    kind = named.get(b"content-type", b"").lower()
    return kind.startswith(b"text/event-stream") and b"content-encoding" not in named


async def _break_off(send: Send, request: Request, headers: HeaderList, told: ToldError) -> None:
    """End a stream whose head is out: only the stream itself can tell.

    Nothing can be said in a compressed one, and clients take its end for a true one: its
    connection is cut off.
    """
    if b"content-encoding" in dict(headers) and request.abort():
        return
    chunk = b"\n\n" + request.dialect.error_event(told, request.id)
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
