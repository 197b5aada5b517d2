"""OpenAI's chat dialect, and what providers that speak it do besides."""

from typing import ClassVar

import msgspec

from apikeyrouter.dialects.dialect import Dialect, Peek, Tap, ToldError, Verdict
from apikeyrouter.dialects.json_members import with_member
from apikeyrouter.dialects.openai_chat import judging
from apikeyrouter.dialects.openai_chat.peek import ChatPeek, peek, wants_usage_spliced, with_usage
from apikeyrouter.dialects.openai_chat.rendering import ChatRendering
from apikeyrouter.dialects.openai_chat.usage_tap import StreamTap, read_body
from apikeyrouter.dialects.peeking import text_in
from apikeyrouter.domain.models.token_usage import Usage


class OpenAIChat(Dialect):
    """Chat completions, legacy completions, embeddings, and OpenAI's other endpoints."""

    name = "openai"
    endpoint = "chat/completions"
    chunked: ClassVar[frozenset[str]] = frozenset({"chat/completions", "completions"})
    json_endpoints: ClassVar[frozenset[str]] = chunked | {"embeddings"}
    rendering = ChatRendering()

    def peek(self, body: bytes) -> ChatPeek:
        """Read what a decision needs."""
        return peek(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """Return *body* asking for *model*; every other byte stays as it is."""
        return with_member(body, "model", model)

    def wants_usage_spliced(self, seen: Peek) -> bool:
        """Tell whether a streamed request says nothing about usage."""
        return isinstance(seen, ChatPeek) and wants_usage_spliced(seen)

    def with_usage(self, body: bytes, seen: Peek) -> bytes:
        """Return *body* with `stream_options.include_usage` set; it must not be set yet."""
        return with_usage(body, seen) if isinstance(seen, ChatPeek) else body

    def session_of(self, seen: Peek) -> str:
        """Return the key that names a prompt cache."""
        key = seen.prompt_cache_key if isinstance(seen, ChatPeek) else None
        return text_in(key) if key else ""

    def read_body(self, body: bytes) -> tuple[Usage | None, bool]:
        """Return the usage that a whole body tells, and whether it looks like a success."""
        return read_body(body)

    def tap(self, *, withhold_usage: bool = False) -> Tap:
        """Return what reads a stream."""
        return StreamTap(withhold_usage)

    def judge(self, data: bytes) -> Verdict:
        """Tell what the data of one event carries."""
        return judging.judge(data)

    def error_body(self, told: ToldError, request_id: str) -> bytes:
        """Return the JSON that OpenAI's clients read."""
        del request_id
        error = {
            "message": told.message, "type": told.kind, "param": told.param, "code": told.code,
        }  # fmt: skip
        return msgspec.json.encode({"error": error})

    def error_event(self, told: ToldError, request_id: str) -> bytes:
        """Return the event that ends a stream; no `[DONE]` follows."""
        return b"data: " + self.error_body(told, request_id) + b"\n\n"
