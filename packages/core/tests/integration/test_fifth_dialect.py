"""A dialect of a user's own: one class for its bytes, one for translation, and a registration."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.dialects.catalogue import DIALECTS, register_dialect
from apikeyrouter.dialects.conversation import (
    Conversation,
    Counted,
    Counts,
    Delta,
    Finish,
    Finished,
    Losses,
    PartBegan,
    PartGrew,
    Reply,
    Started,
    Text,
    Turn,
)
from apikeyrouter.dialects.dialect import Dialect, Tap, ToldError, Verdict
from apikeyrouter.dialects.peeking import ABSENT, PeekReader, count_in, is_true
from apikeyrouter.dialects.rendering import Rendering, Target
from apikeyrouter.dialects.streams.event_tap import EventTap, data_with, tells
from apikeyrouter.dialects.streams.sse import EventParser
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.infrastructure.adapters.intent_adapter import IntentAdapter

pytestmark = pytest.mark.integration


class ToyPeek(msgspec.Struct):
    model: str
    live: msgspec.Raw = ABSENT
    most: msgspec.Raw = ABSENT

    @property
    def is_stream(self) -> bool:
        return is_true(self.live)

    @property
    def output_cap(self) -> int | None:
        return count_in(self.most)


class ToyTap(EventTap):
    def look_over(self, block: bytes) -> None:
        if tells(block, b'"spent"'):
            for data in data_with(b'"spent"', block):
                given, made = json.loads(data)["spent"]
                self._usage, self._complete = Usage(given, made), True


class ToyReader:
    def __init__(self) -> None:
        self._parser, self._is_started = EventParser(), False

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        for _, data in self._parser.feed(chunk):
            event = json.loads(data)
            if not self._is_started:
                self._is_started = True
                yield from (Started(), PartBegan(0, Text(text="")))
            if "bit" in event:
                yield PartGrew(0, event["bit"])
            if "spent" in event:
                yield Finished(Finish.STOP)
                yield Counted(Counts(*event["spent"]))

    def finish(self) -> Iterator[Delta]:
        return iter(())


class ToyWriter:
    def feed(self, delta: Delta) -> bytes:
        if isinstance(delta, PartGrew):
            return b"data: " + json.dumps({"bit": delta.text}).encode() + b"\n\n"
        if isinstance(delta, Counted):
            spent = [delta.counts.input, delta.counts.output]
            return b"data: " + json.dumps({"spent": spent}).encode() + b"\n\n"
        return b""

    def finish(self) -> bytes:
        return b""


class ToyRendering(Rendering):
    def read_request(self, body: dict[str, Any], losses: Losses) -> Conversation:
        for name in body.keys() - {"model", "say", "live", "most"}:
            losses.lack(name)
        return Conversation(turns=[Turn("user", [Text(text=body["say"])])])

    def write_request(self, conversation: Conversation, losses: Losses) -> bytes:
        if conversation.tools:
            losses.lack("tools")
        said = [part.text for turn in conversation.turns for part in turn.parts
                if isinstance(part, Text)]  # fmt: skip
        body = {"model": conversation.model, "say": " ".join(said), "live": conversation.stream}
        return json.dumps(body).encode()

    def target(self, conversation: Conversation) -> Target:
        return Target("toy/talk")

    def read_reply(self, body: dict[str, Any]) -> Reply:
        return Reply(
            parts=[Text(text=body["said"])], finish=Finish.STOP, counts=Counts(*body["spent"])
        )

    def write_reply(self, reply: Reply) -> bytes:
        text = "".join(part.text for part in reply.parts if isinstance(part, Text))
        counts = reply.counts or Counts()
        return json.dumps({"said": text, "spent": [counts.input, counts.output]}).encode()

    def delta_reader(self) -> ToyReader:
        return ToyReader()

    def delta_writer(self, conversation: Conversation) -> ToyWriter:
        return ToyWriter()


class Toy(Dialect):
    name = "toy"
    endpoint = "toy/talk"
    chunked = frozenset({"toy/talk"})
    json_endpoints = chunked
    rendering = ToyRendering()

    def peek(self, body: bytes) -> ToyPeek:
        return PeekReader(ToyPeek).read(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        return body

    def read_body(self, body: bytes) -> tuple[Usage | None, bool]:
        spent = json.loads(body).get("spent")
        return (Usage(*spent), True) if spent else (None, False)

    def tap(self, *, withhold_usage: bool = False) -> Tap:
        return ToyTap()

    def judge(self, data: bytes) -> Verdict:
        return Verdict.CARRIES if b'"bit"' in data else Verdict.NOTHING

    def error_body(self, told: ToldError, request_id: str) -> bytes:
        return json.dumps({"oops": told.message}).encode()

    def error_event(self, told: ToldError, request_id: str) -> bytes:
        return b"data: " + self.error_body(told, request_id) + b"\n\n"


@pytest.fixture(scope="module", autouse=True)
def _registered() -> None:
    if "toy" not in DIALECTS:
        register_dialect(Toy())


@pytest.fixture
async def router() -> AsyncIterator[ApiKeyRouter]:
    async def talk(request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        words = f"you said {asked['say']}".split()
        if not asked.get("live"):
            return web.json_response({"said": " ".join(words), "spent": [5, 4]})
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        for event in [*({"bit": f"{word} "} for word in words), {"spent": [5, 4]}]:
            await answer.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        return answer

    app = web.Application()
    app.router.add_post("/toy/talk", talk)
    async with TestServer(app) as server, ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        url = str(server.make_url("/"))
        await router.register_provider("lab", IntentAdapter(url, dialects=("toy",)))
        await router.register_key("sk-toy-key", "lab")
        yield router
        assert router.get_state_summary()["open_reservations"] == 0


INTENT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


async def test_intent_is_served_in_it(router: ApiKeyRouter) -> None:
    response = await router.route(INTENT)
    assert response.content == "you said hello"
    assert response.metadata.tokens_used.total_tokens == 9


async def test_intent_is_streamed_in_it(router: ApiKeyRouter) -> None:
    chunks = [chunk async for chunk in router.route_stream(INTENT)]
    assert "".join(chunk.content for chunk in chunks) == "you said hello "


@pytest.mark.parametrize("client", ["openai", "anthropic", "toy"])
async def test_clients_of_any_dialect_are_served_in_it(router: ApiKeyRouter, client: str) -> None:
    endpoint, body = {
        "openai": ("chat/completions", INTENT),
        "anthropic": ("messages", {**INTENT, "max_tokens": 9}),
        "toy": ("toy/talk", {"model": "m", "say": "hello"}),
    }[client]
    demand = Demand(model="m", request_id="r", endpoint=endpoint)
    encoded = json.dumps(body).encode()
    answer = await router.forward(
        demand, lambda _: WireRequest(endpoint, encoded, endpoint=endpoint, model="m")
    )
    assert (answer.status, b"you said hello" in answer.body) == (200, True)
    assert (answer.translation is None) == (client == "toy")


async def test_what_it_cannot_carry_is_refused_by_name(router: ApiKeyRouter) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    with pytest.raises(Exception, match="tools: cannot be carried"):
        await router.route({**INTENT, "parameters": {"tools": tools}})


def test_name_or_endpoint_of_another_dialect_is_refused() -> None:
    with pytest.raises(ValueError, match="is another dialect's"):
        register_dialect(Toy())
