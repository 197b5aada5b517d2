"""Responses over a WebSocket: each message that wants one is a request like any other.

It is reserved, tried elsewhere and settled as over HTTP. A key whose provider takes WebSockets
is asked over one of its own, kept as long as the client's; any other over HTTP. What builds upon
a response stays with its key.
"""

import asyncio
from contextlib import suppress

from apikeyrouter import Demand, NoEligibleKeysError, SystemError
from apikeyrouter.service import (
    Answer,
    Attempt,
    BadBodyError,
    FailureClass,
    MeteredStream,
    ResponsesPeek,
    SocketPool,
    WireRequest,
    data_of_events,
    dialect_of,
    estimate_tokens,
    forward_by,
    request_headers,
)
from apikeyrouter_proxy.dataplane.asgi import Receive, Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.bodies.reader import Body, RefusedBodyError
from apikeyrouter_proxy.dataplane.errors import (
    NOT_KNOWN,
    UNEXPECTED,
    for_failure,
    for_no_key,
    refusal,
)
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.refusals import send_refusal
from apikeyrouter_proxy.dataplane.responses.create import bind, note, read_id
from apikeyrouter_proxy.dataplane.sockets.frames import (
    Wish,
    broken_frame,
    error_frame,
    event_frame,
    read_wish,
    refused_frame,
    whole_frame,
)

_ENDPOINT = "responses"
_DIALECT = dialect_of(_ENDPOINT)
#: Lanes that run side by side, and what waits for its turn in all of them.
_MOST_LANES, _MOST_WAITING = 32, 64
_JSON = {"content-type": "application/json", "accept": "text/event-stream"}


class ResponsesSocket:
    """Accepts WebSockets where a provider takes them too; else clients are sent to HTTP."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Serve one WebSocket to its end."""
        client = None
        await receive()
        if len(self._parts.clients):
            client = self._parts.clients.find(request.headers)
            if client is None:
                await send_refusal(send, request, NOT_KNOWN)
                return
        talk = _Talk(self._parts, client, request, send)
        try:
            if not await talk.open():
                await send_refusal(send, request, NO_SOCKET)
                return
            # Whoever leaves midway is noticed by what is sent or by what is read.
            with suppress(OSError):
                await _listen(talk, request, receive, send)
        finally:
            await talk.close()


