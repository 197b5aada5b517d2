"""Gemini's streams as they are read and written in tests."""

import json
from typing import Any

from apikeyrouter.dialects.conversation import Conversation, Delta
from apikeyrouter.dialects.gemini.conversations.rendering import GeminiRendering

EVENTS, ARRAYS = GeminiRendering(), GeminiRendering(is_array=True)


def streamed(rendering: GeminiRendering, stream: bytes, size: int) -> list[Delta]:
    reader, deltas = rendering.delta_reader(), list[Delta]()
    for at in range(0, len(stream), size):
        deltas += reader.feed(stream[at : at + size])
    return [*deltas, *reader.finish()]


def spoken(rendering: GeminiRendering, deltas: list[Delta]) -> bytes:
    writer = rendering.delta_writer(Conversation(model="m"))
    return b"".join([*map(writer.feed, deltas), writer.finish()])


def as_events(pieces: list[Any], end: bytes = b"\r\n\r\n") -> bytes:
    return b"".join(b"data: " + json.dumps(found).encode() + end for found in pieces)


def as_array(pieces: list[Any]) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(found, indent=1).encode() for found in pieces) + b"]"
