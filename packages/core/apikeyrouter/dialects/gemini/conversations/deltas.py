"""Streamed answers, read and written, as events or as one array."""

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
    Finish,
    Finished,
    Media,
    PartBegan,
    PartEnded,
    PartGrew,
    Refusal,
    Started,
    Text,
    Thinking,
    ToolCall,
)
from apikeyrouter.dialects.dialect import ToldError
from apikeyrouter.dialects.gemini import errors
from apikeyrouter.dialects.gemini.conversations.parts import member
from apikeyrouter.dialects.gemini.conversations.replies import (
    SpokenReader,
    SpokenWriter,
    counts_in,
    finish_in,
    given_up,
    names_of,
    piece_of,
)
from apikeyrouter.dialects.gemini.usage_tap import LONGEST_PIECE_BYTES
from apikeyrouter.dialects.json_values import decoded, object_in, text_in
from apikeyrouter.dialects.streams.json_items import ItemSplitter
from apikeyrouter.dialects.streams.sse import EventParser

_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
    404: "not_found_error", 429: "rate_limit_error", 503: "service_unavailable_error",
}  # fmt: skip


class GeminiDeltaReader:
    """Turns the pieces of a stream into deltas; only the first candidate is read.

    Some models name a reason for the end with every piece, so that the last one is told at the
    end of the stream.
    """

    def __init__(self) -> None:
        self._pieces: _Events | ItemSplitter | None = None
        self._beginning = b""
        self._spoken = SpokenReader()
        self._is_started = False
        #: Index of the part that is open, and what it is.
        self._parts = 0
        self._open: AnyPart | None = None
        self._finish: Finish | None = None
        self._counts: Counts | None = None

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Take the next bytes; yield the deltas that are complete by now."""
        if self._pieces is None:
            chunk = self._beginning + chunk
            text = chunk.lstrip()
            if not text:
                self._beginning = chunk
                return
            self._pieces = ItemSplitter(LONGEST_PIECE_BYTES) if text[:1] == b"[" else _Events()
        for data in self._pieces.feed(chunk):
            yield from self._read(data)

    def finish(self) -> Iterator[Delta]:
        """End the stream."""
        if isinstance(self._pieces, _Events):
            for data in self._pieces.finish():
                yield from self._read(data)
        yield from self._end_open()
        if self._finish is not None:
            yield Finished(self._finish)
        if self._counts is not None:
            yield Counted(self._counts)

    def _read(self, data: bytes) -> Iterator[Delta]:
        piece = decoded(data)
        if not piece:
            return
        if error := piece.get("error"):
            yield _broken(object_in(error) or {"message": text_in(error)})
            return
        if not self._is_started:
            self._is_started = True
            yield Started(
                text_in(member(piece, "responseId")), text_in(member(piece, "modelVersion"))
            )
        for part in self._spoken.read(piece):
            yield from self._read_part(part)
        if self._open is None and not self._parts and (reason := given_up(piece)):
            yield Broken(f"the model gave up its answer: {reason}", 502, code=reason)
            return
        has_calls = self._spoken.calls > 0
        self._finish = finish_in(piece, has_calls=has_calls) or self._finish
        self._counts = counts_in(piece) or self._counts

    def _read_part(self, part: AnyPart) -> Iterator[Delta]:
        if not self._goes_on(part):
            yield from self._end_open()
            yield PartBegan(self._parts, _begun(part))
            self._open = _begun(part)
        match part:
            case Text():
                yield PartGrew(self._parts, part.text)
            case Thinking():
                self._open = part
                yield PartGrew(self._parts, part.text, part.signature, part.encrypted)
            case _:
                yield from self._end_open()

    def _goes_on(self, part: AnyPart) -> bool:
        """Tell whether *part* is more of the part that is open."""
        last = self._open
        if isinstance(last, Thinking) and isinstance(part, Thinking):
            is_signed = last.signature or last.encrypted
            return not is_signed and (last.origin, last.id) == (part.origin, part.id)
        return isinstance(last, Text) and isinstance(part, Text)

    def _end_open(self) -> Iterator[Delta]:
        if self._open is not None:
            yield PartEnded(self._parts)
            self._open = None
            self._parts += 1


class _Events:
    """The data of events."""

    def __init__(self) -> None:
        self._parser = EventParser()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        return (data for _, data in self._parser.feed(chunk))

    def finish(self) -> Iterator[bytes]:
        return (data for _, data in self._parser.finish())


def _begun(part: AnyPart) -> AnyPart:
    """Return what is known of a part at its beginning: its text follows."""
    if isinstance(part, Text):
        return Text(text="")
    if isinstance(part, Thinking):
        return Thinking(id=part.id, origin=part.origin)
    return part


def _broken(error: dict[str, Any]) -> Broken:
    code = error.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return Broken(
        text_in(error.get("message")) or "the provider broke off its answer",
        status=status,
        kind=_KINDS.get(status, "server_error"),
        code=text_in(error.get("status")) or None,
    )


class GeminiDeltaWriter:
    """Turns deltas into the pieces of a stream; calls go out when they are complete.

    Args:
        is_array: Write one JSON array instead of events.
    """

    def __init__(self, conversation: Conversation, *, is_array: bool) -> None:
        self._is_array = is_array
        self._is_begun = False
        self._names = names_of("", conversation.model)
        self._spoken = SpokenWriter()
        #: What is known of the parts that grow; a text has gone out already.
        self._growing: dict[int, AnyPart] = {}
        self._finish = Finish.STOP
        self._counts: Counts | None = None
        self._is_broken = False

    def feed(self, delta: Delta) -> bytes:
        """Return the pieces that *delta* makes."""
        match delta:
            case Started():
                self._names = names_of(delta.id, delta.model or self._names["modelVersion"])
                self._counts = delta.counts
            case PartBegan():
                return self._begin(delta)
            case PartGrew():
                return self._grow(delta)
            case PartEnded():
                return self._end(delta.index)
            case Finished():
                self._finish = delta.finish
            case Counted():
                self._counts = delta.counts
            case Broken():
                self._is_broken = True
                return self._error(delta)
        return b""

    def finish(self) -> bytes:
        """Return what ends the stream: the reason, the usage."""
        if self._is_broken:
            return b""
        rest = b"".join(self._end(index) for index in list(self._growing))
        last = piece_of([], self._finish, self._counts) | self._names
        rest += self._framed(msgspec.json.encode(last))
        return rest + b"]" if self._is_array else rest

    def _begin(self, delta: PartBegan) -> bytes:
        part = delta.part
        match part:
            case Text() | Refusal():
                self._growing[delta.index] = Text(text="")
                return self._piece(Text(text=part.text))
            case Thinking():
                self._growing[delta.index] = msgspec.structs.replace(part)
                return self._piece(Thinking(text=part.text)) if part.text else b""
            case ToolCall():
                # Arguments that were not told yet are no arguments so far.
                told = "" if part.arguments == "{}" else part.arguments
                self._growing[delta.index] = msgspec.structs.replace(part, arguments=told)
            case Media():
                self._growing[delta.index] = part
        return b""

    def _grow(self, delta: PartGrew) -> bytes:
        part = self._growing.get(delta.index)
        match part:
            case Text():
                return self._piece(Text(text=delta.text))
            case Thinking():
                part.text += delta.text
                part.signature += delta.signature
                part.encrypted += delta.encrypted
                return self._piece(Thinking(text=delta.text)) if delta.text else b""
            case ToolCall():
                part.arguments += delta.text
        return b""

    def _end(self, index: int) -> bytes:
        part = self._growing.pop(index, None)
        match part:
            case Thinking():
                # Its text is out already; what proves it may come last.
                signed = self._spoken.part_of(part) or {}
                return self._sent({**signed, "text": ""}) if "thoughtSignature" in signed else b""
            case ToolCall() | Media():
                return self._piece(part)
        return b""

    def _piece(self, part: AnyPart) -> bytes:
        written = self._spoken.part_of(part)
        return self._sent(written) if written is not None else b""

    def _sent(self, part: dict[str, Any]) -> bytes:
        return self._framed(msgspec.json.encode(piece_of([part], None, None) | self._names))

    def _framed(self, data: bytes) -> bytes:
        if not self._is_array:
            return b"data: " + data + b"\r\n\r\n"
        before, self._is_begun = b",\r\n" if self._is_begun else b"[", True
        return before + data

    def _error(self, broken: Broken) -> bytes:
        told = ToldError(broken.status, broken.message, broken.kind, broken.code)
        error = self._framed(errors.error_body(told))
        return error + b"]" if self._is_array else error
