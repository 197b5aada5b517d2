"""Realtime sessions: messages pass both ways, unread but for the usage that they tell."""

import asyncio
from contextlib import suppress
from urllib.parse import parse_qsl, urlencode

from apikeyrouter import Demand, NoEligibleKeysError
from apikeyrouter.service import (
    Attempt,
    MeteredSocket,
    WireRequest,
    connect_by,
    request_headers,
    without_credentials,
)
from apikeyrouter_proxy.dataplane.asgi import Message, Receive, Request, Send
from apikeyrouter_proxy.dataplane.auth import Client
from apikeyrouter_proxy.dataplane.errors import (
    NOT_KNOWN,
    ErrorAnswer,
    for_failure,
    for_no_key,
    refusal,
)
from apikeyrouter_proxy.dataplane.front_doors.parts import ServiceParts
from apikeyrouter_proxy.dataplane.refusals import send_refusal

_ENDPOINT = "realtime"
_PROTOCOL = "realtime"
#: How a browser, which cannot set headers, sends its token.
_TOKEN_PROTOCOL = "openai-insecure-api-key."  # noqa: S105 - names it only


class RealtimeSocket:
    """Accepts a WebSocket once a provider has."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Serve one session to its end."""
        await receive()
        asked = request.scope["query_string"].decode("latin-1")
        query = parse_qsl(without_credentials(asked))
        model = dict(query).get("model", "")
        client = (
            self._parts.clients.find(_with_token(request)) if len(self._parts.clients) else None
        )
        refused = self._refusal_of(client, model)
        if refused is not None:
            await send_refusal(send, request, refused)
            return
        opened = await self._open(client, request, query, model)
        if isinstance(opened, ErrorAnswer):
            await send_refusal(send, request, opened)
            return
        try:
            # Whoever leaves midway is noticed by what is sent or by what is read.
            with suppress(OSError):
                await send(_acceptance(request))
                request.is_begun = True
                await _relay(opened, receive, send)
        finally:
            await opened.close()

    def _refusal_of(self, client: Client | None, model: str) -> ErrorAnswer | None:
        if len(self._parts.clients) and client is None:
            return NOT_KNOWN
        if not model:
            return refusal(400, "model is missing in the address; add ?model=", param="model")
        if client is not None and not client.may_use(model):
            message = f"client '{client.name}' may not use model '{model}'"
            return refusal(403, message, code="model_not_allowed")
        return None

    async def _open(
        self, client: Client | None, request: Request, query: list[tuple[str, str]], model: str
    ) -> MeteredSocket | ErrorAnswer:
        headers = request_headers(request.scope["headers"])

        def request_for(attempt: Attempt) -> WireRequest:
            own = [(name, attempt.model if name == "model" else value) for name, value in query]
            return WireRequest(
                _ENDPOINT, headers=headers, method="GET", query=urlencode(own), endpoint=_ENDPOINT
            )

        demand = Demand(model, request.id, endpoint=_ENDPOINT, output_cap=0)
        if client is not None:
            demand.client, demand.client_weight = client.name, client.weight
            demand.priority = client.priority
        try:
            accounts = client.accounts if client is not None else ()
            attempts = self._parts.router.attempts(demand, accounts=accounts)
            opened = await connect_by(attempts, request_for)
        except NoEligibleKeysError as error:
            return for_no_key(error)
        if isinstance(opened, MeteredSocket):
            return opened
        assert opened.failure is not None  # noqa: S101 - nothing is open
        return for_failure(opened.failure, opened.attempt.provider.id)


async def _relay(socket: MeteredSocket, receive: Receive, send: Send) -> None:
    """Pass messages until one side closes."""

    async def to_provider() -> None:
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            await socket.send(text if text is not None else message["bytes"].decode("latin-1"))

    async def to_client() -> None:
        async for data in socket.messages():
            await send({"type": "websocket.send", "text": data.decode("utf-8", "replace")})

    ways = [asyncio.create_task(to_provider()), asyncio.create_task(to_client())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if not ways[0].done():
            await send({"type": "websocket.close", "code": 1000})
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


def _with_token(request: Request) -> dict[bytes, bytes]:
    """Return the headers with the token that a browser has sent as a protocol."""
    offered = [p for p in request.scope["subprotocols"] if p.startswith(_TOKEN_PROTOCOL)]
    if not offered or b"authorization" in request.headers:
        return request.headers
    token = offered[0].removeprefix(_TOKEN_PROTOCOL).encode()
    return {**request.headers, b"authorization": b"Bearer " + token}


def _acceptance(request: Request) -> Message:
    accepted: Message = {"type": "websocket.accept", "headers": request.answer_headers}
    if _PROTOCOL in request.scope["subprotocols"]:
        accepted["subprotocol"] = _PROTOCOL
    return accepted
