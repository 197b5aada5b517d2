"""WebSockets: a connection whose messages are calls, each answered in frames.

Law: a message that asks for an answer is a call like any other, let in or refused by the same
limits; only its pieces go out as text frames. A connection is refused, or dropped, like a call.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

import msgspec

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.asgi import Receive, Send
from apikeyrouter_simulator.dialects.dialect import Incoming, Whole
from apikeyrouter_simulator.dialects.responses.talk import Talk

#: Answers one call: what is asked, and where its answer goes.
Answering = Callable[[Incoming, Receive, Send], Awaitable[None]]
_MOST_LANES = 32


async def refuse(receive: Receive, send: Send, answer: Whole) -> None:
    """Answer an upgrade like an ordinary request."""
    await receive()
    length = (b"content-length", b"%d" % len(answer.body))
    kind = "websocket.http.response"
    headers = [*answer.headers, length]
    await send({"type": f"{kind}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": answer.body})


class Socket:
    """One connection."""

    def __init__(self, talk: Talk, answer: Answering, receive: Receive, send: Send) -> None:
        self._talk = talk
        self._answer = answer
        self._receive = receive
        self._send = send
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        """Talk until the client leaves."""
        await self._receive()
        await self._send({"type": "websocket.accept"})
        try:
            for frame in self._talk.greeting():
                await self._say(frame, None)
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._hear(message.get("text") or message.get("bytes") or b"")
        finally:
            await self._end()

    async def _hear(self, text: str | bytes) -> None:
        """Answer a message, or have its lane do so."""
        heard = self._talk.hear(text)
        for frame in heard.frames:
            await self._say(frame, heard.stream_id)
        if heard.call is None:
            return
        lane = heard.stream_id or ""
        self._lanes = {name: task for name, task in self._lanes.items() if not task.done()}
        if lane not in self._lanes and len(self._lanes) >= _MOST_LANES:
            error = self._talk.error(429, {"message": f"at most {_MOST_LANES} streams at once"})
            await self._say(error, heard.stream_id)
            return
        before = self._lanes.get(lane)
        # Answers of one lane come one after the other.
        task = asyncio.create_task(self._work(heard.call, heard.stream_id, before))
        self._lanes[lane] = task

    async def _work(
        self, call: Incoming, stream_id: str | None, before: "asyncio.Task[None] | None"
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        lane = _Lane(self, stream_id)
        await self._answer(call, lane.receive, lane.send)

    async def _say(self, frame: dict[str, Any], stream_id: str | None) -> None:
        if stream_id is not None:
            frame = {**frame, "stream_id": stream_id}
        await self._send({"type": "websocket.send", "text": msgspec.json.encode(frame).decode()})

    async def _end(self) -> None:
        """Let the answers under way see that the client is gone, and wait for them."""
        self._is_over.set()
        tasks = list(self._lanes.values())
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)
        for task in tasks:
            task.cancel()
            # What an answer met on a connection that is gone is of no interest.
            with suppress(asyncio.CancelledError, OSError, RuntimeError):
                await task

    async def until_over(self) -> None:
        """Wait until the client has left."""
        await self._is_over.wait()

    @property
    def transport(self) -> Any:
        """What can be dropped."""
        return getattr(getattr(self._receive, "__self__", None), "transport", None)

    async def say_piece(self, body: bytes, stream_id: str | None) -> None:
        """Send the event in a piece of a stream."""
        data = body.partition(b"data: ")[2]
        if data and not self._is_over.is_set():
            await self._say(msgspec.json.decode(data), stream_id)

    async def say_error(self, answer: Whole, stream_id: str | None) -> None:
        """Send what would have been an answer of another status than 200."""
        error = dict(msgspec.json.decode(answer.body)["error"])
        headers = {name.decode(): value.decode("latin-1") for name, value in answer.headers}
        headers.pop("content-length", None)
        frame = self._talk.error(answer.status, error | {"headers": headers})
        if not self._is_over.is_set():
            await self._say(frame, stream_id)


class _Lane:
    """Where the answer of one call goes: what is sent as HTTP comes out as frames."""

    def __init__(self, socket: Socket, stream_id: str | None) -> None:
        self._socket = socket
        self._stream_id = stream_id
        self._status = 200
        self._headers: asgi.Headers = []

    @property
    def transport(self) -> Any:
        """What can be dropped."""
        return self._socket.transport

    async def receive(self) -> MutableMapping[str, Any]:
        """Return when the client has left."""
        await self._socket.until_over()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a part of an answer."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
        elif self._status == 200:
            await self._socket.say_piece(message.get("body", b""), self._stream_id)
        else:
            answer = Whole(self._status, self._headers, message["body"])
            await self._socket.say_error(answer, self._stream_id)
