"""Streamed chat answers, read and written."""

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import (
    AnyPart,
    Broken,
    Conversation,
    Counted,
    Counts,
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
    whole_in,
)
from apikeyrouter.dialects.openai_chat.replies import counts_in, finish_of, name_of, usage_of
from apikeyrouter.dialects.openai_chat.writing import call_of, thought_of
from apikeyrouter.dialects.streams.sse import EventParser

_DONE = b"data: [DONE]\n\n"


class ChatDeltaReader:
    """Turns the chunks of a chat into deltas; only the first choice is read."""

    def __init__(self) -> None:
        self._parser = EventParser()
        self._is_started = False
        self._parts = 0
        #: Class and index of the part that grows, unless it is a tool call.
        self._open: tuple[type[AnyPart], int] | None = None
        #: Index of the part by the call's own index.
        self._calls: dict[int, int] = {}

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Take the next bytes; yield the deltas that are complete by now."""
        for _, data in self._parser.feed(chunk):
            yield from self._read(data)

    def finish(self) -> Iterator[Delta]:
        """End the stream."""
        for _, data in self._parser.finish():
            yield from self._read(data)

    def _read(self, data: bytes) -> Iterator[Delta]:
        event = decoded(data)
        if error := event.get("error"):
            yield _broken(object_in(error) or {"message": text_in(error)})
            return
        if not event:
            return
        if not self._is_started:
            self._is_started = True
            yield Started(
                text_in(event.get("id")), text_in(event.get("model")),
                count_in(event.get("created")),
            )  # fmt: skip
        choice = next(iter(objects_in(event.get("choices"))), {})
        if not count_in(choice.get("index")):
            yield from self._read_choice(choice)
        counts = counts_in(event) or counts_in(object_in(event.get("x_groq")))
        if counts is not None:
            yield Counted(counts, text_in(event.get("service_tier")))

    def _read_choice(self, choice: dict[str, Any]) -> Iterator[Delta]:
        delta = object_in(choice.get("delta"))
        yield from self._read_thoughts(delta)
        text = text_in(delta.get("content")) or text_in(choice.get("text"))
        yield from self._grow(Text(text=""), text)
        yield from self._grow(Refusal(text=""), text_in(delta.get("refusal")))
        for number, call in enumerate(objects_in(delta.get("tool_calls"))):
            yield from self._read_call(call, number)
        finish = finish_of(choice)
        if finish is not None:
            yield from self._end_parts()
            yield Finished(finish)

    def _read_thoughts(self, delta: dict[str, Any]) -> Iterator[Delta]:
        details = objects_in(delta.get("reasoning_details"))
        for detail in details:
            text = text_in(detail.get("text")) or text_in(detail.get("summary"))
            signature = text_in(detail.get("signature"))
            encrypted = text_in(detail.get("data"))
            thought = Thinking(id=text_in(detail.get("id")), origin=text_in(detail.get("format")))
            yield from self._grow(thought, text, signature=signature, encrypted=encrypted)
        told = text_in(delta.get("reasoning_content")) or text_in(delta.get("reasoning"))
        if not details:
            yield from self._grow(Thinking(), told)

    def _grow(
        self, part: AnyPart, text: str, *, signature: str = "", encrypted: str = ""
    ) -> Iterator[Delta]:
        """Let the part of this kind grow; one begins if none is open."""
        if not (text or signature or encrypted):
            return
        if self._open is None or self._open[0] is not type(part):
            yield from self._end_open()
            self._open = type(part), self._parts
            yield PartBegan(self._parts, part)
            self._parts += 1
        yield PartGrew(self._open[1], text, signature, encrypted)

    def _read_call(self, call: dict[str, Any], number: int) -> Iterator[Delta]:
        own_index = whole_in(call.get("index"))
        own_index = number if own_index is None else own_index
        function = object_in(call.get("function"))
        index = self._calls.get(own_index)
        if index is None:
            yield from self._end_open()
            index = self._calls[own_index] = self._parts
            self._parts += 1
            google = object_in(object_in(call.get("extra_content")).get("google"))
            began = ToolCall(
                id=text_in(call.get("id")),
                name=text_in(function.get("name")),
                arguments="",
                signature=text_in(google.get("thought_signature")),
            )
            yield PartBegan(index, began)
        if arguments := text_in(function.get("arguments")):
            yield PartGrew(index, arguments)

    def _end_open(self) -> Iterator[Delta]:
        if self._open is not None:
            yield PartEnded(self._open[1])
            self._open = None

    def _end_parts(self) -> Iterator[Delta]:
        yield from self._end_open()
        for index in self._calls.values():
            yield PartEnded(index)
        self._calls = {}


def _broken(error: dict[str, Any]) -> Broken:
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return Broken(
        text_in(error.get("message")) or "the provider broke off its answer",
        status=status,
        kind=text_in(error.get("type")) or "server_error",
        code=code if isinstance(code, str) else None,
    )


class ChatDeltaWriter:
    """Turns deltas into the chunks of a chat."""

    def __init__(self, conversation: Conversation) -> None:
        self._tells_usage = conversation.tells_usage
        self._head: dict[str, Any] = {
            "id": "chatcmpl-translated",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": conversation.model,
        }
        self._parts: dict[int, AnyPart] = {}
        #: Number among the tool calls by the part's index.
        self._calls: dict[int, int] = {}
        self._counts: Counts | None = None
        self._is_broken = False

    def feed(self, delta: Delta) -> bytes:
        """Return the chunks that *delta* makes."""
        match delta:
            case Started():
                return self._start(delta)
            case PartBegan():
                return self._begin(delta)
            case PartGrew():
                return self._grow(delta)
            case Finished():
                return self._chunk({}, name_of(delta.finish))
            case Counted():
                self._counts = delta.counts
            case Broken():
                self._is_broken = True
                return _error_event(delta)
        return b""

    def finish(self) -> bytes:
        """Return what ends the stream."""
        if self._is_broken:
            return b""
        if not self._tells_usage or self._counts is None:
            return _DONE
        return _event({**self._head, "choices": [], "usage": usage_of(self._counts)}) + _DONE

    def _start(self, delta: Started) -> bytes:
        told = {"id": delta.id, "model": delta.model, "created": delta.created}
        self._head |= {name: value for name, value in told.items() if value}
        self._counts = delta.counts
        return self._chunk({"role": "assistant", "content": ""})

    def _begin(self, delta: PartBegan) -> bytes:
        part = self._parts[delta.index] = delta.part
        if isinstance(part, ToolCall):
            number = self._calls[delta.index] = len(self._calls)
            return self._chunk({"tool_calls": [{"index": number, **call_of(part)}]})
        if isinstance(part, Thinking):
            return self._think(part)
        if isinstance(part, Text | Refusal) and part.text:
            return self._grow(PartGrew(delta.index, part.text))
        return b""

    def _grow(self, delta: PartGrew) -> bytes:
        part = self._parts.get(delta.index)
        match part:
            case Text():
                return self._chunk({"content": delta.text})
            case Refusal():
                return self._chunk({"refusal": delta.text})
            case ToolCall():
                call = {
                    "index": self._calls[delta.index], "function": {"arguments": delta.text},
                }  # fmt: skip
                return self._chunk({"tool_calls": [call]})
            case Thinking():
                grown = Thinking(
                    text=delta.text, signature=delta.signature, encrypted=delta.encrypted,
                    id=part.id, origin=part.origin,
                )  # fmt: skip
                return self._think(grown)
        return b""

    def _think(self, thought: Thinking) -> bytes:
        if not (thought.text or thought.signature or thought.encrypted):
            return b""
        told: dict[str, Any] = {"reasoning_content": thought.text} if thought.text else {}
        return self._chunk({**told, "reasoning_details": [thought_of(thought, 0)]})

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**self._head, "choices": [choice]})


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _error_event(broken: Broken) -> bytes:
    error = {
        "message": broken.message, "type": broken.kind, "param": None, "code": broken.code,
    }  # fmt: skip
    return _event({"error": error})
