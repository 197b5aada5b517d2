"""The least that a proxy can do: raw ASGI in, aiohttp out. What ours is measured against."""

import os
from typing import Any

import aiohttp

TARGET = os.environ.get("TARGET", "http://127.0.0.1:1")
HEADERS = {"authorization": "Bearer sk-up", "content-type": "application/json"}
_session: aiohttp.ClientSession | None = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    global _session
    if scope["type"] != "http":
        return
    if _session is None:
        _session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    query = scope["query_string"].decode()
    url = TARGET + scope["path"] + (f"?{query}" if query else "")
    async with _session.post(url, data=body, headers=HEADERS) as answer:
        head = [(name.lower(), value) for name, value in answer.raw_headers]
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            head = [pair for pair in head if pair[0] != b"transfer-encoding"]
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            async for chunk in answer.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            data = await answer.read()
            await send({"type": "http.response.start", "status": answer.status, "headers": head})
            await send({"type": "http.response.body", "body": data})
