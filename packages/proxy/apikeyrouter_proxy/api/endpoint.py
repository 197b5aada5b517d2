"""The management API as an endpoint of the service: who may, how much, and only then what."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from apikeyrouter.service import BadBodyError
from apikeyrouter_proxy.api.audit import Caller, caller
from apikeyrouter_proxy.api.idempotency import Order, Orders
from apikeyrouter_proxy.api.logins import Logins
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import ProblemError, send_problem
from apikeyrouter_proxy.dataplane.asgi import Message, Receive, Request, Scope, Send
from apikeyrouter_proxy.dataplane.bodies.reader import (
    BodyReader,
    ClientGoneError,
    RefusedBodyError,
)
from apikeyrouter_proxy.middleware.forwarded import TrustedProxies

#: Under which the application finds the request in its scope.
REQUEST = "apikeyrouter.request"
_OPEN = ("/docs", "/openapi.json")
_log = logging.getLogger(__name__)

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def is_management(path: str) -> bool:
    """Tell whether the management API answers at *path*."""
    return path.startswith("/api/") or path in _OPEN


class ManagementEndpoint:
    """Answers what is asked of the management API.

    Args:
        bodies: Reads request bodies within the service's bounds.
    """

    def __init__(self, parts: ManagementParts, bodies: BodyReader) -> None:
        self._parts = parts
        self._bodies = bodies
        settings = parts.router.settings
        self._logins = Logins(
            settings.management_api_key, time.monotonic, reading=settings.management_read_key
        )
        self._proxies = TrustedProxies(parts.config.server.trusted_proxies)
        self._orders = Orders(time.monotonic)
        self._application: Application | None = None
        self._making = asyncio.Lock()

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._answer(request, receive, send)
        except ClientGoneError:
            return
        except ProblemError as problem:
            await self._refuse(request, receive, send, problem)
        except BadBodyError as error:
            await self._refuse(request, receive, send, ProblemError(400, str(error)))
        except RefusedBodyError as error:
            told = error.answer.told
            refused = ProblemError(told.status, told.message, headers=list(error.answer.headers))
            await self._refuse(request, receive, send, refused)
        except Exception:
            # What is begun can only be cut off, as the service's own edge does.
            if request.is_begun:
                raise
            _log.exception("management request %s failed unexpectedly", request.id)
            await self._refuse(request, receive, send, ProblemError(500, _UNEXPECTED))

    async def _answer(self, request: Request, receive: Receive, send: Send) -> None:
        peer = request.scope.get("client")
        address = self._proxies.sender(str(peer[0]) if peer else "", request.scope["headers"])
        if request.path not in _OPEN:
            self._logins.check(request.headers, address, request.method)
        caller.set(Caller(address, request.id))
        application = await self._made()
        body = await self._bodies.read(request, receive)
        try:
            order = await self._orders.begin(request, body.content)
            if order is None:
                await application(_scope_of(request), _replay(body.content), _named(request, send))
            elif order.is_done.is_set():
                await _repeat(order, request, send)
            else:
                await self._carry_out(order, application, request, body.content, send)
        finally:
            body.release()

    async def _carry_out(
        self, order: Order, application: Application, request: Request, body: bytes, send: Send
    ) -> None:
        sending = order.recording(_named(request, send))
        try:
            await application(_scope_of(request), _replay(body), sending)
        finally:
            self._orders.end(request, order)

    async def _made(self) -> Application:
        """Return the application; made in a thread, for others are served meanwhile."""
        async with self._making:
            if self._application is None:
                self._application = await asyncio.to_thread(_make, self._parts)
        return self._application

    async def _refuse(
        self, request: Request, receive: Receive, send: Send, problem: ProblemError
    ) -> None:
        most_bytes = 2 * self._bodies.most_bytes
        await send_problem(send, receive, request, problem, most_bytes=most_bytes)


def _make(parts: ManagementParts) -> Application:
    from apikeyrouter_proxy.api.application import make_application

    return make_application(parts)


def _scope_of(request: Request) -> Scope:
    # The body is unpacked already.
    headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-encoding"]
    return {**request.scope, "headers": headers, REQUEST: request}


def _replay(body: bytes) -> Receive:
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _named(request: Request, send: Send) -> Send:
    """Return what puts on an answer what belongs to every answer."""

    async def begin(message: Message) -> None:
        if message["type"] == "http.response.start":
            request.is_begun = True
            message = {**message, "headers": [*message["headers"], *request.answer_headers]}
        await send(message)

    return begin


async def _repeat(order: Order, request: Request, send: Send) -> None:
    sending = _named(request, send)
    for message in order.messages:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"idempotent-replayed", b"true")]
            message = {**message, "headers": headers}
        await sending(message)


_UNEXPECTED = "the service failed unexpectedly; its log tells why, by this answer's request_id"
