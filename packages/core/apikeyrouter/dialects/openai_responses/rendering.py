"""Responses to and from the neutral form."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apikeyrouter.dialects.conversation import DETAIL, REASONING, Conversation, Losses, Reply
from apikeyrouter.dialects.openai_responses.delta_reader import ResponsesDeltaReader
from apikeyrouter.dialects.openai_responses.delta_writer import ResponsesDeltaWriter
from apikeyrouter.dialects.openai_responses.items import NAME
from apikeyrouter.dialects.openai_responses.reading import read_request
from apikeyrouter.dialects.openai_responses.replies import read_reply, write_reply
from apikeyrouter.dialects.openai_responses.writing import write_request
from apikeyrouter.dialects.rendering import Rendering, Target


class ResponsesRendering(Rendering):
    """OpenAI's responses."""

    field_names: ClassVar[Mapping[str, str]] = {
        "response_format": "text.format",
        DETAIL: "input.content.detail",
        REASONING: "input.encrypted_content",
    }
    own_reasoning = NAME

    def read_request(self, body: dict[str, Any], losses: Losses) -> Conversation:
        """Read a request."""
        return read_request(body, losses)

    def write_request(self, conversation: Conversation, losses: Losses) -> bytes:
        """Write a request."""
        return write_request(conversation, losses)

    def target(self, conversation: Conversation) -> Target:
        """Return where a written request goes."""
        del conversation
        return Target("responses")

    def read_reply(self, body: dict[str, Any]) -> Reply:
        """Read a whole answer."""
        return read_reply(body)

    def write_reply(self, reply: Reply) -> bytes:
        """Write a whole answer."""
        return write_reply(reply)

    def delta_reader(self) -> ResponsesDeltaReader:
        """Return what reads one stream."""
        return ResponsesDeltaReader()

    def delta_writer(self, conversation: Conversation) -> ResponsesDeltaWriter:
        """Return what writes one stream."""
        return ResponsesDeltaWriter(conversation)
