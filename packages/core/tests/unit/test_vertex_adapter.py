"""Claude at Vertex, against a server that notes what came."""

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.infrastructure.adapters.clouds.vertex_adapter import _prediction_of
from apikeyrouter.infrastructure.adapters.provider_catalogue import make_adapter

pytestmark = pytest.mark.unit

TOKEN = "ya29.your-token"
PLACE = "/v1/projects/p/locations/l/publishers/anthropic"
ANSWER = {
    "type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}],
    "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1},
}  # fmt: skip


class Vertex:
    """Answers as Claude does, and notes method, address, headers and body."""

    url = ""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    async def answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = json.loads(await request.read())
        self.asked.append((f"{request.method} {request.path_qs}", headers, body))
        return web.json_response(ANSWER)


@pytest.fixture
async def vertex() -> AsyncIterator[Vertex]:
    told, app = Vertex(), web.Application()
    app.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}{PLACE}"
    yield told
    await runner.cleanup()


async def _forward(vertex: Vertex, request: WireRequest) -> int:
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        adapter = make_adapter("vertex-anthropic", base_url=vertex.url)
        await router.register_provider("vertex-anthropic", adapter)
        await router.register_key(TOKEN, "vertex-anthropic")
        demand = Demand(model="claude-9@20261001", request_id="r", endpoint=request.endpoint)
        answer = await router.forward(demand, lambda _: request)
    assert answer.translation is None
    return answer.status


@pytest.mark.parametrize(
    ("endpoint", "extra", "path"),
    [
        ("messages", {}, "claude-9@20261001:rawPredict"),
        ("messages", {"stream": False}, "claude-9@20261001:rawPredict"),
        ("messages", {"stream": True}, "claude-9@20261001:streamRawPredict"),
        ("messages/count_tokens", {}, "count-tokens:rawPredict"),
    ],
)
async def test_messages_are_predictions_of_the_model_in_the_path(
    vertex: Vertex, endpoint: str, extra: dict[str, Any], path: str
) -> None:
    sent = {"model": "claude-9@20261001", "max_tokens": 5, "unknown": {"a": [1.50]}, **extra}
    headers = {"anthropic-beta": "x"}
    request = WireRequest(
        f"v1/{endpoint}", json.dumps(sent).encode(), headers, query="beta=true", endpoint=endpoint
    )
    assert await _forward(vertex, request) == 200
    [(asked, headers, body)] = vertex.asked
    assert asked == f"POST {PLACE}/models/{path}"
    named = {} if endpoint == "messages" else {"model": sent["model"]}
    del sent["model"]
    assert body == {**sent, **named, "anthropic_version": "vertex-2023-10-16"}
    assert (headers["authorization"], headers["anthropic-beta"]) == (f"Bearer {TOKEN}", "x")
    assert "x-api-key" not in headers


async def test_version_that_a_client_puts_into_the_body_stays(vertex: Vertex) -> None:
    body = b'{"model":"claude-9@20261001","anthropic_version":"vertex-2027-01-01"}'
    assert await _forward(vertex, WireRequest("v1/messages", body, endpoint="messages")) == 200
    assert vertex.asked[0][2] == {"anthropic_version": "vertex-2027-01-01"}


async def test_packed_body_is_sent_unpacked(vertex: Vertex) -> None:
    body = gzip.compress(b'{"model":"claude-9@20261001","max_tokens":5}')
    request = WireRequest("v1/messages", body, {"content-encoding": "gzip"}, endpoint="messages")
    assert await _forward(vertex, request) == 200
    _, headers, seen = vertex.asked[0]
    assert seen == {"max_tokens": 5, "anthropic_version": "vertex-2023-10-16"}
    assert "content-encoding" not in headers
    assert request.headers == {"content-encoding": "gzip"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"[]", {}), (b"\xff", {}), (b"{}", {"content-encoding": "gzip"})],
    ids=["list", "no JSON", "not packed"],
)
async def test_body_that_is_no_object_is_refused_unsent(
    vertex: Vertex, body: bytes, headers: dict[str, str]
) -> None:
    request = WireRequest("v1/messages", body, headers, endpoint="messages")
    assert await _forward(vertex, request) == 400
    assert vertex.asked == []


async def test_chats_are_translated_to_predictions(vertex: Vertex) -> None:
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        adapter = make_adapter("vertex-anthropic", base_url=vertex.url)
        await router.register_provider("vertex-anthropic", adapter)
        await router.register_key(TOKEN, "vertex-anthropic")
        messages = [{"role": "user", "content": "hello"}]
        answer = await router.route({"model": "claude-9@20261001", "messages": messages})
    assert answer.content == "hi"
    [(asked, _, body)] = vertex.asked
    assert asked == f"POST {PLACE}/models/claude-9@20261001:rawPredict"
    assert "model" not in body


@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=40) | st.from_regex(rb'\{"model":.{0,20}\}', fullmatch=True))
async def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        told = await _prediction_of(WireRequest("v1/messages", body, endpoint="messages"))
    except BadBodyError:
        return
    assert isinstance(json.loads(told.body), dict)
    assert told.path.startswith("models/")
