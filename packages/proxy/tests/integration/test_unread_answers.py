"""Clients that ask and never read end at their deadline, with all that they held."""

import asyncio
import socket
from typing import Any

import pytest

import apikeyrouter_proxy.http_protocol as protocol

pytestmark = pytest.mark.integration

BODY = b'{"model":"m"}'
CLIENTS = 20


async def pour(scope: Any, receive: Any, send: Any) -> None:
    """Answer with more than any buffer takes, as a stream without end or as one large body."""
    body = (await receive())["body"]
    is_stream = b"stream" in body
    kind = b"text/event-stream" if is_stream else b"application/json"
    size = [] if is_stream else [(b"content-length", b"%d" % (2**24 + 2))]
    headers = [(b"content-type", kind), *size]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"].endswith("/models") or not is_stream:
        whole = b"[%s]" % (b" " * 2**24)
        await send({"type": "http.response.body", "body": whole})
        return
    event = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"x" * 60_000)
    for _ in range(2000):
        await send({"type": "http.response.body", "body": event, "more_body": True})


@pytest.fixture
def proxy(serve: Any, config_for: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(protocol, "_UNREAD_S", 0.3)
    config = config_for(serve(pour).url + "/v1")
    config["providers"]["p1"]["models"] = ["m"]
    return serve(config)


def ask_and_never_read(url: str, body: bytes, *lines: bytes) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    head = [b"POST /v1/chat/completions HTTP/1.1", b"host: localhost", *lines]
    connection.sendall(b"\r\n".join((*head, b"content-length: %d" % len(body), b"", body)))
    return connection


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (BODY[:-1] + b',"stream":true}', [b"x-request-timeout: 1"]),
        (BODY, []),
        (BODY, [b"connection: close"]),
    ],
    ids=["stream", "whole", "whole and closed"],
)
async def test_connection_whose_answer_nobody_reads_ends(
    body: bytes, lines: list[bytes], proxy: Any, until: Any
) -> None:
    state = proxy.server.server_state
    clients = [ask_and_never_read(proxy.url, body, *lines) for _ in range(CLIENTS)]
    try:
        await until(lambda: bool(state.connections))
        await until(lambda: not state.connections and not state.tasks, 10.0)
        await until(lambda: proxy.app.router.get_state_summary()["open_reservations"] == 0)
    finally:
        for client in clients:
            client.close()


async def test_slow_reader_of_a_whole_answer_gets_all_of_it(proxy: Any) -> None:
    connection = ask_and_never_read(proxy.url, BODY, b"connection: close")
    connection.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**17)
    size = 0
    while piece := await reader.read(2**17):
        size += len(piece)
        await asyncio.sleep(0.01)
    writer.close()
    assert size > 2**24
