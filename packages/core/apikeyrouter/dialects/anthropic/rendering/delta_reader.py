"""The stream of a message as deltas."""

from collections.abc import Iterator
from typing import Any

from apikeyrouter.dialects.anthropic.rendering.blocks import read_part
from apikeyrouter.dialects.anthropic.rendering.replies import (
    counts_of,
    explanation_in,
    figures_in,
    finish_of,
)
from apikeyrouter.dialects.anthropic.usage import Figures
from apikeyrouter.dialects.conversation import (
    AnyPart,
    Broken,
    Counted,
    Delta,
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
from apikeyrouter.dialects.json_values import decoded, object_in, text_in, whole_in
from apikeyrouter.dialects.streams.sse import EventParser

#: Type of an error -> status and OpenAI's type for it.
_BROKEN = {
    "overloaded_error": (503, "service_unavailable_error"),
    "rate_limit_error": (429, "rate_limit_error"),
    "timeout_error": (504, "server_error"),
    "invalid_request_error": (400, "invalid_request_error"),
    "request_too_large": (413, "invalid_request_error"),
    "authentication_error": (502, "server_error"),
}


class MessageDeltaReader:
    """Turns the events of a message into deltas.

    Blocks of tools that the provider runs itself are left out.
    """

    def __init__(self) -> None:
        self._parser = EventParser()
        self._figures = Figures()
        self._tier = ""
        #: Number and kind of the part by the index of its block.
        self._parts: dict[int, tuple[int, type[AnyPart]]] = {}
        self._count = 0
        #: Blocks of calls whose arguments have begun.
        self._has_arguments: set[int] = set()

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Take the next bytes; yield the deltas that are complete by now."""
        for _, data in self._parser.feed(chunk):
            yield from self._read(decoded(data))

    def finish(self) -> Iterator[Delta]:
        """End the stream."""
        for _, data in self._parser.finish():
            yield from self._read(decoded(data))

    def _read(self, event: dict[str, Any]) -> Iterator[Delta]:
        kind = text_in(event.get("type"))
        index = whole_in(event.get("index")) or 0
        match kind:
            case "message_start":
                yield self._start(object_in(event.get("message")))
            case "content_block_start":
                yield from self._begin(index, object_in(event.get("content_block")))
            case "content_block_delta":
                yield from self._grow(index, object_in(event.get("delta")))
            case "content_block_stop":
                yield from self._end(index)
            case "message_delta":
                yield from self._close(event)
            case _:
                if event.get("error"):
                    yield _broken(object_in(event.get("error")))

    def _start(self, message: dict[str, Any]) -> Started:
        self._note(object_in(message.get("usage")))
        counts = counts_of(self._figures)
        return Started(text_in(message.get("id")), text_in(message.get("model")), counts=counts)

    def _note(self, usage: dict[str, Any]) -> bool:
        figures = figures_in(usage)
        if figures is None:
            return False
        self._figures = self._figures.added(figures)
        self._tier = text_in(usage.get("service_tier")) or self._tier
        return True

    def _begin(self, index: int, block: dict[str, Any]) -> Iterator[Delta]:
        part = read_part(block)
        if part is None:
            return
        if isinstance(part, ToolCall):
            # Most begin empty; some servers tell the arguments at once.
            part.arguments = part.arguments if block.get("input") else ""
            if part.arguments:
                self._has_arguments.add(index)
        self._parts[index] = self._count, type(part)
        yield PartBegan(self._count, part)
        self._count += 1

    def _grow(self, index: int, delta: dict[str, Any]) -> Iterator[Delta]:
        number, kind = self._parts.get(index, (-1, Text))
        if number < 0:
            return
        text = text_in(delta.get("text")) if kind is Text else ""
        if kind is Thinking:
            text = text_in(delta.get("thinking"))
        elif kind is ToolCall:
            text = text_in(delta.get("partial_json"))
            if text:
                self._has_arguments.add(index)
        signature = text_in(delta.get("signature"))
        if text or signature:
            yield PartGrew(number, text, signature)

    def _end(self, index: int) -> Iterator[Delta]:
        number, kind = self._parts.pop(index, (-1, Text))
        if number < 0:
            return
        if kind is ToolCall and index not in self._has_arguments:
            yield PartGrew(number, "{}")
        yield PartEnded(number)

    def _close(self, event: dict[str, Any]) -> Iterator[Delta]:
        delta = object_in(event.get("delta"))
        if explanation := explanation_in(delta):
            yield PartBegan(self._count, Refusal(text=explanation))
            yield PartEnded(self._count)
            self._count += 1
        finish = finish_of(delta)
        if finish is not None:
            yield Finished(finish, text_in(delta.get("stop_sequence")) or None)
        if self._note(object_in(event.get("usage"))):
            counts = counts_of(self._figures)
            if counts is not None:
                yield Counted(counts, self._tier)


def _broken(error: dict[str, Any]) -> Broken:
    status, kind = _BROKEN.get(text_in(error.get("type")), (500, "server_error"))
    message = text_in(error.get("message")) or "the provider broke off its answer"
    return Broken(message, status, kind, text_in(error.get("type")) or None)
