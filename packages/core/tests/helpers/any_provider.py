"""A provider of any dialect for tests, as a real server: it answers and notes what it was asked."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

CHAT, RESPONSES, MESSAGES, CONTENT = "chat/completions", "responses", "messages", "generateContent"
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    },
    RESPONSES: {
        "id": "r", "object": "response", "status": "completed", "output": [],
        "usage": {"input_tokens": 3, "output_tokens": 1},
    },
    MESSAGES: {
        "type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 1},
    },
    CONTENT: {
        "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1},
    },
}  # fmt: skip
STREAMS = {
    CHAT: b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n",
    RESPONSES: b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
    b'"delta":"hi"}\n\nevent: response.completed\ndata: {"type":"response.completed","response":'
    b'{"id":"r","status":"completed","usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
    MESSAGES: b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"hi"}}\n\nevent: message_stop\n'
    b'data: {"type":"message_stop"}\n\n',
    CONTENT: b'data: {"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}]}'
    b"\n\n",
}


class AnyProvider:
    """Answers as the dialect of the path does, and notes what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        #: What other paths are answered.
        self.told: tuple[int, dict[str, Any]] = (200, {"data": []})

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((f"{request.method} {request.path_qs}", headers, body))
        end = next((name for name in BODIES if request.path.endswith(name)), None)
        if end is None or request.method == "GET":
            return web.json_response(self.told[1], status=self.told[0])
        if json.loads(body).get("stream"):
            return web.Response(body=STREAMS[end], content_type="text/event-stream")
        return web.json_response(BODIES[end])


@asynccontextmanager
async def any_provider() -> AsyncIterator[AnyProvider]:
    """Serve one."""
    told, app = AnyProvider(), web.Application()
    app.router.add_route("*", "/{path:.*}", told.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield told
    await runner.cleanup()
