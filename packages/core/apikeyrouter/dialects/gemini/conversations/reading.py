"""A request for content as the neutral form."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Conversation,
    Losses,
    Media,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.gemini.conversations.parts import (
    DETAILS,
    camel,
    level_of,
    made_up_id,
    member,
    read_media,
    read_spoken,
)
from apikeyrouter.dialects.gemini.conversations.wishes import read_wishes
from apikeyrouter.dialects.gemini.names import bare
from apikeyrouter.dialects.json_values import object_in, objects_in, text_in

#: What a part may be, and what goes with it.
_SAID = ("text", "functionCall", "functionResponse", "inlineData", "fileData")
_ASIDE = frozenset({"thought", "thoughtSignature", "partMetadata", "mediaResolution"})
_Role = Literal["user", "assistant", "system"]
_ROLES: Mapping[str, _Role] = {"model": "assistant", "system": "system"}
#: The usual names for what a function gives back as mere text.
_RESULTS = ("output", "result", "content")


def read_request(body: dict[str, Any], losses: Losses) -> Conversation:
    """Read a request; what the neutral form cannot carry goes to *losses*.

    Raises:
        BadBodyError: It has no contents.
    """
    contents = body.get("contents")
    found = [contents] if isinstance(contents, dict) else objects_in(contents)
    if not found:
        raise BadBodyError("contents: should be a list with at least one content", "contents")
    conversation = Conversation(
        model=bare(text_in(body.get("model"))),
        system=list(_system_in(member(body, "systemInstruction"))),
        turns=_Contents(losses).read(found),
    )
    read_wishes(body, conversation, losses)
    return conversation


def _system_in(instruction: object) -> Iterator[Text]:
    if isinstance(instruction, str):
        yield Text(text=instruction)
    for part in objects_in(object_in(instruction).get("parts")):
        if text := text_in(part.get("text")):
            yield Text(text=text)


@dataclass(slots=True)
class _Call:
    """A call that waits for its result."""

    id: str
    name: str
    is_answered: bool = False


class _Waiting:
    """Calls that are not answered; found at once, however many there are."""

    def __init__(self) -> None:
        self._by_id: dict[str, deque[_Call]] = {}
        self._by_name: dict[str, deque[_Call]] = {}

    def add(self, call: _Call) -> None:
        self._by_id.setdefault(call.id, deque()).append(call)
        self._by_name.setdefault(call.name, deque()).append(call)

    def take(self, call_id: str, name: str) -> _Call | None:
        """Return the call that a result answers: by id, else the first of that name, in order."""
        call = _first_of(self._by_id.get(call_id)) if call_id else None
        call = call or _first_of(self._by_name.get(name))
        if call is not None:
            call.is_answered = True
        return call


def _first_of(calls: deque[_Call] | None) -> _Call | None:
    while calls and calls[0].is_answered:
        calls.popleft()
    return calls[0] if calls else None


@dataclass(slots=True)
class _Contents:
    """Reads contents in their order, and keeps in mind which calls are not answered."""

    losses: Losses
    waiting: _Waiting = field(default_factory=_Waiting)
    #: Thoughts of the turn so far.
    thoughts: set[bytes] = field(default_factory=set)
    calls: int = 0

    def read(self, contents: list[dict[str, Any]]) -> list[Turn]:
        turns: list[Turn] = []
        for content in contents:
            parts = objects_in(content.get("parts"))
            role: _Role = _ROLES.get(text_in(content.get("role")), "user")
            # Clients keep every piece of a stream as a content of its own.
            goes_on = bool(turns) and turns[-1].role == role
            if not goes_on:
                turns.append(Turn(role))
            if role == "assistant":
                if not goes_on:
                    self.waiting, self.thoughts = _Waiting(), set()
                turns[-1].parts += self._said_by_model(parts)
            else:
                turns[-1].parts += self._said_by_user(parts)
        return [turn for turn in turns if turn.parts]

    def _said_by_model(self, parts: list[dict[str, Any]]) -> Iterator[AnyPart]:
        for part in parts:
            self._name_losses(part)
            name = text_in(object_in(member(part, "functionCall")).get("name"))
            for found in read_spoken(part, made_up_id(self.calls, name)):
                # A thought of another dialect may stand with each call that it led to.
                if isinstance(found, Thinking) and self._is_known(found):
                    continue
                yield found
                if isinstance(found, ToolCall):
                    self.calls += 1
                    self.waiting.add(_Call(found.id, found.name))

    def _is_known(self, thought: Thinking) -> bool:
        written = msgspec.json.encode(thought)
        if written in self.thoughts:
            return True
        self.thoughts.add(written)
        return False

    def _said_by_user(self, parts: list[dict[str, Any]]) -> Iterator[AnyPart]:
        for part in parts:
            self._name_losses(part)
            response = member(part, "functionResponse")
            if isinstance(response, dict):
                yield self._result(response)
            elif isinstance(part.get("text"), str):
                yield Text(text=part["text"])
            elif (media := read_media(part)) is not None:
                yield media

    def _result(self, response: dict[str, Any]) -> ToolResult:
        name = text_in(response.get("name"))
        call = self._call_of(text_in(response.get("id")), name)
        answered = response.get("response")
        content: list[Text | Media] = [Text(text=_text_of(answered))]
        content += [
            media
            for part in objects_in(response.get("parts"))
            if (media := read_media(part)) is not None
        ]
        is_error = isinstance(answered, dict) and list(answered) == ["error"]
        return ToolResult(call_id=call.id, name=name, content=content, is_error=is_error)

    def _call_of(self, call_id: str, name: str) -> _Call:
        """Return the call that a result answers; a new one if nobody has asked for it."""
        call = self.waiting.take(call_id, name)
        return call or _Call(call_id or made_up_id("unasked", name), name)

    def _name_losses(self, part: dict[str, Any]) -> None:
        if any(member(part, name) is not None for name in _SAID):
            media = read_media(part)
            if media is None and _has_media(part):
                self.losses.lack("contents.parts.video")
            self._name_resolution(part, media)
        for name, value in part.items():
            known = camel(name)
            if value is not None and known not in _SAID and known not in _ASIDE:
                self.losses.lack(f"contents.parts.{known}")

    def _name_resolution(self, part: dict[str, Any], media: Media | None) -> None:
        level = level_of(part)
        if level and not (media is not None and media.kind == "image" and level in DETAILS):
            self.losses.lack("contents.parts.mediaResolution")


def _has_media(part: dict[str, Any]) -> bool:
    return bool(member(part, "inlineData") or member(part, "fileData"))


def _text_of(answered: object) -> str:
    """Return what a function gave back as text: mere text as it is, else JSON."""
    if isinstance(answered, dict) and len(answered) == 1:
        [(name, value)] = answered.items()
        if isinstance(value, str) and name in (*_RESULTS, "error"):
            return value
    return msgspec.json.encode(answered).decode() if answered is not None else ""
