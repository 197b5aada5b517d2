"""What is asked and answered in each dialect: bodies of a size, whole answers, streams."""

import json
from dataclasses import dataclass
from typing import Any

EVENTS = 200
_TEXT = "Hello there, how can I help?"
_QUESTION = "Tell me something about routers, please. "


@dataclass(frozen=True)
class Spoken:
    """One dialect.

    Attributes:
        kind: Of a provider that speaks it.
        path: Where a client asks for a whole answer; `stream_path` for one in pieces.
        plain: The whole answer.
        stream: Its events: the first ones, one of many, the last ones.
    """

    kind: str
    path: str
    stream_path: str
    plain: bytes
    stream: tuple[bytes, bytes, bytes]

    def body(self, size: int, *, streams: bool = False) -> bytes:
        """Return a request of *size* bytes."""
        return _padded(_BODIES[self.path](streams), size)


def _padded(body: dict[str, Any], size: int) -> bytes:
    bare = json.dumps(body, separators=(",", ":")).encode()
    question = (_QUESTION * (size // len(_QUESTION) + 1))[: max(1, size - len(bare))]
    return bare.replace(b"<question>", question.encode())


def _chat(streams: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "<question>"},
        ],
        "temperature": 0.7,
    }
    more = {"stream": True, "stream_options": {"include_usage": True}}
    return {**body, **more} if streams else body


def _messages(streams: bool) -> dict[str, Any]:
    return {
        "model": "m", "max_tokens": 500, "system": "You are a helpful assistant.",
        "messages": [{"role": "user", "content": "<question>"}],
        **({"stream": True} if streams else {}),
    }  # fmt: skip


def _responses(streams: bool) -> dict[str, Any]:
    return {
        "model": "m", "instructions": "You are a helpful assistant.", "input": "<question>",
        "store": False, **({"stream": True} if streams else {}),
    }  # fmt: skip


def _contents(streams: bool) -> dict[str, Any]:
    del streams
    return {
        "systemInstruction": {"parts": [{"text": "You are a helpful assistant."}]},
        "contents": [{"role": "user", "parts": [{"text": "<question>"}]}],
    }


def _event(data: dict[str, Any], name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    return _event(
        {
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000,
            "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )  # fmt: skip


def _typed(kind: str, **more: Any) -> bytes:
    return _event({"type": kind, **more}, kind)


_MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None,
}  # fmt: skip
_BEGUN = {"input_tokens": 20, "output_tokens": 1}
_RUNNING = {"status": "in_progress", "output": []}
_ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
_PART = {"type": "output_text", "text": _TEXT, "annotations": []}
_RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1760000000, "model": "m",
    "status": "completed", "output": [{**_ITEM, "content": [_PART]}],
    "usage": {"input_tokens": 20, "output_tokens": 8, "total_tokens": 28},
}  # fmt: skip
_GEMINI_USAGE = {"promptTokenCount": 20, "candidatesTokenCount": 8, "totalTokenCount": 28}
_AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def _candidate(text: str, **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"content": content, "index": 0, **more}], "modelVersion": "m"}


SPOKEN = {
    "openai": Spoken(
        "openai", "/v1/chat/completions", "/v1/chat/completions",
        json.dumps(
            {
                "id": "chatcmpl-1", "object": "chat.completion", "created": 1760000000,
                "model": "m",
                "choices": [
                    {
                        "index": 0, "message": {"role": "assistant", "content": _TEXT},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28},
            }
        ).encode(),
        (b"", _chunk({"content": "word "}), _chunk({}, "stop") + b"data: [DONE]\n\n"),
    ),
    "anthropic": Spoken(
        "anthropic", "/v1/messages", "/v1/messages",
        json.dumps(
            {
                **_MESSAGE, "content": [{"type": "text", "text": _TEXT}],
                "stop_reason": "end_turn", "usage": {"input_tokens": 20, "output_tokens": 8},
            }
        ).encode(),
        (
            _typed(
                "message_start",
                message={**_MESSAGE, "content": [], "usage": _BEGUN},
            )
            + _typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "word "}),
            _typed("content_block_stop", index=0)
            + _typed(
                "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage={"output_tokens": 8},
            )
            + _typed("message_stop"),
        ),
    ),
    "responses": Spoken(
        "openai", "/v1/responses", "/v1/responses", json.dumps(_RESPONSE).encode(),
        (
            _typed("response.created", response={**_RESPONSE, **_RUNNING})
            + _typed("response.output_item.added", output_index=0, item={**_ITEM, "content": []})
            + _typed("response.content_part.added", **_AT, part={**_PART, "text": ""}),
            _typed("response.output_text.delta", **_AT, delta="word "),
            _typed("response.output_text.done", **_AT, text=_TEXT)
            + _typed("response.completed", response=_RESPONSE),
        ),
    ),
    "gemini": Spoken(
        "gemini", "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        json.dumps(
            {**_candidate(_TEXT, finishReason="STOP"), "usageMetadata": _GEMINI_USAGE}
        ).encode(),
        (
            b"", _event(_candidate("word ")),
            _event({**_candidate("", finishReason="STOP"), "usageMetadata": _GEMINI_USAGE}),
        ),
    ),
}  # fmt: skip
_BODIES = {
    "/v1/chat/completions": _chat,
    "/v1/messages": _messages,
    "/v1/responses": _responses,
    "/v1beta/models/m:generateContent": _contents,
}


def answered_at(path: str) -> Spoken:
    """Return the dialect of a path."""
    return next(
        spoken for spoken in SPOKEN.values()
        if path in (spoken.path, spoken.stream_path.partition("?")[0])
    )  # fmt: skip
