"""Names of tools that another dialect does not take: shortened on the way out, and back.

Agents give their tools names of a hundred characters and more, of which some dialects take 64. A
name is replaced by its beginning and a hash, so that the same tool has the same name in every
turn, and calls of it come back under the client's own name.
"""

import hashlib
import re
from collections.abc import Iterable

import msgspec

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Conversation,
    PartBegan,
    ToolCall,
    ToolChoice,
    ToolResult,
)

_NOT_TAKEN = re.compile(r"[^a-zA-Z0-9_-]")
_HASH_CHARACTERS = 8


class ToolNames:
    """The names of one conversation's tools at one provider.

    Args:
        longest: Characters that the provider takes; letters, digits, `_` and `-` alone.
    """

    def __init__(self, conversation: Conversation, longest: int) -> None:
        self._longest = longest
        names = {tool.name for tool in conversation.tools}
        self._theirs = {name: new for name in names if (new := self._taken(name)) != name}
        self._own = {new: name for name, new in self._theirs.items()}

    def outward(self, conversation: Conversation) -> Conversation:
        """Return *conversation* with the names that the provider takes; itself if it takes all."""
        if not self._theirs:
            return conversation
        theirs = self._theirs
        tools = [
            msgspec.structs.replace(tool, name=theirs.get(tool.name, tool.name))
            for tool in conversation.tools
        ]
        turns = [
            msgspec.structs.replace(
                turn, parts=[self._renamed(part, theirs) for part in turn.parts]
            )
            for turn in conversation.turns
        ]
        choice = conversation.tool_choice
        if choice is not None:
            names = [theirs.get(name, name) for name in choice.names]
            choice = ToolChoice(choice.mode, names, choice.parallel)
        return msgspec.structs.replace(conversation, tools=tools, turns=turns, tool_choice=choice)

    def inward(self, parts: Iterable[AnyPart]) -> list[AnyPart]:
        """Return *parts* of an answer with the client's own names."""
        return [self._renamed(part, self._own) for part in parts]

    def inward_began(self, began: PartBegan) -> PartBegan:
        """Return the beginning of a part with the client's own name."""
        return PartBegan(began.index, self._renamed(began.part, self._own)) if self._own else began

    def _renamed(self, part: AnyPart, names: dict[str, str]) -> AnyPart:
        if isinstance(part, ToolCall | ToolResult) and part.name in names:
            return msgspec.structs.replace(part, name=names[part.name])
        return part

    def _taken(self, name: str) -> str:
        plain = _NOT_TAKEN.sub("_", name)
        if plain == name and len(name) <= self._longest:
            return name
        digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_CHARACTERS]
        return f"{plain[: self._longest - _HASH_CHARACTERS - 1]}_{digest}"
