"""Finds what a passing chat answer says of tokens, without parsing the rest.

A plain body is decoded for its `usage` alone. Nothing of a stream is changed; only
a usage event that we asked for ourselves is kept back. What other providers of the same
dialect add (`x_groq`, `prompt_cache_hit_tokens`) is read too, and so are the typed events of
speech and images.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from apikeyrouter.dialects.openai_usage import ToldUsage
from apikeyrouter.dialects.streams.event_tap import (
    EDGE_BYTES,
    EventTap,
    data_of_event,
    data_with,
    end_of_events,
    events_in,
    tells,
)
from apikeyrouter.domain.models.token_usage import TokenUsage, Usage

#: A usage event is far shorter; what is longer passes before its end is seen.
_LONGEST_USAGE_EVENT_BYTES = 2**14


class _Bearer(msgspec.Struct):
    """Whatever carries a usage and perhaps an error: a body, an event, `x_groq`."""

    usage: ToldUsage | None = None
    service_tier: Any = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Body(_Bearer):
    choices: msgspec.Raw = msgspec.Raw(b"")


class _Choice(msgspec.Struct):
    finish_reason: Any = None


class _Event(_Bearer):
    type: Any = None
    choices: list[_Choice] | None = None
    x_groq: _Bearer | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_event = msgspec.json.Decoder(_Event).decode

_NULL = msgspec.Raw(b"null")
_NO_ERRORS = frozenset((b"null", b"false", b'""', b"{}"))
#: Types of the events that end streams without finish reasons: speech, images.
_LAST_TYPES = frozenset(
    (
        "speech.audio.done", "transcript.text.done",
        "image_generation.completed", "image_edit.completed",
    )
)  # fmt: skip
_LAST_TYPE = re.compile(b'"(?:%s)"' % "|".join(map(re.escape, sorted(_LAST_TYPES))).encode())
_USAGE, _FINISH, _ERROR = b'"usage"', b'"finish_reason"', b'"error"'
#: Stands in every usage that tells something, and never inside of a JSON string.
_COUNTS = b'_tokens"'


def read_usage(body: bytes) -> Usage | None:
    """Return the usage that a whole JSON body tells; `None` if it tells none or is no JSON."""
    return read_body(body)[0]


def read_body(body: bytes) -> tuple[Usage | None, bool]:
    """Return the usage that a whole body tells, and whether the body looks like a success.

    What does not (an error in it, `choices` that are null, no JSON object) deserves a
    closer look.
    """
    try:
        seen = _decode_body(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, False
    is_fine = seen.choices != _NULL and bytes(seen.error) in _NO_ERRORS
    usage = seen.usage
    return None if usage is None else usage.counted(seen.service_tier), is_fine


def usage_of(data: Any) -> TokenUsage | None:
    """Return the usage of a decoded body or event; `None` if it tells none."""
    try:
        usage = _usage_in(msgspec.convert(data, _Event))
    except msgspec.ValidationError:
        return None
    return usage.told() if usage is not None else None


class StreamTap(EventTap):
    """Reads a stream of a chat as it passes.

    Args:
        withhold_usage: Keep back the event that carries nothing but usage; the
            client did not ask for it.
    """

    __slots__ = ("_edge", "_held", "_withhold")

    def __init__(self, withhold_usage: bool = False) -> None:
        super().__init__()
        self._withhold = withhold_usage
        #: The beginning of an event that may turn out to be usage alone.
        self._held = b""
        #: The end of what has passed of an event that is not.
        self._edge = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; return what may pass on now.

        Without withholding that is *chunk* itself. With it, an event that has
        not ended is kept back as long as it may be the usage event, and no longer.
        """
        super().feed(chunk)
        return self._without_usage(chunk) if self._withhold else chunk

    def finish(self) -> bytes:
        """End the stream; return bytes that were still kept back."""
        super().finish()
        rest, self._held = self._held, b""
        return b"" if rest and _is_usage_alone(rest) else rest

    def look_over(self, block: bytes) -> None:
        """Note what the events of *block* tell."""
        self._output_chunks += block.count(b'"delta"') or block.count(b'"text"')
        if tells(block, _USAGE):
            told = (_usage_in(event) for event in _bearers_of(_USAGE, block))
            self._usage = next(filter(None, told), self._usage)
        if not self._complete:
            self._complete = _completes(block)
        if self._error is None and tells(block, _ERROR):
            self._error = _first_error(block)

    def _without_usage(self, chunk: bytes) -> bytes:
        """Return what may pass: all but the usage event and what may be its beginning."""
        is_between = not self._held and not self._edge
        if is_between and chunk.endswith(b"\n\n") and _COUNTS not in chunk:
            return chunk
        passed = len(self._edge)
        text = (self._edge or self._held) + chunk
        rest_at = end_of_events(text)
        parts = [
            event
            for number, event in enumerate(events_in(text[:rest_at]))
            if (passed and number == 0) or not _is_usage_alone(event)
        ]
        rest = text[rest_at:]
        goes_on = rest_at == 0 and passed > 0
        if rest and (goes_on or _has_choices(rest) or len(rest) > _LONGEST_USAGE_EVENT_BYTES):
            parts.append(rest)
            self._held, self._edge = b"", rest[-EDGE_BYTES:]
        else:
            bare = 0 if goes_on else _end_of_comments(rest)
            parts.append(rest[:bare])
            self._held, self._edge = rest[bare:], b""
        return b"".join(parts)[passed:]