async def _listen(talk: "_Talk", request: Request, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.accept", "headers": request.answer_headers})
    request.is_begun = True
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        await talk.hear(text if text is not None else message["bytes"].decode("latin-1"))


class _Talk:
    """What is said over one WebSocket."""

    def __init__(
        self, parts: ServiceParts, client: Client | None, request: Request, send: Send
    ) -> None:
        self._parts = parts
        self._client = client
        self._request = request
        self._send = send
        self._headers = request_headers(request.scope["headers"])
        self._pool = SocketPool(self._pass_stray)
        self._count = 0
        self._waiting = 0
        #: The last answer of each lane.
        self._lanes: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> bool:
        """Open a WebSocket to any provider; tell whether there is one."""
        upgrade = WireRequest(_ENDPOINT, headers=self._headers, endpoint=_ENDPOINT)
        router = self._parts.router
        for owner in router.routes.accounts_of(_ENDPOINT):
            demand = Demand(
                "", self._request.id, endpoint=_ENDPOINT, key_id=owner.key_id, output_cap=0,
                max_wait=0.0,
            )  # fmt: skip
            with suppress(NoEligibleKeysError):
                async for attempt in router.attempts(demand):
                    if await self._pool.open(attempt, upgrade):
                        return True
        return False

    async def hear(self, text: str) -> None:
        """Take a message; what it wants runs beside what runs in other lanes."""
        try:
            wish = read_wish(text)
        except BadBodyError as error:
            await self._say(error_frame(refusal(400, str(error), param=error.param), ""))
            return
        if wish.kind != "response.create":
            # Written anew: what is read here is what the provider reads.
            if not await self._pool.say(wish.rewritten()):
                message = f"nothing is under way that '{wish.kind}' could be for"
                await self._say(error_frame(refusal(400, message, param="type"), wish.lane))
            return
        self._lanes = {name: task for name, task in self._lanes.items() if not task.done()}
        is_new = wish.lane not in self._lanes
        if self._waiting >= _MOST_WAITING or (is_new and len(self._lanes) >= _MOST_LANES):
            await self._say(error_frame(_TOO_MANY, wish.lane))
            return
        held = Body(self._parts.bodies)
        try:
            # As it came, and taken apart.
            held.hold(2 * len(text))
        except RefusedBodyError as error:
            await self._say(error_frame(error.answer, wish.lane))
            return
        self._waiting += 1
        before = self._lanes.get(wish.lane)
        task = asyncio.create_task(self._answer_in_turn(wish, before))
        # Even of one that is cancelled before it has begun.
        task.add_done_callback(lambda _: held.release())
        self._lanes[wish.lane] = task

    async def close(self) -> None:
        """End whatever runs."""
        tasks = list(self._lanes.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pool.close()

    async def _answer_in_turn(self, wish: Wish, before: "asyncio.Task[None] | None") -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            await self._answer(wish)
        except BadBodyError as error:
            await self._say(error_frame(refusal(400, str(error), param=error.param), wish.lane))
        except RefusedBodyError as error:
            await self._say(error_frame(error.answer, wish.lane))
        except NoEligibleKeysError as error:
            await self._say(error_frame(for_no_key(error), wish.lane))
        except OSError:
            # The client is gone: what it sent last is not read any more.
            return
        except Exception:
            await self._say(error_frame(UNEXPECTED, wish.lane))
            raise
        finally:
            self._waiting -= 1

    async def _answer(self, wish: Wish) -> None:
        body = wish.body()
        seen = _DIALECT.peek(body)
        assert isinstance(seen, ResponsesPeek)  # noqa: S101 - the dialect's own
        client = self._client
        if client is not None and not client.may_use(seen.model):
            message = f"client '{client.name}' may not use model '{seen.model}'"
            told = refusal(403, message, code="model_not_allowed")
            await self._say(error_frame(told, wish.lane))
            return

        def request_for(attempt: Attempt) -> WireRequest:
            given = body
            if attempt.is_native and attempt.model != seen.model:
                given = _DIALECT.with_model(body, attempt.model)
            return WireRequest(_ENDPOINT, given, {**self._headers, **_JSON}, endpoint=_ENDPOINT)

        demand = self._demand_of(seen, body)
        router = self._parts.router
        attempts = router.attempts(demand, accounts=client.accounts if client is not None else ())
        answer = await forward_by(
            attempts, request_for, None,
            lenient=router.settings.translation == "lenient",
            send=self._pool.sender_for(wish.lane),
        )  # fmt: skip
        if answer.failure is not None:
            await self._say(self._told_of(answer, seen.model, wish.lane))
        elif answer.stream is None:
            await self._say(whole_frame(answer.body, wish.lane))
        else:
            await self._pass_events(answer, answer.stream, demand, wish.lane)

    def _demand_of(self, seen: ResponsesPeek, body: bytes) -> Demand:
        """Say what is wanted: of the key that was used last, if it has room."""
        self._count += 1
        demand = Demand(
            seen.model, f"{self._request.id}-{self._count}",
            endpoint=_ENDPOINT, input_tokens=estimate_tokens(body), body_bytes=len(body),
            output_cap=seen.output_cap, stream=True,
        )  # fmt: skip
        if client := self._client:
            demand.client, demand.client_weight = client.name, client.weight
            demand.priority = client.priority
        bind(demand, seen, body, self._parts.objects)
        if demand.key_id is None and (key_ids := self._pool.key_ids):
            demand.key_id, demand.may_leave_key = key_ids[-1], True
        return demand

    def _told_of(self, answer: Answer, model: str, lane: str) -> str:
        failure = answer.failure
        nearest: tuple[str, ...] = ()
        assert failure is not None  # noqa: S101 - only then is it asked
        if failure.kind is FailureClass.MODEL_UNAVAILABLE:
            nearest = self._parts.router.nearest_models(model)
        return refused_frame(
            answer, for_failure(failure, answer.attempt.provider.id, nearest), lane
        )

    async def _pass_events(
        self, answer: Answer, stream: MeteredStream, demand: Demand, lane: str
    ) -> None:
        """Pass the events of an answer; the first one tells its name."""
        is_noted = answer.translation is not None
        try:
            async for data in data_of_events(stream):
                if not data.startswith(b"{"):
                    continue
                if not is_noted:
                    is_noted = True
                    note(read_id(data), answer.attempt, demand, self._parts.objects)
                await self._say(event_frame(data, lane))
        except SystemError as error:
            await self._say(broken_frame(error.message, lane))
        finally:
            stream.close()

    async def _pass_stray(self, data: bytes) -> None:
        await self._say(data.decode("utf-8", "replace"))

    async def _say(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})


NO_SOCKET = refusal(
    426,
    'no key can take a WebSocket now: send a POST, with "stream": true for answers in parts',
    code="upgrade_required",
)
NO_SOCKET.headers = [(b"upgrade", b"HTTP/1.1"), (b"connection", b"upgrade, close")]
_TOO_MANY = refusal(
    429,
    f"a WebSocket has {_MOST_LANES} lanes at most, with {_MOST_WAITING} requests in all of them",
    kind="rate_limit_error",
    code="rate_limit_exceeded",
)
