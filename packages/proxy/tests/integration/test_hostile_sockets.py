"""What clients try over WebSockets: to fill the memory, to say one thing here and another there."""

import json
from typing import Any

import pytest
from websockets.sync.client import connect

pytestmark = pytest.mark.integration
LARGE, MOST = 400_000, 1_000_000


class Silent:
    """Takes WebSockets, notes messages, and answers none."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            self.seen.append(message["text"])


def created(lane: int, text: str) -> str:
    message = {"type": "response.create", "model": "m", "stream_id": f"lane-{lane}", "input": text}
    return json.dumps(message)


async def test_messages_that_wait_are_bounded_by_their_bytes(
    serve: Any, config_for: Any, until: Any
) -> None:
    upstream = Silent()
    server = {"max_body_bytes": MOST, "max_inflight_body": 2 * MOST}
    proxy = serve(config_for(serve(upstream).url + "/v1", server=server))
    bodies = proxy.app.bodies
    with connect(proxy.url.replace("http", "ws") + "/v1/responses") as socket:
        for lane in range(3):
            socket.send(created(lane, "x" * LARGE))
        told = json.loads(socket.recv(timeout=10))
        assert (told["status"], told["stream_id"]) == (503, "lane-2")
        assert told["error"]["code"] == "request_bytes_exhausted"
        assert 0 < bodies.held_bytes <= 2 * MOST
    await until(lambda: bodies.held_bytes == 0)


async def test_member_that_is_sent_twice_is_sent_on_once(
    serve: Any, config_for: Any, until: Any
) -> None:
    upstream = Silent()
    proxy = serve(config_for(serve(upstream).url + "/v1"))
    with connect(proxy.url.replace("http", "ws") + "/v1/responses") as socket:
        socket.send('{"type": "response.create", "model": "m", "type": "response.inject"}')
        await until(lambda: len(upstream.seen) == 1)
    assert json.loads(upstream.seen[0]) == {"type": "response.inject", "model": "m"}
    assert "response.create" not in upstream.seen[0]
