"""OpenAI's Responses dialect."""

from typing import ClassVar

import msgspec

from apikeyrouter.dialects.dialect import Dialect, Peek, Tap, ToldError, Verdict
from apikeyrouter.dialects.json_members import with_member
from apikeyrouter.dialects.openai_responses import events, judging
from apikeyrouter.dialects.openai_responses.peek import ResponsesPeek, peek
from apikeyrouter.dialects.openai_responses.rendering import ResponsesRendering
from apikeyrouter.dialects.peeking import text_in
from apikeyrouter.dialects.rendering import Rendering
from apikeyrouter.domain.models.token_usage import Usage


class OpenAIResponses(Dialect):
    """Responses, and what is counted or made smaller of them."""

    name = "openai-responses"
    endpoint = "responses"
    chunked: ClassVar[frozenset[str]] = frozenset({"responses"})
    json_endpoints: ClassVar[frozenset[str]] = frozenset(
        {"responses", "responses/input_tokens", "responses/compact"}
    )

    rendering: ClassVar[Rendering | None] = ResponsesRendering()

    def peek(self, body: bytes) -> ResponsesPeek:
        """Read what a decision needs; the model is empty where a stored object names it."""
        return peek(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """Return *body* asking for *model*, unless it leaves that to a stored object."""
        try:
            return with_member(body, "model", model)
        except ValueError:
            return body

    def session_of(self, seen: Peek) -> str:
        """Return the key that names a prompt cache."""
        key = seen.prompt_cache_key if isinstance(seen, ResponsesPeek) else None
        return text_in(key) if key else ""

    def read_body(self, body: bytes) -> tuple[Usage | None, bool]:
        """Return the usage that a whole body tells, and whether it looks like a success."""
        return events.read_body(body)

    def tap(self, *, withhold_usage: bool = False) -> Tap:
        """Return what reads a stream; usage has no event of its own that could be kept back."""
        del withhold_usage
        return events.ResponsesTap()

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
        """Return the event that ends a stream.

        Its `error` is not OpenAI's own; clients raise on it rather than end early in silence.
        """
        del request_id
        error = {
            "message": told.message, "type": told.kind, "param": told.param, "code": told.code,
        }  # fmt: skip
        event = {
            "type": "error", "code": told.code, "message": told.message, "param": told.param,
            "sequence_number": 0, "error": error,
        }  # fmt: skip
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"
