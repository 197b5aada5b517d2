"""The ASGI application: finds the key, lets it in or refuses it, and answers."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from urllib.parse import parse_qsl

from apikeyrouter_simulator import asgi, sockets
from apikeyrouter_simulator.asgi import Headers, Receive, Scope, Send
from apikeyrouter_simulator.control import Control
from apikeyrouter_simulator.dialects.dialect import (
    Asked,
    Desk,
    Dialect,
    Drawn,
    FreeCall,
    Incoming,
    Manners,
    Reason,
    Refusal,
    Whole,
)
from apikeyrouter_simulator.dialects.openai import shapes
from apikeyrouter_simulator.dialects.responses.talk import TALKS
from apikeyrouter_simulator.dialects.tongues import DIALECTS, tongue_of
from apikeyrouter_simulator.quotas.limits import CHARGES, Admission, Ask, Shortfall
from apikeyrouter_simulator.reply import Reply
from apikeyrouter_simulator.scenario import Condition, Scenario
from apikeyrouter_simulator.serving import Serving
from apikeyrouter_simulator.world import SimKey, World

#: Paths without a provider; they are the first one's.
_BARE = ("v1/", "v1beta/", "upload/")
#: Conditions that answer in place of the provider, apart from `status`.
_REFUSING: Mapping[str, Reason] = {
    "invalid_key": "invalid_key",
    "revoked_key": "revoked_key",
    "insufficient_quota": "insufficient_quota",
}
#: What also befalls calls that cost nothing; of those that only list the models.
_ON_LISTS = ("invalid_key", "revoked_key", "down")
_ON_FREE_CALLS = (*_ON_LISTS, "status")
_ON_UPGRADES = (*_ON_LISTS, "refuse_upgrade")


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
        if scope["type"] == "websocket":
            await self._talk(scope, receive, send)
            return
        body = await asgi.read(receive)
        path = scope["path"]
        if path.startswith("/_control/"):
            status, answer = self._control.answer(scope["method"], path, scope, body)
            await asgi.answer(send, status, [asgi.JSON], answer)
            return
        provider, rest = self._place(path)
        if provider not in self.world.scenario.providers:
            body = shapes.error(f"Unknown URL ({path})", "invalid_request_error", None)
            await asgi.answer(send, 404, [asgi.JSON], body)
            return
        incoming = _incoming(scope, rest, body)
        dialect = tongue_of(incoming, self.world.scenario.providers[provider].speaks)
        await _Call(self, provider, dialect, incoming, receive, send).answer()

    async def _talk(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket, or refuse it."""
        provider, rest = self._place(scope["path"])
        incoming = _incoming(scope, rest, b"")
        facts = self.world.scenario.providers.get(provider)
        spoken = facts is not None and "responses" in facts.speaks
        talk = TALKS.get(rest) if spoken else None
        dialect = DIALECTS["responses"]

        async def answer(asked: Incoming, receive: Receive, send: Send) -> None:
            await _Call(self, provider, dialect, asked, receive, send).answer()

        refusal = self._door(provider, dialect, incoming)
        if refusal is None and talk is None:
            refusal = Refusal("unknown_url", scope["path"])
        if refusal is not None and refusal.reason == "status" and not refusal.status:
            await receive()
            asgi.drop(receive)
        elif refusal is not None or talk is None:
            whole = dialect.refuse(refusal or Refusal("unknown_url"), self.next_id())
            await sockets.refuse(receive, send, whole)
        else:
            await sockets.Socket(talk(incoming), answer, receive, send).run()

    def _door(self, provider: str, dialect: Dialect, incoming: Incoming) -> Refusal | None:
        """Say why a connection is refused; status 0 drops it."""
        secret = dialect.secret(incoming)
        if isinstance(secret, Refusal):
            return secret
        key = self.world.keys.get((provider, secret))
        if key is None:
            return Refusal("unknown_key")
        for condition in self.world.befalling(key, "", self.now(), only=_ON_UPGRADES):
            self.world.fail(key, condition.kind)
            status = 0 if condition.kind == "down" else condition.status
            return Refusal(_REFUSING.get(condition.kind, "status"), status=status)
        self.world.served_free(key, lists_models=False)
        return None

    def now(self) -> float:
        """Return the moment."""
        return self._clock()

    def next_id(self) -> str:
        """Return a fresh name for an answer."""
        return f"sim-{next(self._numbers)}"

    def _place(self, path: str) -> tuple[str, str]:
        """Split a path into provider and what follows."""
        path = path[1:]
        if path.startswith(_BARE):
            return self._first, path
        provider, _, rest = path.partition("/")
        return (provider, rest) if rest.startswith(_BARE) else ("", path)


