"""Gemini's conversations to and from the neutral form."""

from collections.abc import Mapping
from typing import Any, ClassVar

from apikeyrouter.dialects.conversation import DETAIL, REASONING, Conversation, Losses, Reply
from apikeyrouter.dialects.gemini.conversations.deltas import GeminiDeltaReader, GeminiDeltaWriter
from apikeyrouter.dialects.gemini.conversations.reading import read_request
from apikeyrouter.dialects.gemini.conversations.replies import read_reply, write_reply
from apikeyrouter.dialects.gemini.conversations.signatures import ORIGIN
from apikeyrouter.dialects.gemini.conversations.writing import write_request
from apikeyrouter.dialects.gemini.names import address
from apikeyrouter.dialects.rendering import Rendering, Target


class GeminiRendering(Rendering):
    """generateContent.

    Args:
        is_array: Streams to clients are JSON arrays; providers are asked for events always.
    """

    field_names: ClassVar[Mapping[str, str]] = {
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "seed": "generationConfig.seed",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "presence_penalty": "generationConfig.presencePenalty",
        "stop": "generationConfig.stopSequences",
        "response_format": "generationConfig.responseMimeType",
        "service_tier": "serviceTier",
        DETAIL: "contents.parts.mediaResolution",
        REASONING: "contents.parts.thoughtSignature",
    }
    own_reasoning = ORIGIN

    def __init__(self, *, is_array: bool = False) -> None:
        self._is_array = is_array

    def read_request(self, body: dict[str, Any], losses: Losses) -> Conversation:
        """Read a request; the address says whether it streams."""
        return read_request(body, losses)

    def write_request(self, conversation: Conversation, losses: Losses) -> bytes:
        """Write a request."""
        return write_request(conversation, losses)

    def target(self, conversation: Conversation) -> Target:
        """Return where a written request goes: the address names the model."""
        if conversation.stream:
            return Target(address("v1beta", conversation.model, "streamGenerateContent"), "alt=sse")
        return Target(address("v1beta", conversation.model, "generateContent"))

    def read_reply(self, body: dict[str, Any]) -> Reply:
        """Read a whole answer."""
        return read_reply(body)

    def write_reply(self, reply: Reply) -> bytes:
        """Write a whole answer."""
        return write_reply(reply)

    def delta_reader(self) -> GeminiDeltaReader:
        """Return what reads one stream, of either form."""
        return GeminiDeltaReader()

    def delta_writer(self, conversation: Conversation) -> GeminiDeltaWriter:
        """Return what writes one stream."""
        return GeminiDeltaWriter(conversation, is_array=self._is_array)
