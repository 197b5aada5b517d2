"""Deltas as the typed events of a response: each part is an item, one after the other."""

from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Broken,
    Conversation,
    Counted,
    Counts,
    Delta,
    Finish,
    Finished,
    PartBegan,
    PartEnded,
    PartGrew,
    Refusal,
    Started,
    Text,
    Thinking,
    ToolCall,
)
from apikeyrouter.dialects.openai_responses.items import content_of, item_id_of, output_item
from apikeyrouter.dialects.openai_responses.replies import ended, envelope_of, id_of
from apikeyrouter.dialects.streams.part_sequence import PartSequence

#: The codes that a failed response may have, by the kind of the error; else the server's fault.
_CODES = {"rate_limit_error": "rate_limit_exceeded"}


class _Item:
    """An item that grows."""

    __slots__ = ("begun", "is_ended", "part", "place")

    def __init__(self, part: AnyPart, place: dict[str, Any]) -> None:
        #: With all of its text.
        self.part = part
        #: Members that name it in every event.
        self.place = place
        #: The text came in pieces.
        self.begun = False
        self.is_ended = False

    @property
    def id(self) -> str:
        """Its name."""
        name: str = self.place["item_id"]
        return name


class ResponsesDeltaWriter:
    """Turns deltas into the events of a response."""

    def __init__(self, conversation: Conversation) -> None:
        self._envelope = envelope_of(id_of(""), conversation.model, 0)
        self._is_started = False
        self._is_broken = False
        self._sequence_number = 0
        self._sequence = PartSequence()
        self._items: dict[int, _Item] = {}
        self._finish = Finish.STOP
        self._counts: Counts | None = None
        self._tier = ""

    def feed(self, delta: Delta) -> bytes:
        """Return the events that *delta* makes."""
        return b"".join(map(self._write, self._sequence.feed(delta)))

    def _write(self, delta: Delta) -> bytes:
        match delta:
            case Started():
                return self._start(delta)
            case PartBegan():
                return self._begin(delta)
            case PartGrew():
                return self._grow(delta)
            case PartEnded():
                item = self._items.get(delta.index)
                return self._end(item) if item is not None else b""
            case Finished():
                self._finish = delta.finish
            case Counted():
                self._counts, self._tier = delta.counts, delta.tier or self._tier
            case Broken():
                return self._break(delta)
        return b""

    def finish(self) -> bytes:
        """Return what ends the stream."""
        if self._is_broken:
            return b""
        rest = b"".join(map(self._write, self._sequence.finish()))
        response = self._ended()
        return rest + self._event(f"response.{response['status']}", response=response)

    def _start(self, delta: Started) -> bytes:
        self._is_started = True
        told = {"model": delta.model, "created_at": delta.created}
        self._envelope |= {name: value for name, value in told.items() if value}
        self._envelope["id"] = id_of(delta.id)
        self._counts = delta.counts
        return self._event("response.created", response=self._envelope) + self._event(
            "response.in_progress", response=self._envelope
        )

    def _ended(self) -> dict[str, Any]:
        output = [output_item(item.part, item.id) for item in self._items.values()]
        return ended(self._envelope, output, self._finish, self._counts, self._tier)

    def _begin(self, delta: PartBegan) -> bytes:
        at = len(self._items)
        item_id = item_id_of(delta.part, self._envelope["id"], at)
        part, text = _emptied(delta.part)
        item = self._items[delta.index] = _Item(part, {"item_id": item_id, "output_index": at})
        begun = output_item(part, item_id, "in_progress")
        events = self._event("response.output_item.added", output_index=at, item=begun)
        if isinstance(part, Text | Refusal):
            item.place["content_index"] = 0
            events += self._event(
                "response.content_part.added", part=content_of(part), **item.place
            )
        return events + self._add(item, text) if text else events

    def _grow(self, delta: PartGrew) -> bytes:
        item = self._items.get(delta.index)
        if item is None or item.is_ended:
            return b""
        if isinstance(item.part, Thinking):
            item.part.signature += delta.signature
            item.part.encrypted += delta.encrypted
        return self._add(item, delta.text) if delta.text else b""

    def _add(self, item: _Item, text: str) -> bytes:
        match item.part:
            case Text():
                item.part.text += text
                return self._event(
                    "response.output_text.delta", delta=text, logprobs=[], **item.place
                )
            case Refusal():
                item.part.text += text
                return self._event("response.refusal.delta", delta=text, **item.place)
            case ToolCall():
                item.part.arguments += text
                return self._event(
                    "response.function_call_arguments.delta", delta=text, **item.place
                )
            case Thinking():
                return self._think(item, item.part, text)
        return b""

    def _think(self, item: _Item, thought: Thinking, text: str) -> bytes:
        events = b""
        if not item.begun:
            item.begun = True
            item.place["summary_index"] = 0
            events = self._event(
                "response.reasoning_summary_part.added", part=_summary(""), **item.place
            )
        thought.text += text
        return events + self._event(
            "response.reasoning_summary_text.delta", delta=text, **item.place
        )

    def _end(self, item: _Item) -> bytes:
        if item.is_ended:
            return b""
        item.is_ended = True
        done = output_item(item.part, item.id)
        at = item.place["output_index"]
        return self._end_part(item) + self._event(
            "response.output_item.done", output_index=at, item=done
        )

    def _end_part(self, item: _Item) -> bytes:
        place = item.place
        match item.part:
            case Text(text=text):
                done = self._event("response.output_text.done", text=text, logprobs=[], **place)
            case Refusal(text=text):
                done = self._event("response.refusal.done", refusal=text, **place)
            case ToolCall(name=name, arguments=arguments):
                return self._event(
                    "response.function_call_arguments.done", name=name, arguments=arguments, **place
                )
            case Thinking(text=text) if item.begun:
                done = self._event("response.reasoning_summary_text.done", text=text, **place)
                return done + self._event(
                    "response.reasoning_summary_part.done", part=_summary(text), **place
                )
            case _:
                return b""
        part = content_of(item.part)
        return done + self._event("response.content_part.done", part=part, **place)

    def _break(self, broken: Broken) -> bytes:
        """Return both events of a failure: some clients raise on the first one alone."""
        self._is_broken = True
        code = _CODES.get(broken.kind, "server_error")
        error = {"code": code, "message": broken.message}
        response = {**self._ended(), "status": "failed", "incomplete_details": None, "error": error}
        told = {"message": broken.message, "type": broken.kind, "param": None, "code": code}
        event = self._event("error", code=code, message=broken.message, param=None, error=told)
        return event + self._event("response.failed", response=response)

    def _event(self, kind: str, **members: Any) -> bytes:
        number, self._sequence_number = self._sequence_number, self._sequence_number + 1
        data = msgspec.json.encode({"type": kind, "sequence_number": number, **members})
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


def _emptied(part: AnyPart) -> tuple[AnyPart, str]:
    """Return *part* before it grows, and its text, which is all of it in a whole answer."""
    match part:
        case ToolCall(arguments=text):
            return msgspec.structs.replace(part, arguments=""), text
        case Text(text=text) | Refusal(text=text) | Thinking(text=text):
            return msgspec.structs.replace(part, text=""), text
    return part, ""


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}
