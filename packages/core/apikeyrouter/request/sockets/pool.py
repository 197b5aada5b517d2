"""The WebSockets to providers of one client's WebSocket: one for each key.

A key whose provider takes none is asked over HTTP.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.interfaces.wire import UpgradeRefusedError, WireRequest, WireResponse
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS
from apikeyrouter.request.sockets.upstream import LimitReachedError, Upstream

#: Statuses of those who know no WebSockets, at this path or at all.
_KNOW_NONE = frozenset({200, 400, 404, 405, 426, 501})
#: What a request has that an upgrade has not.
_OF_BODIES = frozenset({"content-type", "content-encoding", "accept", "accept-encoding"})
#: A provider that has not opened one within this opens none.
_PATIENCE_S = 10.0
#: How a request over HTTP begins; another beginning makes it a message.
STREAM = b'{"stream":true,'


class SocketPool:
    """WebSockets to providers, made when they are needed; whoever made it closes it.

    Args:
        on_stray: Takes messages that belong to no answer under way.
    """

    def __init__(self, on_stray: Callable[[bytes], Awaitable[None]]) -> None:
        self._on_stray = on_stray
        self._by_key: dict[str, Upstream] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The keys that have one, the one that was used last at the end."""
        return tuple(key_id for key_id, found in self._by_key.items() if not found.is_closed)

    async def open(self, attempt: Attempt, request: WireRequest) -> bool:
        """Open one for the key of *attempt*, which ends; tell whether there is one."""
        adapter = attempt.provider.adapter
        with attempt:
            if not (
                isinstance(adapter, WireAdapter) and attempt.is_native and adapter.takes_sockets
            ):
                attempt.cancel(sent=False)
                return False
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    upstream = await self._upstream_for(attempt, adapter, request)
            except UpgradeRefusedError as error:
                attempt.fail(adapter.classify(error.status, error.headers, b"", attempt.wall()))
                return False
            except TRANSPORT_ERRORS as error:
                attempt.fail(adapter.classify_exception(error))
                return False
            attempt.cancel(sent=False)
            return upstream is not None

    def sender_for(
        self, lane: str
    ) -> Callable[[Attempt, WireAdapter, WireRequest], Awaitable[WireResponse]]:
        """Return what sends the requests of a lane; their bodies begin with `STREAM`."""

        async def send(
            attempt: Attempt, adapter: WireAdapter, request: WireRequest
        ) -> WireResponse:
            if attempt.is_native and request.endpoint == attempt.demand.endpoint:
                answer = await self._send(attempt, adapter, request, lane)
                if answer is not None:
                    return answer
            return await adapter.send(request, attempt.slot.secret)

        return send

    async def say(self, message: str) -> bool:
        """Send what makes no answer of its own where the last answer was made; tell if it went."""
        for key_id in reversed(self.key_ids):
            await self._by_key[key_id].say(message)
            return True
        return False

    def close(self) -> None:
        """Close all of them."""
        for upstream in self._by_key.values():
            upstream.close()
        self._by_key.clear()

    async def _send(
        self, attempt: Attempt, adapter: WireAdapter, request: WireRequest, lane: str
    ) -> WireResponse | None:
        """Ask over a WebSocket; `None` where the provider takes none."""
        message = _message_of(request.body, lane)
        for _ in range(2):
            if not adapter.takes_sockets:
                return None
            try:
                upstream = await self._upstream_for(attempt, adapter, request)
                return await upstream.ask(lane, message) if upstream is not None else None
            except UpgradeRefusedError as error:
                return _as_answer(error)
            except LimitReachedError:
                continue
        return None

    async def _upstream_for(
        self, attempt: Attempt, adapter: WireAdapter, request: WireRequest
    ) -> Upstream | None:
        key_id = attempt.slot.id
        # Lanes that begin together share one.
        async with self._opening.setdefault(key_id, asyncio.Lock()):
            upstream = self._by_key.pop(key_id, None)
            if upstream is None or upstream.is_closed:
                upstream = await self._opened(attempt, adapter, request)
            if upstream is not None:
                self._by_key[key_id] = upstream
        return upstream

    async def _opened(
        self, attempt: Attempt, adapter: WireAdapter, request: WireRequest
    ) -> Upstream | None:
        headers = {k: v for k, v in request.headers.items() if k not in _OF_BODIES}
        upgrade = WireRequest(
            request.path, headers=headers, method="GET", query=request.query,
            endpoint=request.endpoint,
        )  # fmt: skip
        try:
            socket = await adapter.connect(upgrade, attempt.slot.secret)
        except UpgradeRefusedError as error:
            if error.status not in _KNOW_NONE:
                raise
            adapter.note_no_sockets()
            return None
        return Upstream(socket, self._on_stray)


def _message_of(body: bytes, lane: str) -> str:
    """Return the message that makes what *body* asks for."""
    name = f'"stream_id":{msgspec.json.encode(lane).decode()},' if lane else ""
    return f'{{"type":"response.create",{name}' + body.removeprefix(STREAM).decode()


def _as_answer(error: UpgradeRefusedError) -> WireResponse:
    async def read() -> bytes:
        return b""

    async def chunks() -> AsyncIterator[bytes]:
        return
        yield b""

    return WireResponse(error.status, error.headers, chunks(), read, lambda: None)
