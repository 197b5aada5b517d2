"""A provider that answers at once with fixed bytes, in whatever dialect it is asked."""

import asyncio
from typing import Any

from dialects import EVENTS, answered_at

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
    if scope["method"] != "POST":
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    message = await receive()
    body = message.get("body", b"")
    spoken = answered_at(scope["path"])
    if b'"stream":true' not in body and "stream" not in scope["path"]:
        headers = [(b"content-type", b"application/json"), *LIMITS]
        headers.append((b"content-length", b"%d" % len(spoken.plain)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": spoken.plain})
        return
    first, event, last = spoken.stream
    headers = [(b"content-type", b"text/event-stream"), *LIMITS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if first:
        await send({"type": "http.response.body", "body": first, "more_body": True})
    for _ in range(EVENTS):
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(GAP_S)
    await send({"type": "http.response.body", "body": last, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
