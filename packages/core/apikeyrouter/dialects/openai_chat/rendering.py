"""Chats to and from the neutral form."""

from typing import Any

from apikeyrouter.dialects.conversation import Conversation, Losses, Reply
from apikeyrouter.dialects.openai_chat.deltas import ChatDeltaReader, ChatDeltaWriter
from apikeyrouter.dialects.openai_chat.reading import read_request
from apikeyrouter.dialects.openai_chat.replies import read_reply, write_reply
from apikeyrouter.dialects.openai_chat.writing import write_request
from apikeyrouter.dialects.rendering import Rendering, Target


class ChatRendering(Rendering):
    """OpenAI's chat completions."""

    asks_for_usage = True

    def read_request(self, body: dict[str, Any], losses: Losses) -> Conversation:
        """Read a request."""
        return read_request(body, losses)

    def write_request(self, conversation: Conversation, losses: Losses) -> bytes:
        """Write a request."""
        return write_request(conversation, losses)

    def target(self, conversation: Conversation) -> Target:
        """Return where a written request goes."""
        del conversation
        return Target("chat/completions")

    def read_reply(self, body: dict[str, Any]) -> Reply:
        """Read a whole answer."""
        return read_reply(body)

    def write_reply(self, reply: Reply) -> bytes:
        """Write a whole answer."""
        return write_reply(reply)

    def delta_reader(self) -> ChatDeltaReader:
        """Return what reads one stream."""
        return ChatDeltaReader()

    def delta_writer(self, conversation: Conversation) -> ChatDeltaWriter:
        """Return what writes one stream."""
        return ChatDeltaWriter(conversation)
