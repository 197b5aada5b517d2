"""Compressed request bodies, unpacked with a bound, so that they can be looked at."""

import asyncio
import zlib
from collections.abc import Callable

from apikeyrouter.service import BadBodyError

#: Name in `Content-Encoding` -> zlib's name of the format; `None` is found out from the bytes.
_WINDOW_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": None}
CODINGS = b"gzip, deflate"
_PIECE_BYTES = 2**16
_MOST_AT_ONCE_BYTES = 2**20
_ZLIB, _RAW = 15, -15


def coding_of(headers: dict[bytes, bytes]) -> bytes:
    """Return what a body is packed by, empty if by nothing."""
    coding = headers.get(b"content-encoding", b"").strip().lower()
    return b"" if coding == b"identity" else coding


def is_known(coding: bytes) -> bool:
    """Tell whether `unpack` can read *coding*."""
    return coding in _WINDOW_BITS


async def unpack(packed: bytes, coding: bytes, hold: Callable[[int], None]) -> bytes:
    """Unpack a body; others have their turn in between.

    Args:
        hold: Told how many bytes more there are before they are kept; may raise.

    Raises:
        BadBodyError: It is not packed so, or not whole.
    """
    bits = _WINDOW_BITS[coding] or (_ZLIB if _has_zlib_head(packed) else _RAW)
    reader = zlib.decompressobj(bits)
    pieces: list[bytes] = []
    try:
        for at in range(0, len(packed), _PIECE_BYTES):
            rest = packed[at : at + _PIECE_BYTES]
            while rest:
                if reader.eof:
                    # A gzip file may be several, one behind the other.
                    reader = zlib.decompressobj(bits)
                pieces.append(reader.decompress(rest, _MOST_AT_ONCE_BYTES))
                hold(len(pieces[-1]))
                rest = reader.unused_data or reader.unconsumed_tail
                if len(pieces[-1]) == _MOST_AT_ONCE_BYTES:
                    await asyncio.sleep(0)
    except zlib.error:
        raise _damaged(coding) from None
    if not reader.eof:
        raise _damaged(coding)
    return b"".join(pieces)


def _has_zlib_head(packed: bytes) -> bool:
    return packed[:1] == b"\x78" and int.from_bytes(packed[:2]) % 31 == 0


def _damaged(coding: bytes) -> BadBodyError:
    return BadBodyError(f"the body is not whole as Content-Encoding {coding.decode()} says")
