"""Anthropic's dialect."""

from typing import ClassVar

from apikeyrouter.dialects.anthropic import errors, judging
from apikeyrouter.dialects.anthropic.peek import MessagesPeek, peek
from apikeyrouter.dialects.anthropic.rendering.messages_rendering import MessagesRendering
from apikeyrouter.dialects.anthropic.usage import MessageTap, read_body
from apikeyrouter.dialects.dialect import Dialect, Tap, ToldError, Verdict
from apikeyrouter.dialects.json_members import with_member
from apikeyrouter.domain.models.token_usage import Usage


class Anthropic(Dialect):
    """Messages, counts of their tokens, and Anthropic's other endpoints."""

    name = "anthropic"
    endpoint = "messages"
    chunked: ClassVar[frozenset[str]] = frozenset({"messages"})
    json_endpoints: ClassVar[frozenset[str]] = frozenset({"messages", "messages/count_tokens"})
    keep_alive = b'event: ping\ndata: {"type": "ping"}\n\n'
    pings_after_s = 15.0
    rendering = MessagesRendering()

    def peek(self, body: bytes) -> MessagesPeek:
        """Read what a decision needs."""
        return peek(body)

    def with_model(self, body: bytes, model: str) -> bytes:
        """Return *body* asking for *model*; every other byte stays as it is."""
        return with_member(body, "model", model)

    def read_body(self, body: bytes) -> tuple[Usage | None, bool]:
        """Return the usage that a whole body tells, and whether it looks like a success."""
        return read_body(body)

    def tap(self, *, withhold_usage: bool = False) -> Tap:
        """Return what reads a stream; usage always is a part of it."""
        del withhold_usage
        return MessageTap()

    def judge(self, data: bytes) -> Verdict:
        """Tell what the data of one event carries."""
        return judging.judge(data)

    def error_body(self, told: ToldError, request_id: str) -> bytes:
        """Return the JSON that Anthropic's clients read."""
        return errors.body_of(told, request_id)

    def error_status(self, told: ToldError) -> int:
        """Return the status of a refusal: overload is 529."""
        return errors.status_of(told.status)

    def error_event(self, told: ToldError, request_id: str) -> bytes:
        """Return the event that ends a stream."""
        return b"event: error\ndata: " + self.error_body(told, request_id) + b"\n\n"

    def answer_headers(self, request_id: str) -> list[tuple[bytes, bytes]]:
        """Return the header by which Anthropic's clients name a request."""
        return [(b"request-id", request_id.encode())]
