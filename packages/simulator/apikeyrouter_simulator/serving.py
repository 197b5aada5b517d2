"""A call that was let in: its answer, and its settlement whatever happens."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.asgi import Headers, Receive, Send
from apikeyrouter_simulator.dialects import openai
from apikeyrouter_simulator.reply import Reply
from apikeyrouter_simulator.scenario import Condition

#: A stalled answer is not waited for any longer than this.
_STALLED_S = 3600.0


@dataclass(slots=True)
class Serving:
    """One answer on its way.

    Attributes:
        kind: Of the endpoint: `chat`, `text`, `embeddings`.
        echo: What the answer begins with.
        given: Input tokens that `usage` tells.
        headers: Writes the headers as of now.
        end: Settles the call by its outcome: `accepted`, `cancelled`, or the kind of the
            condition that broke it. It is called once.
    """

    receive: Receive
    send: Send
    name: str
    kind: str
    request: openai.Request
    given: int
    reply: Reply
    conditions: Mapping[str, Condition]
    headers: Callable[[], Headers]
    end: Callable[[str], None]
    echo: str = ""
    _outcome: str = "cancelled"
    _is_settled: bool = field(default=False, init=False)

    async def answer(self) -> None:
        """Answer as the client asked, and settle."""
        try:
            if self.request.stream and self.kind != "embeddings":
                await self._stream()
            else:
                await self._whole()
        finally:
            self._settle(self._outcome)

    async def _whole(self) -> None:
        """Answer in one piece, when its tokens have been made."""
        if self.reply.lasts_s and await self._leaves_within(self.reply.lasts_s):
            return
        if "cut" in self.conditions or "stall" in self.conditions:
            await self._break_off(self._body()[:40])
            return
        self._settle("accepted")
        await asgi.answer(self.send, 200, [asgi.JSON, *self.headers()], self._body())

    async def _stream(self) -> None:
        """Answer token by token."""
        first_s, rate = self.reply.first_token_s, self.reply.tokens_per_s
        events = self._events()
        if first_s and await self._leaves_within(first_s):
            return
        headers = [asgi.STREAM, *self.headers()]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        broken = self.conditions.get("cut") or self.conditions.get("stall")
        for number, event in enumerate(events):
            if broken is not None and number >= broken.chunks:
                await self._end_badly(broken)
                return
            if number and rate and await self._leaves_within(1.0 / rate):
                return
            await asgi.piece(self.send, event)
        self._settle("accepted")
        await self.send({"type": "http.response.body", "body": b""})

    def _events(self) -> list[bytes]:
        """Write all events of a stream."""
        request = self.request
        wants = bool(request.stream_options and request.stream_options.include_usage)
        events = list(
            openai.chunks(
                self.kind, self.name, request.model, self.reply.tokens, self._finish,
                tool=openai.tool_called(request), usage_too=wants, echo=self.echo,
            )
        )  # fmt: skip
        if "no_finish" in self.conditions:
            return events[:-1]
        if wants:
            events.append(
                openai.usage_chunk(
                    self.kind, self.name, request.model, self.given, self.reply.tokens
                )
            )
        return [*events, openai.DONE]

    async def _break_off(self, head: bytes) -> None:
        """Send a part of a plain answer, then cut it or fall silent."""
        condition = self.conditions.get("cut") or self.conditions["stall"]
        if condition.chunks > 0:
            headers = [asgi.JSON, (b"content-length", b"100000"), *self.headers()]
            await self.send({"type": "http.response.start", "status": 200, "headers": headers})
            await asgi.piece(self.send, head)
        await self._end_badly(condition)

    async def _end_badly(self, condition: Condition) -> None:
        self._outcome = condition.kind
        if condition.kind == "cut":
            # What was sent before must reach the client first.
            await asyncio.sleep(0.01)
            asgi.drop(self.receive)
        else:
            await self._leaves_within(_STALLED_S)

    async def _leaves_within(self, seconds: float) -> bool:
        return await asgi.leaves_within(self.receive, seconds)

    @property
    def _finish(self) -> str:
        return "length" if self.reply.is_cut_short else "stop"

    def _body(self) -> bytes:
        request, given, made = self.request, self.given, self.reply.tokens
        if self.kind == "embeddings":
            return openai.embeddings(request, given)
        tool = openai.tool_called(request)
        if tool is not None:
            return openai.tool_answer(self.name, request.model, tool, given, made)
        return openai.plain(
            self.kind, self.name, request.model, given, made, self._finish, echo=self.echo
        )

    def _settle(self, outcome: str) -> None:
        if not self._is_settled:
            self._is_settled = True
            self.end(outcome)
