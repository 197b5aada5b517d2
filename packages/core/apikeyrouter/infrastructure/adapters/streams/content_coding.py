"""Bodies that come compressed though none was asked for: unpacked to be judged, not to be passed.

Only what the standard library unpacks is read; anything else passes unread.
"""

import zlib
from typing import Protocol

from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.infrastructure.adapters.streams.usage_tap import StreamTap

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


class PackedTap(StreamTap):
    """Reads a compressed stream; all of it passes as it came."""

    __slots__ = ("_unpacker",)

    def __init__(self, unpacker: Unpacker) -> None:
        super().__init__()
        self._unpacker: Unpacker | None = unpacker

    def feed(self, chunk: bytes) -> bytes:
        """Read *chunk* and return it."""
        if self._unpacker is not None:
            try:
                super().feed(self._unpacker.decompress(chunk))
            except zlib.error:
                self._unpacker = None
        return chunk

    def finish(self) -> bytes:
        """Read the last event; nothing was kept back."""
        super().finish()
        return b""

    @property
    def complete(self) -> bool:
        """Whether the end came; what cannot be unpacked any more is taken for complete."""
        return self._unpacker is None or super().complete


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
