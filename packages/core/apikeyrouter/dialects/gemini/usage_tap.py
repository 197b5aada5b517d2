"""Finds what a passing Gemini answer says of tokens, without parsing the rest.

Every piece of a stream repeats the counts so far, so the last one that has any is right.
A stream is either server-sent events or one JSON array.
"""

from typing import Any

import msgspec

from apikeyrouter.dialects.gemini.judging import is_said
from apikeyrouter.dialects.streams.event_tap import EventTap, data_with, tells
from apikeyrouter.dialects.streams.json_items import ItemSplitter
from apikeyrouter.domain.models.token_usage import Usage

#: A picture comes in one piece, with the reason for the end beside it.
LONGEST_PIECE_BYTES = 2**25
_Count = int | float | None
#: As a name and as a number.
_AUDIO = ("AUDIO", 4)


class _Modality(msgspec.Struct, rename="camel"):
    modality: Any = None
    token_count: _Count = None


class _UsageMetadata(msgspec.Struct, rename="camel"):
    prompt_token_count: _Count = None
    cached_content_token_count: _Count = None
    candidates_token_count: _Count = None
    thoughts_token_count: _Count = None
    tool_use_prompt_token_count: _Count = None
    total_token_count: _Count = None
    prompt_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


class _Bearer(msgspec.Struct, rename="camel"):
    usage_metadata: _UsageMetadata | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Body(_Bearer):
    total_tokens: _Count = None


class _Candidate(msgspec.Struct, rename="camel"):
    finish_reason: Any = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: Any = None


class _Piece(_Bearer):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_piece = msgspec.json.Decoder(_Piece).decode
_NO_ERRORS = frozenset((b"null", b"false", b'""', b"{}"))
_USAGE, _FINISH, _BLOCK, _ERROR = (
    b'"usageMetadata"', b'"finishReason"', b'"blockReason"', b'"error"',
)  # fmt: skip


def read_body(body: bytes) -> tuple[Usage | None, bool]:
    """Return the usage that a whole body tells, and whether the body looks like a success."""
    try:
        seen = _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, False
    usage = _usage_of(seen.usage_metadata)
    if usage is None and seen.total_tokens is not None:
        # To have tokens counted costs none.
        usage = Usage(0, 0)
    return usage, bytes(seen.error) in _NO_ERRORS


class StreamTap(EventTap):
    """Reads a stream of events as it passes."""

    __slots__ = ()
    longest_event_bytes = LONGEST_PIECE_BYTES

    def look_over(self, block: bytes) -> None:
        """Note what the events of *block* tell."""
        self._output_chunks += block.count(b'"parts"')
        if tells(block, _USAGE):
            told = (usage_in(data) for data in data_with(_USAGE, block))
            self._usage = next(filter(None, told), self._usage)
        if not self._complete:
            self._complete = any(
                mark in block and any(map(_ends, data_with(mark, block)))
                for mark in (_FINISH, _BLOCK)
            )
        if self._error is None and tells(block, _ERROR):
            for data in data_with(_ERROR, block):
                self._error = _error_in(data) or self._error


class ArrayTap(StreamTap):
    """Reads a stream that was asked for as an array; if it is events all the same, those."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        super().__init__()
        #: `None` until the first bytes show which it is.
        self._items: ItemSplitter | bool | None = None

    def _read(self) -> None:
        if len(self._pending) == 1:
            return
        text = b"".join(self._pending)
        if self._items is None and text.strip():
            is_array = text.lstrip().startswith(b"[")
            self._items = ItemSplitter(LONGEST_PIECE_BYTES) if is_array else False
        if not isinstance(self._items, ItemSplitter):
            super()._read()
            return
        for item in self._items.feed(text):
            self._note(item)
        self._keep(b"")

    def _note(self, item: bytes) -> None:
        self._output_chunks += item.count(b'"parts"')
        self._usage = usage_in(item) or self._usage
        self._complete = self._complete or _ends(item)
        self._error = self._error or _error_in(item)


def usage_in(data: bytes) -> Usage | None:
    """Return the usage that one piece tells; `None` if it tells none."""
    piece = _piece_in(data)
    return _usage_of(piece.usage_metadata) if piece is not None else None


def _ends(data: bytes) -> bool:
    piece = _piece_in(data)
    if piece is None:
        return False
    if piece.prompt_feedback is not None and is_said(piece.prompt_feedback.block_reason):
        return True
    return any(is_said(candidate.finish_reason) for candidate in piece.candidates or ())


def _error_in(data: bytes) -> bytes | None:
    piece = _piece_in(data)
    error = bytes(piece.error) if piece is not None else b"null"
    return error if error not in _NO_ERRORS else None


def _piece_in(data: bytes) -> _Piece | None:
    try:
        return _decode_piece(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _usage_of(told: _UsageMetadata | None) -> Usage | None:
    """Add up what is counted apart: tools' results are input, thoughts are output."""
    if told is None:
        return None
    counts = (told.prompt_token_count, told.candidates_token_count, told.total_token_count)
    if counts == (None, None, None):
        return None
    given = _whole(told.prompt_token_count) + _whole(told.tool_use_prompt_token_count)
    made = _whole(told.candidates_token_count) + _whole(told.thoughts_token_count)
    made = made or max(0, _whole(told.total_token_count) - given)
    return Usage(
        given,
        made,
        _whole(told.cached_content_token_count),
        reasoning_tokens=_whole(told.thoughts_token_count),
        audio_input_tokens=_audio_in(told.prompt_tokens_details),
        audio_output_tokens=_audio_in(told.candidates_tokens_details),
    )


def _audio_in(details: list[_Modality] | None) -> int:
    return sum(_whole(part.token_count) for part in details or () if part.modality in _AUDIO)


def _whole(count: _Count) -> int:
    return int(count) if count is not None and count > 0 else 0