def _bearers_of(name: bytes, block: bytes) -> Iterator[_Event]:
    """Yield the decoded events that have the quoted *name*, last first."""
    return filter(None, map(_decoded, data_with(name, block)))


def _completes(block: bytes) -> bool:
    """Tell whether an event says that the stream is complete."""
    if b"[DONE]" in block and b"[DONE]" in data_with(b"[DONE]", block):
        return True
    if tells(block, _FINISH) and any(map(_is_finish, _bearers_of(_FINISH, block))):
        return True
    if b'"type"' not in block:
        return False
    return any(
        event.type in _LAST_TYPES
        for mark in set(_LAST_TYPE.findall(block))
        for event in _bearers_of(mark, block)
    )


def _is_finish(event: _Event) -> bool:
    return any(choice.finish_reason for choice in event.choices or ())


def _first_error(block: bytes) -> bytes | None:
    first = None
    for data in data_with(_ERROR, block):
        event = _decoded(data)
        if event is not None:
            first = (data if event.type == "error" else _error_in(event)) or first
    return first


def _has_choices(event: bytes) -> bool:
    """Tell whether the beginning of an event shows that it carries more than usage."""
    return b'"choices":[{' in event or b'"choices": [{' in event


def _end_of_comments(event: bytes) -> int:
    """Return where the whole lines end that begin an event and carry nothing but comments."""
    end = 0
    while event.startswith((b":", b"\n", b"\r\n"), end) and (line := event.find(b"\n", end)) >= 0:
        end = line + 1
    return end


def _is_usage_alone(event: bytes) -> bool:
    if _COUNTS not in event or _USAGE not in event:
        return False
    seen = _decoded(data_of_event(event))
    if seen is None or seen.choices or seen.usage is None or seen.type is not None:
        return False
    return _error_in(seen) is None


def _decoded(data: bytes) -> _Event | None:
    try:
        return _decode_event(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _error_in(event: _Event) -> bytes | None:
    error = bytes(event.error)
    return error if error not in _NO_ERRORS else None


def _usage_in(event: _Event) -> Usage | None:
    for bearer in (event, event.x_groq):
        if bearer is not None and bearer.usage is not None:
            usage = bearer.usage.counted(event.service_tier or bearer.service_tier)
            if usage is not None:
                return usage
    return None
