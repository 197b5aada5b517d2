"""Anthropic's messages to and from the neutral form."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apikeyrouter.dialects.anthropic.rendering.delta_reader import MessageDeltaReader
from apikeyrouter.dialects.anthropic.rendering.delta_writer import MessageDeltaWriter
from apikeyrouter.dialects.anthropic.rendering.reading import read_request
from apikeyrouter.dialects.anthropic.rendering.replies import read_reply, write_reply
from apikeyrouter.dialects.anthropic.rendering.signatures import ORIGIN
from apikeyrouter.dialects.anthropic.rendering.writing import write_request
from apikeyrouter.dialects.conversation import REASONING, Conversation, Losses, Reply
from apikeyrouter.dialects.rendering import Rendering, Target

#: In which sampling can be set; a client's own version never comes here.
VERSION = "2023-06-01"


class MessagesRendering(Rendering):
    """Anthropic's messages; their streams always tell usage."""

    longest_tool_name = 128
    field_names: ClassVar[Mapping[str, str]] = {
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "stop": "stop_sequences",
        REASONING: "messages.content.thinking",
    }
    own_reasoning = ORIGIN

    def read_request(self, body: dict[str, Any], losses: Losses) -> Conversation:
        """Read a request."""
        return read_request(body, losses)

    def write_request(self, conversation: Conversation, losses: Losses) -> bytes:
        """Write a request."""
        return write_request(conversation, losses)

    def target(self, conversation: Conversation) -> Target:
        """Return where a written request goes."""
        del conversation
        return Target("v1/messages", headers={"anthropic-version": VERSION})

    def read_reply(self, body: dict[str, Any]) -> Reply:
        """Read a whole answer."""
        return read_reply(body)

    def write_reply(self, reply: Reply) -> bytes:
        """Write a whole answer."""
        return write_reply(reply)

    def delta_reader(self) -> MessageDeltaReader:
        """Return what reads one stream."""
        return MessageDeltaReader()

    def delta_writer(self, conversation: Conversation) -> MessageDeltaWriter:
        """Return what writes one stream."""
        return MessageDeltaWriter(conversation)
