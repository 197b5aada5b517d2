"""The contract of translation: reading a dialect into the neutral form and writing it from there.

Each method takes one direction of one thing. `Losses` collects by name what cannot be
carried; whether that refuses the request is for the caller to decide.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

import msgspec

from apikeyrouter.dialects.conversation import Conversation, Delta, Losses, Reply


class DeltaReader(Protocol):
    """Turns a stream of the dialect into deltas."""

    def feed(self, chunk: bytes) -> Iterable[Delta]:
        """Take the next bytes, split anywhere; return the deltas that are complete by now."""
        ...

    def finish(self) -> Iterable[Delta]:
        """End the stream: the last event may lack its blank line."""
        ...


class DeltaWriter(Protocol):
    """Turns deltas into a stream of the dialect."""

    def feed(self, delta: Delta) -> bytes:
        """Return the events that *delta* makes; often none."""
        ...

    def finish(self) -> bytes:
        """Return what ends the stream, such as `data: [DONE]`; nothing after an error."""
        ...


class Target(msgspec.Struct):
    """Where a translated request goes.

    Attributes:
        path: Below the provider's base URL.
        headers: That the dialect demands, with lower-case names.
    """

    path: str
    query: str = ""
    headers: dict[str, str] = {}


class Rendering(ABC):
    """Both directions of one dialect's conversations.

    Attributes:
        longest_tool_name: Characters of a tool's name that it takes.
        asks_for_usage: Its streams tell usage only when a request asks for it.
        own_reasoning: How origins of opaque reasoning begin that its requests can carry; empty
            for none.
        field_names: What its requests call the fields that chats name otherwise.
    """

    longest_tool_name: ClassVar[int] = 64
    asks_for_usage: ClassVar[bool] = False
    own_reasoning: ClassVar[str] = ""
    field_names: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def read_request(self, body: dict[str, Any], losses: Losses) -> Conversation:
        """Read a request; what the neutral form cannot carry goes to *losses*.

        Raises:
            BadBodyError: It is no valid request.
        """

    @abstractmethod
    def write_request(self, conversation: Conversation, losses: Losses) -> bytes:
        """Write a request; what this dialect cannot carry goes to *losses*."""

    @abstractmethod
    def target(self, conversation: Conversation) -> Target:
        """Return where a written request goes."""

    @abstractmethod
    def read_reply(self, body: dict[str, Any]) -> Reply:
        """Read a whole answer; what is missing or of another type is left at its default."""

    @abstractmethod
    def write_reply(self, reply: Reply) -> bytes:
        """Write a whole answer."""

    @abstractmethod
    def delta_reader(self) -> DeltaReader:
        """Return what reads one stream."""

    @abstractmethod
    def delta_writer(self, conversation: Conversation) -> DeltaWriter:
        """Return what writes one stream; *conversation* is what it answers."""
