"""The typed events of a response: what of them ends a stream, and what they tell of tokens."""

from typing import Any

import msgspec

from apikeyrouter.dialects.openai_usage import ToldUsage
from apikeyrouter.dialects.streams.event_tap import EventTap, data_with
from apikeyrouter.domain.models.token_usage import Usage

_NO_ERRORS = frozenset((b"", b"null", b"false", b'""', b"{}"))
#: Types of the events after which nothing comes; the last is that of a realtime session.
LAST_TYPES = frozenset(
    ("response.completed", "response.incomplete", "response.failed", "response.done")
)
#: Beside them an error tells something.
_TELLING = tuple(b'"%s"' % name.encode() for name in (*sorted(LAST_TYPES), "error"))
_DELTA = b'"delta"'
_COUNTED = "response.input_tokens"


class Told(msgspec.Struct):
    """What a body or an event tells beside its content."""

    type: Any = None
    object: Any = None
    id: Any = None
    usage: ToldUsage | None = None
    service_tier: Any = None
    error: msgspec.Raw = msgspec.Raw(b"")
    response: "Told | None" = None

    @property
    def tokens(self) -> Usage | None:
        """The usage that it tells; `None` if it tells none."""
        if self.object == _COUNTED:
            # Counting is free.
            return Usage(0, 0)
        for bearer in (self, self.response):
            if bearer is not None and bearer.usage is not None:
                usage = bearer.usage.counted(bearer.service_tier)
                if usage is not None:
                    return usage
        return None

    @property
    def response_id(self) -> str:
        """The name of the response that it is, or that it is of; empty if it tells none."""
        bearer = self.response if self.response is not None else self
        is_response = self.response is not None or self.object in ("response", None)
        return bearer.id if is_response and isinstance(bearer.id, str) else ""

    @property
    def is_last(self) -> bool:
        """Whether nothing follows."""
        return self.type in LAST_TYPES

    def failure(self, data: bytes) -> bytes | None:
        """Return the error that it tells, as JSON; *data* is what it was read from."""
        for bearer in (self, self.response):
            if bearer is not None and bytes(bearer.error) not in _NO_ERRORS:
                return bytes(bearer.error)
        return data if self.type == "error" else None


_decode = msgspec.json.Decoder(Told).decode


def read_told(data: bytes) -> Told | None:
    """Read a body or the data of an event; `None` if it is no JSON object, or an odd one."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def read_body(body: bytes) -> tuple[Usage | None, bool]:
    """Return the usage that a whole body tells, and whether it looks like a success.

    One that does not (an error in it though its status is fine, no JSON object) deserves
    a closer look.
    """
    told = read_told(body)
    if told is None:
        return None, False
    return told.tokens, told.failure(body) is None


class ResponsesTap(EventTap):
    """Reads the stream of a response as it passes."""

    __slots__ = ()

    def look_over(self, block: bytes) -> None:
        """Note what the events of *block* tell."""
        self._output_chunks += block.count(_DELTA)
        for mark in _TELLING:
            if mark in block:
                for data in data_with(mark, block):
                    self._note(data)

    def _note(self, data: bytes) -> None:
        told = read_told(data)
        if told is None:
            return
        self._usage = told.tokens or self._usage
        self._complete = self._complete or told.is_last
        self._error = told.failure(data) or self._error
