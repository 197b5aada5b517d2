"""Gemini's dialect: generateContent, counting, embedding.

Its streams are events when asked for with `alt=sse`, else one JSON array: the same
dialect with streams of another form.
"""

from typing import ClassVar

from apikeyrouter.dialects.dialect import Dialect, Tap, ToldError, Verdict
from apikeyrouter.dialects.gemini import errors, judging
from apikeyrouter.dialects.gemini import peek as peeking
from apikeyrouter.dialects.gemini.conversations.rendering import GeminiRendering
from apikeyrouter.dialects.gemini.usage_tap import ArrayTap, StreamTap, read_body
from apikeyrouter.domain.models.token_usage import Usage


class Gemini(Dialect):
    """Whole answers, and streams of events."""

    name = "gemini"
    endpoint = "generateContent"
    chunked: ClassVar[frozenset[str]] = frozenset({"generateContent"})
    rendering = GeminiRendering()
    json_endpoints: ClassVar[frozenset[str]] = chunked | {
        "countTokens", "embedContent", "batchEmbedContents", "predict",
    }  # fmt: skip

    def peek(self, body: bytes) -> peeking.GeminiPeek:
        """Read the caller's output cap; the model and whether it streams are in the address."""
        return peeking.peek(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """Return *body* naming *model* where it names one."""
        return peeking.with_model(body, model)

    def read_body(self, body: bytes) -> tuple[Usage | None, bool]:
        """Return the usage that a whole body tells, and whether it looks like a success."""
        return read_body(body)

    def tap(self, *, withhold_usage: bool = False) -> Tap:
        """Return what reads a stream; usage is never withheld: nobody has to ask for it."""
        del withhold_usage
        return StreamTap()

    def judge(self, data: bytes) -> Verdict:
        """Tell what the data of one event carries."""
        return judging.judge(data)

    def error_body(self, told: ToldError, request_id: str) -> bytes:
        """Return the JSON that Google's clients read."""
        del request_id
        return errors.error_body(told)

    def error_event(self, told: ToldError, request_id: str) -> bytes:
        """Return the event that ends a stream."""
        return b"data: " + self.error_body(told, request_id) + b"\n\n"


class GeminiArrays(Gemini):
    """The same with streams that are JSON arrays."""

    endpoint = "streamGenerateContent"
    chunked = frozenset({"streamGenerateContent"})
    json_endpoints = frozenset()
    stream_type = "application/json"
    streams_arrays = True
    rendering = GeminiRendering(is_array=True)

    def tap(self, *, withhold_usage: bool = False) -> Tap:
        """Return what reads a stream."""
        del withhold_usage
        return ArrayTap()

    def error_body(self, told: ToldError, request_id: str) -> bytes:
        """Return an array of the error alone."""
        return b"[" + super().error_body(told, request_id) + b"]"

    def error_event(self, told: ToldError, request_id: str) -> bytes:
        """Return the item that ends an array which has begun."""
        return b"," + super().error_body(told, request_id) + b"]"