class _Call:
    """One request to a provider."""

    def __init__(
        self, simulator: Simulator, provider: str, dialect: Dialect, incoming: Incoming,
        receive: Receive, send: Send,
    ) -> None:  # fmt: skip
        self._simulator = simulator
        self._world = simulator.world
        self._provider = provider
        self._dialect = dialect
        self._incoming = incoming
        self._receive = receive
        self._send = send
        self._name = simulator.next_id()

    async def answer(self) -> None:
        """Answer in whichever way the scenario has it."""
        key = self._key()
        if isinstance(key, Refusal):
            await self._refuse(key)
            return
        asked = self._read()
        if isinstance(asked, Refusal):
            await self._refuse(asked)
        elif isinstance(asked, FreeCall):
            await self._answer_free(key, asked)
        else:
            await self._answer_asked(key, asked)

    def _key(self) -> SimKey | Refusal:
        """Find the key that the request is made with."""
        name = self._dialect.key_name(self._incoming)
        if name is not None:
            return self._world.key_named(self._provider, name) or Refusal("unknown_key")
        secret = self._dialect.secret(self._incoming)
        if isinstance(secret, Refusal):
            return secret
        return self._world.keys.get((self._provider, secret)) or Refusal("unknown_key")

    def _read(self) -> Asked | FreeCall | Refusal:
        """Read the request."""
        coding = self._incoming.headers.get(b"content-encoding")
        if coding is not None:
            try:
                body = asgi.unpack(coding, self._incoming.body)
            except ValueError as error:
                return Refusal("bad_request", str(error))
            if body is None:
                return Refusal("coding", coding.decode("latin-1"))
            self._incoming.body = body
        if not self._dialect.knows(self._incoming):
            return Refusal("unknown_url", f"/{self._incoming.path}")
        return self._dialect.read(self._incoming)

    async def _answer_free(self, key: SimKey, call: FreeCall) -> None:
        """Answer a call that costs nothing; a key that is refused elsewhere is refused here too."""
        only = _ON_LISTS if call.lists_models else _ON_FREE_CALLS
        befalling = self._world.befalling(key, "", self._simulator.now(), only=only)
        if befalling:
            if befalling[0].kind == "down":
                asgi.drop(self._receive)
            else:
                await self._refuse_by(befalling[0])
            return
        self._world.served_free(key, lists_models=call.lists_models)
        answer = call.answer(self._desk(key))
        if isinstance(answer, Refusal):
            await self._refuse(answer)
        else:
            about = self._dialect.headers(iter(()), self._manners(key), self._simulator.now())
            await self._send_whole(answer, about)

    async def _answer_asked(self, key: SimKey, asked: Asked) -> None:
        """Answer a call that draws on limits."""
        now, model = self._simulator.now(), asked.model
        if asked.names_model and key.facts.models and model not in key.facts.models:
            self._world.fail(key, "404")
            self._world.note(key.name, model, 404, now)
            await self._refuse(Refusal("unknown_model", model))
            return
        befalling = self._world.befalling(key, model, now)
        if befalling and await self._befall(key, model, befalling, now):
            return
        wrong = asked.check(self._desk(key))
        if wrong is not None:
            await self._refuse(wrong)
            return
        await self._serve(key, asked, befalling, now)

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
            if kind in _REFUSING or kind == "status":
                self._world.fail(key, str(condition.status) if kind == "status" else kind)
                status = await self._refuse_by(condition)
                self._world.note(key.name, model, status, now)
                return True
        return False

    async def _serve(
        self, key: SimKey, asked: Asked, befalling: list[Condition], now: float
    ) -> None:
        """Let the call in and answer it, or refuse it by the limits of its scope."""
        conditions: dict[str, Condition] = {c.kind: c for c in befalling}
        estimated = max(1, len(self._incoming.body) // 4)
        given = asked.text_tokens() if key.facts.counts == "text" else estimated
        reply = _paced(self._world.draw_reply(key, asked.cap), conditions)
        if not asked.makes_tokens:
            reply = replace(reply, tokens=0)
        charge = CHARGES[key.facts.charge](Ask(estimated, asked.cap, reply.tokens))
        admission = self._world.admit(key, charge, estimated, now, lasts_s=reply.lasts_s)
        if isinstance(admission, Shortfall):
            self._world.note(key.name, asked.model, 429, now)
            refusal = self._dialect.over_limit(admission, asked.model, self._manners(key))
            await self._send_whole(refusal, self.headers(key))
            return
        self._world.note(key.name, asked.model, 200, now)
        drawn = self._drawn(key, asked, reply, given, finishes="no_finish" not in conditions)
        serving = Serving(
            self._receive, self._send, asked, drawn, reply, conditions,
            headers=lambda: self.headers(key),
            end=lambda outcome: self._settle(key, admission, asked, drawn, outcome),
        )  # fmt: skip
        await serving.answer()

    def _drawn(
        self, key: SimKey, asked: Asked, reply: Reply, given: int, *, finishes: bool
    ) -> Drawn:
        read, written = self._world.look_up(key, asked.prefixes, given)
        echo = asked.last_word() if key.facts.reply.echoes else ""
        return Drawn(
            self._name, given, reply.tokens, reply.is_cut_short, echo, finishes, read, written
        )

    def _settle(
        self, key: SimKey, admission: Admission, asked: Asked, drawn: Drawn, outcome: str
    ) -> None:
        given = drawn.given - drawn.cache_read
        used = (given, drawn.made if outcome == "accepted" else 0)
        self._world.settle(key, admission, used, self._simulator.now(), outcome)
        if outcome == "accepted":
            asked.keep(drawn, self._desk(key))

    def headers(self, key: SimKey) -> Headers:
        """Return the headers that every answer for *key* has."""
        now = self._simulator.now()
        limits = key.scope.limits
        if key.facts.headers != "none":
            limits.advance(now)
        return self._dialect.headers(limits.readings(), self._manners(key), now)

    def _manners(self, key: SimKey) -> Manners:
        facts, scope = key.facts, key.scope
        return Manners(
            facts.headers, scope.facts.untold, scope.name, facts.account_header, self._name,
            facts.refusals_tell,
        )  # fmt: skip

    def _desk(self, key: SimKey) -> Desk:
        models = key.facts.models or ["sim-small", "sim-large"]
        scope = (key.provider, key.scope.name)
        now = self._simulator.now()
        return Desk(self._name, scope, self._world.store, models, now, key.name)

    async def _refuse_by(self, condition: Condition) -> int:
        """Refuse a call as a condition has it; return the status."""
        reason = _REFUSING.get(condition.kind)
        if reason is not None:
            return await self._refuse(Refusal(reason))
        headers: Headers = []
        if condition.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % math.ceil(condition.retry_after_s)))
        return await self._refuse(Refusal("status", status=condition.status), headers)

    async def _refuse(self, refusal: Refusal, headers: Headers | None = None) -> int:
        answer = self._dialect.refuse(refusal, self._name)
        await self._send_whole(answer, headers or [])
        return answer.status

    async def _send_whole(self, answer: Whole, headers: Headers) -> None:
        await asgi.answer(self._send, answer.status, [*answer.headers, *headers], answer.body)


def create_app(scenario: Scenario, clock: Callable[[], float] = time.time) -> Simulator:
    """Build the ASGI application of a scenario."""
    return Simulator(scenario, clock)


def _incoming(scope: Scope, path: str, body: bytes) -> Incoming:
    query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
    prefix = scope["path"].removesuffix(path)
    method = scope.get("method", "GET")
    return Incoming(method, path, query, dict(scope["headers"]), body, prefix=prefix)


def _paced(reply: Reply, conditions: dict[str, Condition]) -> Reply:
    """Slow an answer down as conditions have it."""
    slow, paced = conditions.get("slow_first_token"), conditions.get("tokens_per_s")
    return replace(
        reply,
        first_token_s=slow.seconds if slow else reply.first_token_s,
        tokens_per_s=paced.rate if paced else reply.tokens_per_s,
    )
