"""A call that was let in: its answer, and its settlement whatever happens."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.asgi import Headers, Receive, Send
from apikeyrouter_simulator.dialects.dialect import Asked, Drawn
from apikeyrouter_simulator.reply import Reply
from apikeyrouter_simulator.scenario import Condition

#: A stalled answer is not waited for any longer than this.
_STALLED_S = 3600.0


@dataclass(slots=True)
class Serving:
    """One answer on its way.

    Attributes:
        headers: Writes the headers as of now.
        end: Settles the call by its outcome: `accepted`, `cancelled`, or the kind of the
            condition that broke it. It is called once.
    """

    receive: Receive
    send: Send
    asked: Asked
    drawn: Drawn
    reply: Reply
    conditions: Mapping[str, Condition]
    headers: Callable[[], Headers]
    end: Callable[[str], None]
    _outcome: str = "cancelled"
    _is_settled: bool = field(default=False, init=False)

    async def answer(self) -> None:
        """Answer as the client asked, and settle."""
        try:
            if self.asked.streams:
                await self._stream()
            else:
                await self._whole()
        finally:
            self._settle(self._outcome)

    async def _whole(self) -> None:
        """Answer in one piece, when its tokens have been made."""
        if self.reply.lasts_s and await self._leaves_within(self.reply.lasts_s):
            return
        body = self.asked.whole(self.drawn)
        if "cut" in self.conditions or "stall" in self.conditions:
            await self._break_off(body[:40])
            return
        self._settle("accepted")
        await asgi.answer(self.send, 200, [self.asked.whole_type, *self.headers()], body)

    async def _stream(self) -> None:
        """Answer token by token."""
        first_s, rate = self.reply.first_token_s, self.reply.tokens_per_s
        events = self.asked.events(self.drawn)
        if first_s and await self._leaves_within(first_s):
            return
        headers = [self.asked.stream_type, *self.headers()]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        broken = self._broken_by("cut", "stall", "stream_error")
        for number, event in enumerate(events):
            if broken is not None and number >= broken.chunks:
                await self._end_badly(broken)
                return
            if number and rate and await self._leaves_within(1.0 / rate):
                return
            await asgi.piece(self.send, event)
        self._settle("accepted")
        await self.send({"type": "http.response.body", "body": b""})

    async def _break_off(self, head: bytes) -> None:
        """Send a part of a plain answer, then cut it or fall silent."""
        condition = self.conditions.get("cut") or self.conditions["stall"]
        if condition.chunks > 0:
            length = (b"content-length", b"100000")
            headers = [self.asked.whole_type, length, *self.headers()]
            await self.send({"type": "http.response.start", "status": 200, "headers": headers})
            await asgi.piece(self.send, head)
        await self._end_badly(condition)

    async def _end_badly(self, condition: Condition) -> None:
        self._outcome = condition.kind
        if condition.kind == "cut":
            # What was sent before must reach the client first.
            await asyncio.sleep(0.01)
            asgi.drop(self.receive)
        elif condition.kind == "stream_error":
            last = self.asked.error_event(condition.status)
            await self.send({"type": "http.response.body", "body": last})
        else:
            await self._leaves_within(_STALLED_S)

    def _broken_by(self, *kinds: str) -> Condition | None:
        return next((self.conditions[kind] for kind in kinds if kind in self.conditions), None)

    async def _leaves_within(self, seconds: float) -> bool:
        return await asgi.leaves_within(self.receive, seconds)

    def _settle(self, outcome: str) -> None:
        if not self._is_settled:
            self._is_settled = True
            self.end(outcome)
