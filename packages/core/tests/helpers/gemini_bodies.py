"""Gemini's requests as they are read and written in tests, and parts of them."""

import json
from typing import Any

from apikeyrouter.dialects.conversation import Conversation, Losses
from apikeyrouter.dialects.gemini.conversations.rendering import GeminiRendering

GEMINI = GeminiRendering()


def read(body: Any) -> tuple[Conversation, list[str]]:
    losses = Losses()
    return GEMINI.read_request(body, losses), losses.names


def write(conversation: Conversation) -> tuple[Any, list[str]]:
    losses = Losses()
    return json.loads(GEMINI.write_request(conversation, losses)), losses.names


def contents(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": list(parts)}]}


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {}, **more}}


def response(name: str, answer: Any = None, **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": answer or {"ok": 1}, **more}}
