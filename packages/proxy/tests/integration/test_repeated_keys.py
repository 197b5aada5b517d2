"""Providers that repeat our key: in headers, in what is fine, in streams, in frames."""

from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

pytestmark = pytest.mark.integration
SECRET = b"sk-secret-of-ours-1234"
TALK = b'"messages":[{"role":"user","content":"x"}]}'
WHOLE = (
    b'{"id":"SECRET","object":"chat.completion","model":"m","choices":[{"index":0,'
    b'"finish_reason":"stop","message":{"role":"assistant","content":"SECRET"}}]}'
).replace(b"SECRET", SECRET)
EVENTS = (
    b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"SECRET"}}]}\n\n'
    b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
).replace(b"SECRET", SECRET)


async def repeats(scope: Any, receive: Any, send: Any) -> None:
    """Answer everything with the key that came, and a length where there is one."""
    message = await receive()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        text = b'{"type":"session.created","your_key":"' + SECRET + b'"}'
        await send({"type": "websocket.send", "text": text.decode()})
        await receive()
        return
    is_stream = b'"stream":true' in message["body"]
    body = EVENTS if is_stream else WHOLE
    kind = b"text/event-stream" if is_stream else b"application/json"
    if scope["path"].endswith("/content"):
        kind, body = b"application/octet-stream", SECRET * 3
    headers = [
        (b"content-type", kind), (b"content-length", b"%d" % len(body)), (b"x-echo", SECRET),
        (b"location", b"https://example.org/?key=" + SECRET),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def proxy(serve: Any, config_for: Any) -> Any:
    config = config_for(serve(repeats).url + "/v1")
    config["keys"][0]["secret"] = SECRET.decode()
    return serve(config)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/chat/completions", b'{"model":"m","messages":[]}'),
        ("POST", "/v1/chat/completions", b'{"model":"m","messages":[],"stream":true}'),
        ("POST", "/v1/messages", b'{"model":"m","max_tokens":9,' + TALK),
        (
            "POST",
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            b'{"contents":[{"parts":[{"text":"x"}]}]}',
        ),
        ("POST", "/v1/files", b"{}"),
        ("GET", "/v1/files/file-12345/content", b""),
        ("POST", "/p1/anything", b"{}"),
    ],
)
def test_key_does_not_reach_a_client(method: str, path: str, body: bytes, proxy: Any) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx2.request(method, proxy.url + path, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert b"*" * len(SECRET) in answer.content
    assert SECRET not in answer.content
    assert SECRET.decode() not in repr(answer.headers.multi_items())


def test_key_does_not_reach_a_client_in_a_frame(proxy: Any) -> None:
    with connect(proxy.url.replace("http", "ws") + "/v1/realtime?model=m") as socket:
        told = socket.recv(timeout=10)
    assert "*" * len(SECRET) in told
    assert SECRET.decode() not in str(told)
