"""WebSockets to a provider: opened again, left for another key, and read at their reader's pace."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.service import SOCKET_BODY_BEGINS, SocketPool, WireRequest, forward_by

pytestmark = pytest.mark.integration
Script = Callable[[web.WebSocketResponse, dict[str, Any], "Provider"], Awaitable[object]]
LIMIT = {
    "type": "error", "status": 400, "error": {"code": "websocket_connection_limit_reached"},
}  # fmt: skip
USAGE = {"input_tokens": 5, "output_tokens": 2}


def done(lane: str = "") -> dict[str, Any]:
    response = {"id": "resp_1", "status": "completed", "error": None, "usage": USAGE}
    event = {"type": "response.completed", "response": response}
    return {**event, "stream_id": lane} if lane else event


class Provider:
    """Takes WebSockets; *script* answers each message."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.opened = 0
        self.heard: list[tuple[str, dict[str, Any]]] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.opened += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            heard = json.loads(message.data)
            self.heard.append((request.headers["authorization"], heard))
            await self._script(socket, heard, self)
        return socket


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[tuple[ApiKeyRouter, Provider]]]]:
    """Start a provider, and a router with this many keys of it."""
    closing: list[Any] = []

    async def begin(script: Script, keys: int = 1) -> tuple[ApiKeyRouter, Provider]:
        provider, app = Provider(script), web.Application()
        app.router.add_get("/v1/responses", provider.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        router = ApiKeyRouter(config={"log_level": "CRITICAL"})
        adapter = OpenAIAdapter(f"http://{host}:{port}/v1", dialects=("openai", "openai-responses"))
        await router.register_provider("p", adapter)
        for number in range(keys):
            await router.register_key(f"sk-{number}", "p", {"id": f"k{number}"})
        closing.extend((router.close, runner.cleanup))
        return router, provider

    yield begin
    for close in closing:
        await close()


async def ask(router: ApiKeyRouter, pool: SocketPool, lane: str = "") -> bytes:
    """Return the whole stream of an answer."""
    body = SOCKET_BODY_BEGINS + b'"model":"m","input":"x"}'
    demand = Demand("m", "r", endpoint="responses", stream=True, max_wait=0.0)
    answer = await forward_by(
        router.attempts(demand),
        lambda _: WireRequest("responses", body, endpoint="responses"),
        None, lenient=False, send=pool.sender_for(lane),
    )  # fmt: skip
    assert answer.failure is None, answer.failure
    assert answer.stream is not None
    return b"".join([chunk async for chunk in answer.stream])


async def nowhere(data: bytes) -> None:
    raise AssertionError(data)


async def test_one_socket_is_used_for_all_answers_of_a_key(start: Any) -> None:
    router, provider = await start(lambda socket, heard, _: socket.send_json(done()))
    pool = SocketPool(nowhere)
    for _ in range(3):
        assert b"response.completed" in await ask(router, pool)
    pool.close()
    message = {"type": "response.create", "model": "m", "input": "x"}
    assert (provider.opened, provider.heard) == (1, [("Bearer sk-0", message)] * 3)


async def test_socket_that_has_lived_too_long_is_opened_again(start: Any) -> None:
    async def script(socket: web.WebSocketResponse, heard: Any, provider: Provider) -> None:
        await socket.send_json(LIMIT if len(provider.heard) == 2 else done())

    router, provider = await start(script)
    pool = SocketPool(nowhere)
    for _ in range(2):
        assert b"response.completed" in await ask(router, pool)
    pool.close()
    assert (provider.opened, len(provider.heard)) == (2, 3)


async def test_socket_that_closes_between_answers_is_opened_again(start: Any) -> None:
    async def script(socket: web.WebSocketResponse, heard: Any, provider: Provider) -> None:
        await socket.send_json(done())
        await socket.close()

    router, provider = await start(script)
    pool = SocketPool(nowhere)
    for number in range(1, 4):
        assert b"response.completed" in await ask(router, pool)
        assert provider.opened == number
        while pool.key_ids:  # noqa: ASYNC110 - the other side closes it
            await asyncio.sleep(0)
    pool.close()


async def test_socket_that_closes_without_an_answer_is_left_for_another_key(start: Any) -> None:
    async def script(socket: web.WebSocketResponse, heard: Any, provider: Provider) -> None:
        if len(provider.heard) == 1:
            await socket.close()
        else:
            await socket.send_json(done())

    router, provider = await start(script, keys=2)
    pool = SocketPool(nowhere)
    assert b"response.completed" in await ask(router, pool)
    pool.close()
    assert len({bearer for bearer, _ in provider.heard}) == 2


async def test_lanes_of_one_socket_do_not_mix(start: Any) -> None:
    async def script(socket: web.WebSocketResponse, heard: Any, provider: Provider) -> None:
        if len(provider.heard) < 3:
            return
        for _, message in reversed(provider.heard):
            lane = message["stream_id"]
            await socket.send_json(
                {"type": "response.output_text.delta", "delta": f"to {lane}", "stream_id": lane}
            )
            await socket.send_json(done(lane))

    router, provider = await start(script)
    pool = SocketPool(nowhere)
    lanes = ["a", "b", 'c"']
    answers = await asyncio.gather(*(ask(router, pool, lane) for lane in lanes))
    pool.close()
    assert provider.opened == 1
    for lane, answer in zip(lanes, answers, strict=True):
        assert answer.count(b"data: ") == 2
        assert json.dumps(f"to {lane}").encode() in answer


async def test_usage_settles_the_reservation(start: Any) -> None:
    router, _ = await start(lambda socket, heard, _: socket.send_json(done()))
    pool = SocketPool(nowhere)
    await ask(router, pool)
    pool.close()
    trace = router.get_request_trace("r")
    assert trace is not None
    assert (trace["input_tokens"], trace["output_tokens"]) == (5, 2)
