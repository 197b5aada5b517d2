"""The ASGI application: finds the key, lets it in or refuses it, and answers."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import count
from typing import Any

from apikeyrouter_simulator.control import Control
from apikeyrouter_simulator.dialects import openai
from apikeyrouter_simulator.limits import CHARGES, CONCURRENCY, KINDS, Admission, Ask, Shortfall
from apikeyrouter_simulator.scenario import Condition, Scenario
from apikeyrouter_simulator.world import SimKey, World

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_ENDPOINTS = {"chat/completions": "chat", "completions": "text", "embeddings": "embeddings"}
#: Conditions that answer in place of the provider.
_REFUSING = {
    "invalid_key": (401, "Incorrect API key provided: sk-sim***", "invalid_request_error",
                    "invalid_api_key"),
    "revoked_key": (401, "This API key has been revoked.", "invalid_request_error",
                    "invalid_api_key"),
    "insufficient_quota": (429, "You exceeded your current quota, please check your plan and "
                           "billing details.", "insufficient_quota", "insufficient_quota"),
}  # fmt: skip

#: What also befalls calls that cost nothing.
_ON_FREE_CALLS = ("invalid_key", "revoked_key", "down")


class Simulator:
    """Answers for all providers of a scenario."""

    def __init__(self, scenario: Scenario, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.world = World(scenario, clock())
        self._control = Control(self.world, clock)
        self._first = next(iter(scenario.providers))
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        body = await _read(receive)
        path = scope["path"]
        if path.startswith("/_control/"):
            status, answer = self._control.answer(scope["method"], path, scope, body)
            await _send(send, status, [_JSON], answer)
            return
        provider, endpoint = self._place(path)
        if provider not in self.world.scenario.providers:
            message = f"Unknown URL ({path})"
            await _send(send, 404, [_JSON], openai.error(message, "invalid_request_error", None))
            return
        call = _Call(self, provider, endpoint, scope, receive, send)
        await call.answer(body)

    def now(self) -> float:
        """Return the moment."""
        return self._clock()

    def next_id(self) -> str:
        """Return a fresh name for an answer."""
        return f"sim-{next(self._numbers)}"

    def _place(self, path: str) -> tuple[str, str]:
        """Split a path into provider and endpoint."""
        if path.startswith("/v1/"):
            return self._first, path[4:]
        provider, _, rest = path[1:].partition("/v1/")
        return provider, rest


class _Call:
    """One request to a provider."""

    def __init__(
        self, simulator: Simulator, provider: str, endpoint: str,
        scope: Scope, receive: Receive, send: Send,
    ) -> None:  # fmt: skip
        self._simulator = simulator
        self._world = simulator.world
        self._provider = provider
        self._endpoint = endpoint
        self._scope = scope
        self._receive = receive
        self._send = send
        self._name = simulator.next_id()

    async def answer(self, body: bytes) -> None:
        """Answer in whichever way the scenario has it."""
        key = self._key()
        if key is None:
            await self._refuse(401, "Incorrect API key provided.", code="invalid_api_key")
            return
        now = self._simulator.now()
        if self._endpoint == "models":
            await self._list_models(key, now)
            return
        kind = _ENDPOINTS.get(self._endpoint)
        if kind is None:
            await self._refuse(404, f"Unknown URL ({self._scope['path']})", code="unknown_url")
            return
        request = openai.read(kind, body)
        if isinstance(request, str):
            await self._refuse(400, request[:300])
            return
        if key.facts.models and request.model not in key.facts.models:
            message = f"The model `{request.model}` does not exist or you do not have access to it."
            await self._refuse(404, message, code="model_not_found")
            return
        befalling = self._world.befalling(key, request.model, now)
        if befalling and await self._befall(key, request.model, befalling, now):
            return
        await self._serve(key, kind, request, len(body), befalling, now)

    def _key(self) -> SimKey | None:
        for name, value in self._scope["headers"]:
            if name == b"authorization" and value[:7] == b"Bearer ":
                return self._world.keys.get((self._provider, value[7:].decode("latin-1")))
        return None

    async def _list_models(self, key: SimKey, now: float) -> None:
        """Answer a free question; a key that is refused elsewhere is refused here too."""
        for condition in self._world.befalling(key, "", now, only=_ON_FREE_CALLS):
            if condition.kind == "down":
                self._drop()
                return
            status, message, _, code = _REFUSING[condition.kind]
            await self._refuse(status, message, code=code)
            return
        names = key.facts.models or ["sim-small", "sim-large"]
        await _send(self._send, 200, [_JSON], openai.models(names))

    async def _befall(
        self, key: SimKey, model: str, befalling: list[Condition], now: float
    ) -> bool:
        """Let a condition answer in place of the provider; tell whether one did."""
        for condition in befalling:
            kind = condition.kind
            if kind == "down" or (kind == "cut" and condition.chunks < 0):
                self._world.fail(key, kind)
                self._world.note(key.name, model, 0, now)
                self._drop()
                return True
            if kind in _REFUSING:
                status, message, type_, code = _REFUSING[kind]
                self._world.fail(key, kind)
                self._world.note(key.name, model, status, now)
                await self._refuse(status, message, type_=type_, code=code)
                return True
            if kind == "status":
                await self._fail_by_status(key, model, condition, now)
                return True
        return False

    async def _fail_by_status(
        self, key: SimKey, model: str, condition: Condition, now: float
    ) -> None:
        headers: Headers = []
        if condition.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % math.ceil(condition.retry_after_s)))
        status = condition.status
        self._world.fail(key, str(status))
        self._world.note(key.name, model, status, now)
        type_ = "server_error" if status >= 500 else "invalid_request_error"
        code = None
        if status == 429:
            type_, code = "requests", "rate_limit_exceeded"
        message = f"The simulated provider answers {status}."
        await self._refuse(status, message, type_=type_, code=code, headers=headers)

    async def _serve(
        self, key: SimKey, kind: str, request: openai.Request, size: int,
        befalling: list[Condition], now: float,
    ) -> None:  # fmt: skip
        given = max(1, size // 4)
        reply = key.facts.reply
        made = 0 if kind == "embeddings" else min(reply.tokens, request.cap or reply.tokens)
        charge = CHARGES[key.facts.charge](Ask(given, request.cap, made))
        admission = self._world.admit(key, charge, given, now)
        if isinstance(admission, Shortfall):
            self._world.note(key.name, request.model, 429, now)
            await self._over_limit(key, request.model, admission)
            return
        self._world.note(key.name, request.model, 200, now)
        serving = _Serving(self, key, admission, kind, request, given, made, befalling)
        if request.stream and kind != "embeddings":
            await serving.stream()
        else:
            await serving.whole()

    async def _over_limit(self, key: SimKey, model: str, lack: Shortfall) -> None:
        headers = [_JSON, *self.headers(key)]
        tells = key.facts.refusals or ("bare" if key.facts.headers == "none" else "full")
        if not lack.is_too_large and tells != "bare":
            headers.append((b"retry-after", b"%d" % math.ceil(lack.wait_s)))
            headers.append((b"retry-after-ms", b"%d" % math.ceil(lack.wait_s * 1000)))
        if tells != "full":
            body = openai.error("Too many requests.", "requests", "rate_limit_exceeded")
        else:
            label = (
                KINDS[lack.limit_name].label if lack.limit_name != CONCURRENCY else "concurrency"
            )
            body = openai.refusal(lack, model, f"org-{key.scope.name}", label)
        await _send(self._send, 429, headers, body)

    def headers(self, key: SimKey) -> Headers:
        """Return the headers that every answer for *key* bears."""
        headers: Headers = [(b"x-request-id", self._name.encode())]
        if key.facts.account_header:
            headers.append((b"openai-organization", f"org-{key.scope.name}".encode()))
        if key.facts.headers != "none":
            requests_are = "rpd" if key.facts.headers == "groq" else None
            scope = key.scope
            scope.limits.advance(self._simulator.now())
            headers += openai.limit_headers(
                scope.limits.readings(), scope.facts.untold, requests_are=requests_are
            )
        return headers

    async def _refuse(
        self, status: int, message: str, *, type_: str = "invalid_request_error",
        code: str | None = None, headers: Headers | None = None,
    ) -> None:  # fmt: skip
        body = openai.error(message, type_, code)
        about = (b"x-request-id", self._name.encode())
        await _send(self._send, status, [_JSON, about, *(headers or [])], body)

    def _drop(self) -> None:
        """Drop the connection without an answer, or in the middle of one."""
        transport = getattr(getattr(self._receive, "__self__", None), "transport", None)
        if transport is not None:
            transport.abort()


class _Serving:
    """A call that was let in: its answer, and its settlement whatever happens."""

    def __init__(
        self, call: _Call, key: SimKey, admission: Admission, kind: str,
        request: openai.Request, given: int, made: int, befalling: list[Condition],
    ) -> None:  # fmt: skip
        self._call = call
        self._key = key
        self._admission = admission
        self._kind = kind
        self._request = request
        self._given = given
        self._made = made
        self._by_kind = {condition.kind: condition for condition in befalling}
        reply = key.facts.reply
        slow, paced = self._by_kind.get("slow_first_token"), self._by_kind.get("tokens_per_s")
        self._first_s = slow.seconds if slow else reply.first_token_s
        self._rate = paced.rate if paced else reply.tokens_per_s
        finish = "length" if request.cap is not None and request.cap <= reply.tokens else "stop"
        self._finish = finish
        self._outcome = "cancelled"

    async def whole(self) -> None:
        """Answer in one piece, when its tokens have been made."""
        wait_s = self._first_s + (self._made / self._rate if self._rate else 0.0)
        try:
            if wait_s and await self._leaves_within(wait_s):
                return
            if "cut" in self._by_kind or "stall" in self._by_kind:
                await self._break_off(self._body()[:40])
                return
            self._settle("accepted")
            await _send(
                self._call._send, 200, [_JSON, *self._call.headers(self._key)], self._body()
            )
        finally:
            self._settle(self._outcome)

    async def stream(self) -> None:
        """Answer token by token."""
        call, request = self._call, self._request
        wants = bool(request.stream_options and request.stream_options.include_usage)
        tool = openai.tool_called(request)
        events = list(
            openai.chunks(
                self._kind, call._name, request.model, self._made, self._finish,
                tool=tool, usage_too=wants,
            )
        )  # fmt: skip
        if "no_finish" in self._by_kind:
            events.pop()
        else:
            if wants:
                events.append(
                    openai.usage_chunk(
                        self._kind, call._name, request.model, self._given, self._made
                    )
                )
            events.append(openai.DONE)
        try:
            await self._send_events(events)
        finally:
            self._settle(self._outcome)

    async def _send_events(self, events: list[bytes]) -> None:
        call = self._call
        if self._first_s and await self._leaves_within(self._first_s):
            return
        headers = [_STREAM, *call.headers(self._key)]
        await call._send({"type": "http.response.start", "status": 200, "headers": headers})
        broken = self._by_kind.get("cut") or self._by_kind.get("stall")
        if not self._rate and broken is None:
            for event in events:
                await _piece(call._send, event)
        else:
            for number, event in enumerate(events):
                if broken is not None and number >= broken.chunks:
                    await self._end_badly(broken)
                    return
                if number and self._rate and await self._leaves_within(1.0 / self._rate):
                    return
                await _piece(call._send, event)
        self._settle("accepted")
        await call._send({"type": "http.response.body", "body": b""})

    async def _break_off(self, head: bytes) -> None:
        """Send a part of a plain answer, then cut it or fall silent."""
        condition = self._by_kind.get("cut") or self._by_kind["stall"]
        if condition.chunks > 0:
            headers = [_JSON, (b"content-length", b"100000"), *self._call.headers(self._key)]
            start = {"type": "http.response.start", "status": 200, "headers": headers}
            await self._call._send(start)
            await _piece(self._call._send, head)
        await self._end_badly(condition)

    async def _end_badly(self, condition: Condition) -> None:
        self._outcome = condition.kind
        if condition.kind == "cut":
            # What was sent before must reach the client first.
            await asyncio.sleep(0.01)
            self._call._drop()
        else:
            await self._leaves_within(3600.0)

    async def _leaves_within(self, seconds: float) -> bool:
        """Wait; tell whether the client left meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while (await self._call._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return False
        return True

    def _body(self) -> bytes:
        call, request = self._call, self._request
        if self._kind == "embeddings":
            return openai.embeddings(request, self._given)
        tool = openai.tool_called(request)
        if tool is not None:
            return openai.tool_answer(call._name, request.model, tool, self._given, self._made)
        return openai.plain(
            self._kind, call._name, request.model, self._given, self._made, self._finish
        )

    def _settle(self, outcome: str) -> None:
        if self._admission is None:
            return
        used = (self._given, self._made if outcome == "accepted" else 0)
        world = self._call._world
        world.settle(self._key, self._admission, used, self._call._simulator.now(), outcome)
        self._admission = None  # type: ignore[assignment]


def create_app(scenario: Scenario, clock: Callable[[], float] = time.time) -> Simulator:
    """Build the ASGI application of a scenario."""
    return Simulator(scenario, clock)


async def _read(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _piece(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
