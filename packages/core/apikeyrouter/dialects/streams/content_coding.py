"""Bodies that come compressed though none was asked for: unpacked to be judged, not to be passed.

Only what the standard library unpacks is read; anything else passes unread.
"""

import zlib
from typing import Protocol

from apikeyrouter.dialects.dialect import Tap
from apikeyrouter.domain.models.token_usage import Usage

#: A packed body is not unpacked beyond this; what follows stays unread.
LONGEST_UNPACKED_BYTES = 2**25
#: The window for gzip and zlib alike.
_EITHER = zlib.MAX_WBITS | 32
_READABLE = frozenset({"gzip", "x-gzip", "deflate"})


class Unpacker(Protocol):
    """What `zlib.decompressobj` gives."""

    def decompress(self, data: bytes, max_length: int = 0, /) -> bytes:
        """Return what *data* adds."""


def is_plain(encoding: str | None) -> bool:
    """Tell whether a body with this `Content-Encoding` is as it reads."""
    return (encoding or "identity").strip().lower() in ("identity", "")


def unpacker_of(encoding: str) -> Unpacker | None:
    """Return what unpacks this `Content-Encoding` piece by piece; `None` if nothing here does."""
    return zlib.decompressobj(_EITHER) if encoding.strip().lower() in _READABLE else None


def unpacked(body: bytes, encoding: str | None) -> bytes | None:
    """Return *body* as it reads, `None` when it cannot be unpacked."""
    if is_plain(encoding):
        return body
    unpacker = unpacker_of(encoding or "")
    try:
        return unpacker.decompress(body, LONGEST_UNPACKED_BYTES) if unpacker is not None else None
    except zlib.error:
        return None


class PackedTap:
    """Reads a compressed stream by a tap of what is in it; all of it passes as it came.

    Args:
        passes_plain: It passes unpacked instead.
    """

    __slots__ = ("_passes_plain", "_tap", "_unpacker")

    def __init__(self, unpacker: Unpacker, tap: Tap, *, passes_plain: bool = False) -> None:
        self._tap = tap
        self._passes_plain = passes_plain
        self._unpacker: Unpacker | None = unpacker

    def feed(self, chunk: bytes) -> bytes:
        """Read *chunk* and return it."""
        plain = b""
        if self._unpacker is not None:
            try:
                plain = self._tap.feed(self._unpacker.decompress(chunk))
            except zlib.error:
                self._unpacker = None
        return plain if self._passes_plain else chunk

    def finish(self) -> bytes:
        """Read the last event; nothing was kept back."""
        self._tap.finish()
        return b""

    @property
    def usage(self) -> Usage | None:
        """The last usage that was told so far."""
        return self._tap.usage

    @property
    def error(self) -> bytes | None:
        """The first error in the stream, as JSON."""
        return self._tap.error

    @property
    def complete(self) -> bool:
        """Whether the end came; what cannot be unpacked any more is taken for complete."""
        return self._unpacker is None or self._tap.complete


class BlindTap:
    """Stands where a stream's bytes cannot be read: all of it passes."""

    usage: Usage | None = None
    complete = True
    error: bytes | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return *chunk* itself."""
        return chunk

    def finish(self) -> bytes:
        """Return nothing: nothing was kept back."""
        return b""
