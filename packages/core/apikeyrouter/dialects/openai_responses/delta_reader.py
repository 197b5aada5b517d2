"""A streamed response as deltas.

Each item is read as it grows; what only its end tells (arguments that never came in pieces,
encrypted reasoning) is added there, and so is what only the last event has.
"""

from collections.abc import Iterator
from typing import Any

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
from apikeyrouter.dialects.json_values import (
    count_in,
    decoded,
    object_in,
    objects_in,
    text_in,
)
from apikeyrouter.dialects.openai_responses.items import NAME, PARAGRAPH, read_call, read_output
from apikeyrouter.dialects.openai_responses.replies import counts_in, finish_of
from apikeyrouter.dialects.streams.sse import EventParser

_LAST = ("response.completed", "response.incomplete")
_FAILED = ("response.failed", "error")
#: Member of an event's place -> what tells paragraphs of reasoning apart.
_PARAGRAPHS = ("summary_index", "content_index")
_STATUS_BY_CODE = {"rate_limit_exceeded": 429, "server_is_overloaded": 503, "invalid_prompt": 400}
_KIND_BY_STATUS = {
    429: "rate_limit_error", 503: "service_unavailable_error", 400: "invalid_request_error",
}  # fmt: skip


class _Growing:
    """A part of an item, and what has come of it."""

    __slots__ = ("index", "is_ended", "kind", "paragraph", "text")

    def __init__(self, index: int, kind: str) -> None:
        self.index = index
        self.kind = kind
        self.text = ""
        self.paragraph = 0
        self.is_ended = False


class ResponsesDeltaReader:
    """Turns the typed events of a response into deltas."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._is_started = False
        self._parts = 0
        #: By the item's place in the output, and the part's in the item.
        self._growing: dict[tuple[int, int], _Growing] = {}
        self._has_calls = False

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
        response = object_in(event.get("response"))
        if kind in _FAILED or event.get("error"):
            yield _broken(event, response)
            return
        if not kind.startswith("response."):
            return
        if not self._is_started:
            self._is_started = True
            yield Started(
                text_in(response.get("id")), text_in(response.get("model")),
                count_in(response.get("created_at")),
            )  # fmt: skip
        if kind in _LAST:
            yield from self._end(response)
        else:
            yield from self._read_output(kind, event)

    def _read_output(self, kind: str, event: dict[str, Any]) -> Iterator[Delta]:
        item, delta = object_in(event.get("item")), text_in(event.get("delta"))
        at = count_in(event.get("output_index"))
        place = at, count_in(event.get("content_index"))
        match kind:
            case "response.output_item.added":
                if item.get("type") == "function_call":
                    yield from self._begin_call(at, item)
            case "response.output_text.delta":
                yield from self._grow(place, Text(text=""), delta)
            case "response.refusal.delta":
                yield from self._grow(place, Refusal(text=""), delta)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield from self._think(at, event, delta)
            case "response.function_call_arguments.delta":
                if (at, 0) in self._growing:
                    yield from self._grow((at, 0), ToolCall(id="", name=""), delta)
            case "response.output_item.done":
                yield from self._end_item(at, item)

    def _begin_call(self, at: int, item: dict[str, Any]) -> Iterator[Delta]:
        self._has_calls = True
        call = read_call(item)
        call.arguments = ""
        growing = self._growing[at, 0] = self._new(type(call).__name__)
        yield PartBegan(growing.index, call)
        yield from self._grow((at, 0), call, text_in(item.get("arguments")))

    def _think(self, at: int, event: dict[str, Any], delta: str) -> Iterator[Delta]:
        """Let reasoning grow: by its summary or by its full text, whichever comes first."""
        name = next((name for name in _PARAGRAPHS if name in event), "content_index")
        paragraph = count_in(event.get(name))
        growing = self._growing.get((at, 0))
        if growing is not None and growing.kind != name:
            if growing.text:
                return
            growing.kind = name
        item_id = text_in(event.get("item_id"))
        if growing is None:
            growing = self._growing[at, 0] = self._new(name)
            yield PartBegan(growing.index, Thinking(id=item_id, origin=NAME))
        if paragraph > growing.paragraph:
            delta = PARAGRAPH * (paragraph - growing.paragraph) + delta
            growing.paragraph = paragraph
        yield from self._grow((at, 0), Thinking(), delta)

    def _grow(self, place: tuple[int, int], part: AnyPart, text: str) -> Iterator[Delta]:
        """Let what stands at *place* grow; it begins as *part* if it has not."""
        if not text:
            return
        growing = self._growing.get(place)
        if growing is None:
            growing = self._growing[place] = self._new(type(part).__name__)
            yield PartBegan(growing.index, part)
        if not growing.is_ended:
            growing.text += text
            yield PartGrew(growing.index, text)

    def _end_item(self, at: int, item: dict[str, Any]) -> Iterator[Delta]:
        """Add what has not come yet of an item, and end its parts."""
        for number, part in enumerate(read_output([item])):
            self._has_calls = self._has_calls or isinstance(part, ToolCall)
            growing = self._growing.get((at, number))
            if growing is None:
                growing = self._growing[at, number] = self._new(type(part).__name__)
                yield PartBegan(growing.index, part)
            elif not growing.is_ended:
                yield from _rest_of(growing, part)
            if not growing.is_ended:
                growing.is_ended = True
                yield PartEnded(growing.index)

    def _end(self, response: dict[str, Any]) -> Iterator[Delta]:
        for at, item in enumerate(objects_in(response.get("output"))):
            yield from self._end_item(at, item)
        for growing in self._growing.values():
            if not growing.is_ended:
                growing.is_ended = True
                yield PartEnded(growing.index)
        finish = finish_of({"status": "completed", **response}, has_calls=self._has_calls)
        if finish is not None:
            yield Finished(finish)
        counts = counts_in(response)
        if counts is not None:
            yield Counted(counts, text_in(response.get("service_tier")))

    def _new(self, kind: str) -> _Growing:
        self._parts += 1
        return _Growing(self._parts - 1, kind)


def _rest_of(growing: _Growing, part: AnyPart) -> Iterator[Delta]:
    """Yield what *part*, which is whole, has beyond what has come of it."""
    match part:
        case ToolCall():
            text = part.arguments
        case Thinking() | Text() | Refusal():
            text = part.text
        case _:
            return
    rest = text.removeprefix(growing.text) if text.startswith(growing.text) else ""
    if isinstance(part, Thinking) and (part.signature or part.encrypted):
        yield PartGrew(growing.index, rest, part.signature, part.encrypted)
    elif rest:
        yield PartGrew(growing.index, rest)
    growing.text += rest


def _broken(event: dict[str, Any], response: dict[str, Any]) -> Broken:
    error = object_in(response.get("error")) or object_in(event.get("error")) or event
    code = text_in(error.get("code")) or None
    status = _STATUS_BY_CODE.get(code or "", 500)
    return Broken(
        text_in(error.get("message")) or "the provider broke off its answer",
        status=status, kind=_KIND_BY_STATUS.get(status, "server_error"), code=code,
    )  # fmt: skip
