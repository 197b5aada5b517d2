"""A provider that answers at once with fixed bytes, in the way of OpenAI."""

import asyncio
from typing import Any

PLAIN = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1760000000,"model":"m","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"Hello there, how can I help?"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":8,'
    b'"total_tokens":28}}'
)
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"word "},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"m",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
EVENTS = 200
#: Long enough that a proxy reads each event by itself.
GAP_S = 0.004
LIMITS = [
    (b"x-ratelimit-limit-requests", b"1000000"),
    (b"x-ratelimit-remaining-requests", b"999990"),
    (b"x-ratelimit-reset-requests", b"1ms"),
    (b"x-ratelimit-limit-tokens", b"100000000"),
    (b"x-ratelimit-remaining-tokens", b"99999000"),
    (b"x-ratelimit-reset-tokens", b"1ms"),
]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    message = await receive()
    body = message.get("body", b"")
    if b'"stream"' not in body:
        headers = [(b"content-type", b"application/json"), *LIMITS]
        headers.append((b"content-length", b"%d" % len(PLAIN)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PLAIN})
        return
    headers = [(b"content-type", b"text/event-stream"), *LIMITS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(EVENTS):
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await asyncio.sleep(GAP_S)
    await send({"type": "http.response.body", "body": LAST, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
