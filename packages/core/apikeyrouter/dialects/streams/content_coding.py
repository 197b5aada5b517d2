"""Answers that come compressed: unpacked to be judged and counted, passed as they came.

What is compressed in a way that nothing here unpacks passes unread.
"""

from apikeyrouter.dialects.dialect import Tap
from apikeyrouter.dialects.streams.unpacking import Unpacker, unpack, unpacker_of
from apikeyrouter.domain.models.token_usage import Usage

#: A whole answer that unpacks to more passes unread.
LONGEST_UNPACKED_BYTES = 2**25
#: A stream of which one chunk unpacks to more passes unread from there on.
_LONGEST_CHUNK_BYTES = 2**24


def is_plain(encoding: str | None) -> bool:
    """Tell whether a body with this `Content-Encoding` is as it reads."""
    return (encoding or "identity").strip().lower() in ("identity", "")


async def unpacked(body: bytes, encoding: str | None) -> bytes | None:
    """Return *body* as it reads, as far as it goes if it was cut; `None` when it cannot be read."""
    if encoding is None or is_plain(encoding):
        return body
    unpacker = unpacker_of(encoding)
    if unpacker is None:
        return None
    size = 0

    def hold(more: int) -> None:
        nonlocal size
        size += more
        if size > LONGEST_UNPACKED_BYTES:
            raise ValueError("it unpacks to too much")

    try:
        return await unpack(body, unpacker, hold)
    except ValueError:
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
                plain = self._read(self._unpacker, chunk)
            except ValueError:
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
    def output_chunks(self) -> int:
        """About how many pieces of output came."""
        return self._tap.output_chunks

    @property
    def complete(self) -> bool:
        """Whether the end came; what cannot be unpacked any more is taken for complete."""
        return self._unpacker is None or self._tap.complete

    def _read(self, unpacker: Unpacker, chunk: bytes) -> bytes:
        """Read what *chunk* unpacks to; return it if it is to pass."""
        size, passed = 0, []
        for text in unpacker.steps(chunk):
            size += len(text)
            if size > _LONGEST_CHUNK_BYTES:
                raise ValueError("it unpacks to too much")
            plain = self._tap.feed(text)
            if self._passes_plain:
                passed.append(plain)
        return b"".join(passed)


class OpaqueTap:
    """Stands where nothing is judged: all of it passes, and it is complete at its end.

    Args:
        reader: Reads usage of it, if it is a stream of events.
    """

    __slots__ = ("_reader", "complete", "error")

    def __init__(self, reader: Tap | None = None) -> None:
        self._reader = reader
        self.complete = False
        self.error: bytes | None = None

    @property
    def usage(self) -> Usage | None:
        """The last usage that was told so far."""
        return self._reader.usage if self._reader is not None else None

    @property
    def output_chunks(self) -> int:
        """About how many pieces of output came; none where nothing is read."""
        return self._reader.output_chunks if self._reader is not None else 0

    def feed(self, chunk: bytes) -> bytes:
        """Return *chunk* itself."""
        if self._reader is not None:
            self._reader.feed(chunk)
        return chunk

    def finish(self) -> bytes:
        """Note that the end came as it should; nothing was kept back."""
        self.complete = True
        if self._reader is not None:
            self._reader.finish()
        return b""


class BlindTap:
    """Stands where a stream's bytes cannot be read: all of it passes."""

    usage: Usage | None = None
    output_chunks = 0
    complete = True
    error: bytes | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return *chunk* itself."""
        return chunk

    def finish(self) -> bytes:
        """Return nothing: nothing was kept back."""
        return b""
