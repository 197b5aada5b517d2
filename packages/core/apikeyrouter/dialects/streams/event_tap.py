"""Streams of server-sent events, looked over as they pass.

Chunks pass untouched; every few kilobytes their whole events are looked over for the few
that matter, and only these are decoded, so that words inside a model's text are
never taken for facts. What matters is for each dialect's own tap to say.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from apikeyrouter.domain.models.token_usage import Usage

#: Whole events are looked over when this much has come.
_READ_EVERY_BYTES = 8192
#: Enough of an event to recognise the blank line that ends it.
EDGE_BYTES = 2
#: Ends an event.
BLANK_LINE = re.compile(rb"\n\r?\n")


class EventTap(ABC):
    """Reads a stream of server-sent events as it passes.

    A dialect's tap says in `look_over` what events tell.

    Attributes:
        longest_event_bytes: A longer event passes without being looked at: memory is bounded.
    """

    longest_event_bytes: ClassVar[int] = 2**20

    __slots__ = ("_complete", "_error", "_output_chunks", "_pending", "_read_at", "_size", "_usage")

    def __init__(self) -> None:
        #: What was not looked at yet: the beginning of an event, then chunks as they came.
        self._pending: list[bytes] = [b""]
        self._size = 0
        self._read_at = _READ_EVERY_BYTES
        self._usage: Usage | None = None
        self._complete = False
        self._error: bytes | None = None
        self._output_chunks = 0

    @abstractmethod
    def look_over(self, block: bytes) -> None:
        """Note what the whole events of *block* tell; most blocks tell nothing."""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return what may pass on now: *chunk* itself."""
        self._pending.append(chunk)
        self._size += len(chunk)
        if self._size >= self._read_at:
            self._read()
        return chunk

    def finish(self) -> bytes:
        """End the stream; return bytes that were still kept back: none.

        A last event without its blank line counts as an event.
        """
        self._read()
        self.look_over(self._pending[0])
        self._keep(b"")
        return b""

    @property
    def usage(self) -> Usage | None:
        """The last usage that was told so far."""
        self._read()
        return self._usage

    @property
    def complete(self) -> bool:
        """Whether an event came that only a complete stream has."""
        self._read()
        return self._complete

    @property
    def error(self) -> bytes | None:
        """The first error that the provider put into the stream, as JSON."""
        self._read()
        return self._error

    @property
    def output_chunks(self) -> int:
        """About how many pieces of output came: about their tokens, when no usage is told."""
        self._read()
        return self._output_chunks

    def _read(self) -> None:
        """Look over the whole events among what is pending."""
        if len(self._pending) == 1:
            return
        text = b"".join(self._pending)
        end = end_of_events(text)
        if end:
            self.look_over(text[:end])
        self._keep(text[end:])

    def _keep(self, rest: bytes) -> None:
        """Keep the beginning of an event; of one that is too long only its last bytes.

        What follows a shortened beginning is no line of data, and is skipped.
        """
        if len(rest) > self.longest_event_bytes:
            rest = rest[-EDGE_BYTES:]
        self._pending = [rest]
        self._size = len(rest)
        # Twice the rest: a long event is joined a few times, not once a chunk.
        self._read_at = max(_READ_EVERY_BYTES, 2 * self._size)


def end_of_events(text: bytes, before: int | None = None) -> int:
    """Return where the last event that is whole (at *before*) ends, 0 if none is."""
    bare, returned = text.rfind(b"\n\n", 0, before), text.rfind(b"\n\r\n", 0, before)
    return max(bare + 2 if bare >= 0 else 0, returned + 3 if returned >= 0 else 0)


def events_in(block: bytes) -> Iterator[bytes]:
    """Split events, each with its blank line; the last may lack one."""
    start = 0
    for blank in BLANK_LINE.finditer(block):
        yield block[start : blank.end()]
        start = blank.end()
    if start < len(block):
        yield block[start:]


def data_of_event(event: bytes) -> bytes:
    """Return an event's data; its lines are joined, comments and other fields left out."""
    lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def tells(block: bytes, name: bytes) -> bool:
    """Tell whether the quoted *name* stands anywhere before something else than null."""
    named = block.count(name)
    if not named:
        return False
    nulls = block.count(name + b":null")
    return named > nulls and named > nulls + block.count(name + b": null")


def data_with(mark: bytes, block: bytes) -> Iterator[bytes]:
    """Yield the data of each event that has *mark* before something else than null, last first."""
    at = len(block)
    while (at := block.rfind(mark, 0, at)) >= 0:
        if block.startswith((b":null", b": null"), at + len(mark)):
            continue
        blank = BLANK_LINE.search(block, at)
        start = end_of_events(block, at)
        yield data_of_event(block[start : blank.end() if blank is not None else None])
        at = start
