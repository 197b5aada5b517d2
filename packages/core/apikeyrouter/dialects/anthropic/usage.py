"""Finds what a passing message says of tokens, without parsing the rest.

Anthropic counts apart what was read from a cache and what was written to one; here both are
parts of the input. A stream tells its input when it begins and everything so far when it ends.
"""

from typing import Any

import msgspec

from apikeyrouter.dialects.streams.event_tap import EventTap, data_with, tells
from apikeyrouter.domain.models.token_usage import Usage

_Count = int | float | None
_NO_ERRORS = frozenset((b"null", b"false", b'""', b"{}"))
_NULL = msgspec.Raw(b"null")
_USAGE, _STOP, _ERROR = b'"usage"', b'"message_stop"', b'"error"'
#: Stands in every piece of content, outside of strings.
_PIECE = b'"content_block_delta"'


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: _Count = None


class _OutputDetails(msgspec.Struct):
    thinking_tokens: _Count = None
    reasoning_tokens: _Count = None


class Figures(msgspec.Struct):
    """A `usage` as it is written; what it leaves out is `None`."""

    input_tokens: _Count = None
    output_tokens: _Count = None
    cache_creation_input_tokens: _Count = None
    cache_read_input_tokens: _Count = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None
    service_tier: Any = None

    def added(self, later: "Figures") -> "Figures":
        """Return these figures with what *later* ones tell in their place."""
        told = {
            name: value
            for name in self.__struct_fields__
            if (value := getattr(later, name)) is not None
        }
        return msgspec.structs.replace(self, **told)

    def usage(self) -> Usage | None:
        """Return what is counted; `None` if nothing is."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        read, written = _whole(self.cache_read_input_tokens), self._written()
        details = self.output_tokens_details or _OutputDetails()
        return Usage(
            input_tokens=_whole(self.input_tokens) + read + written,
            output_tokens=_whole(self.output_tokens),
            cached_tokens=read,
            cache_written_tokens=written,
            cache_written_1h_tokens=self._written_1h(),
            reasoning_tokens=_whole(details.thinking_tokens or details.reasoning_tokens),
            tier=self.service_tier if isinstance(self.service_tier, str) else "",
        )

    def _written(self) -> int:
        return _whole(self.cache_creation_input_tokens)

    def _written_1h(self) -> int:
        creation = self.cache_creation
        return _whole(creation.ephemeral_1h_input_tokens) if creation is not None else 0


class _Message(msgspec.Struct):
    usage: Figures | None = None


class _Body(_Message):
    type: Any = None
    error: msgspec.Raw = _NULL
    #: The whole answer of a count.
    input_tokens: _Count = None


class _Event(_Body):
    message: _Message | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def read_body(body: bytes) -> tuple[Usage | None, bool]:
    """Return the usage that a whole body tells, and whether the body looks like a success."""
    try:
        seen = _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, False
    is_fine = seen.type != "error" and bytes(seen.error) in _NO_ERRORS
    if seen.usage is not None:
        return seen.usage.usage(), is_fine
    # Counting costs no tokens.
    return Usage(0, 0) if seen.input_tokens is not None else None, is_fine


def usage_of_event(data: bytes) -> Usage | None:
    """Return the usage that the data of one event tells; `None` if it tells none."""
    event = _decoded(data)
    figures = _figures_of(event) if event is not None else None
    return figures.usage() if figures is not None else None


class MessageTap(EventTap):
    """Reads the stream of a message as it passes."""

    __slots__ = ("_figures",)

    def __init__(self) -> None:
        super().__init__()
        self._figures = Figures()

    def look_over(self, block: bytes) -> None:
        """Note what the events of *block* tell."""
        self._output_chunks += block.count(_PIECE)
        if tells(block, _USAGE):
            self._count(block)
        if not self._complete and _STOP in block:
            self._complete = any(map(_is_stop, data_with(_STOP, block)))
        if self._error is None and tells(block, _ERROR):
            self._error = _first_error(block)

    def _count(self, block: bytes) -> None:
        told = [event for data in data_with(_USAGE, block) if (event := _decoded(data))]
        # They come last first, and a later one may tell less than an earlier.
        for event in reversed(told):
            figures = _figures_of(event)
            if figures is not None:
                self._figures = self._figures.added(figures)
        self._usage = self._figures.usage()


def _figures_of(event: _Event) -> Figures | None:
    if event.usage is not None:
        return event.usage
    return event.message.usage if event.message is not None else None


def _is_stop(data: bytes) -> bool:
    event = _decoded(data)
    return event is not None and event.type == "message_stop"


def _first_error(block: bytes) -> bytes | None:
    first = None
    for data in data_with(_ERROR, block):
        event = _decoded(data)
        if event is not None and (event.type == "error" or bytes(event.error) not in _NO_ERRORS):
            first = data
    return first


def _decoded(data: bytes) -> _Event | None:
    try:
        return _decode_event(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _whole(count: _Count) -> int:
    return int(count) if count is not None and count > 0 else 0
