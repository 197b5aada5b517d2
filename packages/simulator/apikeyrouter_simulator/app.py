"""The ASGI application: finds the key, lets it in or refuses it, and answers."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from apikeyrouter_simulator import asgi
from apikeyrouter_simulator.asgi import Headers, Receive, Scope, Send
from apikeyrouter_simulator.control import Control
from apikeyrouter_simulator.dialects import openai
from apikeyrouter_simulator.quotas.limits import (
    CHARGES,
    CONCURRENCY,
    KINDS,
    Admission,
    Ask,
    Shortfall,
)
from apikeyrouter_simulator.reply import Reply
from apikeyrouter_simulator.scenario import Condition, Scenario
from apikeyrouter_simulator.serving import Serving
from apikeyrouter_simulator.world import SimKey, World

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
            await asgi.lifespan(receive, send)
            return
        body = await asgi.read(receive)
        path = scope["path"]
        if path.startswith("/_control/"):
            status, answer = self._control.answer(scope["method"], path, scope, body)
            await asgi.answer(send, status, [asgi.JSON], answer)
            return
        provider, endpoint = self._place(path)
        if provider not in self.world.scenario.providers:
            message = f"Unknown URL ({path})"
            await asgi.answer(
                send, 404, [asgi.JSON], openai.error(message, "invalid_request_error", None)
            )
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
            self._world.fail(key, "404")
            self._world.note(key.name, request.model, 404, now)
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
                asgi.drop(self._receive)
                return
            status, message, _, code = _REFUSING[condition.kind]
            await self._refuse(status, message, code=code)
            return
        self._world.listed(key)
        names = key.facts.models or ["sim-small", "sim-large"]
        await asgi.answer(self._send, 200, [asgi.JSON], openai.models(names))

    async def _befall(
        self, key: SimKey, model: str, befalling: list[Condition], now: float
    ) -> bool:
        """Let a condition answer in place of the provider; tell whether one did."""
        for condition in befalling:
            kind = condition.kind
            if kind == "down" or (kind == "cut" and condition.chunks < 0):
                self._world.fail(key, kind)
                self._world.note(key.name, model, 0, now)
                asgi.drop(self._receive)
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
        """Let the call in and answer it, or refuse it by the limits of its scope."""
        conditions: dict[str, Condition] = {c.kind: c for c in befalling}
        estimated = max(1, size // 4)
        given = openai.text_tokens(request) if key.facts.counts == "text" else estimated
        reply = _paced(self._world.draw_reply(key, request.cap), conditions)
        if kind == "embeddings":
            reply = replace(reply, tokens=0)
        charge = CHARGES[key.facts.charge](Ask(estimated, request.cap, reply.tokens))
        admission = self._world.admit(key, charge, estimated, now, lasts_s=reply.lasts_s)
        if isinstance(admission, Shortfall):
            self._world.note(key.name, request.model, 429, now)
            await self._over_limit(key, request.model, admission)
            return
        self._world.note(key.name, request.model, 200, now)
        serving = Serving(
            self._receive, self._send, self._name, kind, request, given, reply, conditions,
            headers=lambda: self.headers(key),
            echo=openai.last_word(request) if key.facts.reply.echoes else "",
            end=lambda outcome: self._settle(key, admission, (given, reply.tokens), outcome),
        )  # fmt: skip
        await serving.answer()

    def _settle(
        self, key: SimKey, admission: Admission, used: tuple[int, int], outcome: str
    ) -> None:
        if outcome != "accepted":
            used = (used[0], 0)
        self._world.settle(key, admission, used, self._simulator.now(), outcome)

    async def _over_limit(self, key: SimKey, model: str, lack: Shortfall) -> None:
        headers = [asgi.JSON, *self.headers(key)]
        tells = key.facts.refusals_tell
        if not lack.is_too_large and tells != "bare":
            headers.append((b"retry-after", b"%d" % math.ceil(lack.wait_s)))
            if tells != "seconds":
                headers.append((b"retry-after-ms", b"%d" % math.ceil(lack.wait_s * 1000)))
        if tells != "full":
            body = openai.error("Too many requests.", "requests", "rate_limit_exceeded")
        else:
            label = (
                KINDS[lack.limit_name].label if lack.limit_name != CONCURRENCY else "concurrency"
            )
            body = openai.refusal(lack, model, f"org-{key.scope.name}", label)
        await asgi.answer(self._send, 429, headers, body)

    def headers(self, key: SimKey) -> Headers:
        """Return the headers that every answer for *key* has."""
        headers: Headers = [(b"x-request-id", self._name.encode())]
        if key.facts.account_header:
            headers.append((b"openai-organization", f"org-{key.scope.name}".encode()))
        if key.facts.headers != "none":
            told = key.facts.headers
            requests_are = "rpd" if told == "groq" else None
            scope = key.scope
            scope.limits.advance(self._simulator.now())
            headers += openai.limit_headers(
                scope.limits.readings(),
                scope.facts.untold,
                requests_are=requests_are,
                only_remaining=told == "remaining",
            )
        return headers

    async def _refuse(
        self, status: int, message: str, *, type_: str = "invalid_request_error",
        code: str | None = None, headers: Headers | None = None,
    ) -> None:  # fmt: skip
        body = openai.error(message, type_, code)
        about = (b"x-request-id", self._name.encode())
        await asgi.answer(self._send, status, [asgi.JSON, about, *(headers or [])], body)


def create_app(scenario: Scenario, clock: Callable[[], float] = time.time) -> Simulator:
    """Build the ASGI application of a scenario."""
    return Simulator(scenario, clock)


def _paced(reply: Reply, conditions: dict[str, Condition]) -> Reply:
    """Slow an answer down as conditions have it."""
    slow, paced = conditions.get("slow_first_token"), conditions.get("tokens_per_s")
    return replace(
        reply,
        first_token_s=slow.seconds if slow else reply.first_token_s,
        tokens_per_s=paced.rate if paced else reply.tokens_per_s,
    )
