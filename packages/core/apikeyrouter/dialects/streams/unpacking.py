"""The content codings that are read, and how: in steps of bounded size.

This is the only place that knows them, for requests and for answers. Whoever
unpacks decides after each step whether to go on: a few kilobytes can unpack to
gigabytes, and must take neither the memory nor the time of it.
"""

import asyncio
import sys
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from io import BytesIO

import brotli  # type: ignore[import-untyped]  # It comes without types.

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: What is unpacked, and what is given to be unpacked, at once; brotli's may be twice as much.
STEP_BYTES = 2**16
#: So much of both and others have their turn.
_WORK_AT_ONCE_BYTES = 2**18
#: What a step costs beside its bytes: many members may hold nothing.
_WORK_OF_STEP_BYTES = 2**10
#: Whoever compresses in parallel makes members of a hundred kilobytes; more are mischief.
_MOST_MEMBERS = 1000
#: The largest window that HTTP allows: 8 MiB.
_ZSTD_OPTIONS: Mapping[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
_GZIP, _ZLIB, _RAW = 31, 15, -15
_LONGEST_REMEMBERED = 200
_NO_CODING = "identity"


class Unpacker(ABC):
    """Unpacks one body, piece by piece.

    Attributes:
        members: How many it consisted of so far, one behind the other.
    """

    members = 1

    @abstractmethod
    def steps(self, packed: bytes) -> Iterator[bytes]:
        """Yield what *packed* adds, in steps; what is left of it when nobody goes on is lost.

        Raises:
            ValueError: It is not packed so.
        """

    @property
    @abstractmethod
    def is_whole(self) -> bool:
        """Whether the body may end here."""


class _Gzip(Unpacker):
    def __init__(self, window_bits: int = _GZIP) -> None:
        self._window_bits = window_bits
        self._reader = zlib.decompressobj(window_bits)

    @property
    def is_whole(self) -> bool:
        return self._reader.eof

    def steps(self, packed: bytes) -> Iterator[bytes]:
        text = b""
        try:
            # A step that is full may leave some inside.
            while packed or len(text) == STEP_BYTES:
                if self._reader.eof:
                    if not packed:
                        return
                    self._begin_again()
                text = self._reader.decompress(packed, STEP_BYTES)
                packed = self._reader.unconsumed_tail or self._reader.unused_data
                yield text
        except zlib.error as error:
            raise ValueError(str(error)) from error

    def _begin_again(self) -> None:
        """Begin the next member."""
        self._reader = zlib.decompressobj(self._window_bits)
        self.members += 1


class _Deflate(_Gzip):
    """In zlib's format as it should be, or raw as some send it; the first two bytes tell."""

    def __init__(self) -> None:
        super().__init__(_RAW)
        self._head: bytes | None = b""

    def steps(self, packed: bytes) -> Iterator[bytes]:
        if self._head is not None:
            packed = self._head + packed
            if len(packed) < 2:
                self._head = packed
                return
            self._head = None
            if packed[0] & 15 == zlib.DEFLATED and int.from_bytes(packed[:2]) % 31 == 0:
                self._reader = zlib.decompressobj(_ZLIB)
        yield from super().steps(packed)

    def _begin_again(self) -> None:
        raise ValueError("more bytes follow its end")


class _Zstd(Unpacker):
    def __init__(self) -> None:
        self._reader = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)

    @property
    def is_whole(self) -> bool:
        return self._reader.eof

    def steps(self, packed: bytes) -> Iterator[bytes]:
        try:
            while packed or not (self._reader.eof or self._reader.needs_input):
                if self._reader.eof:
                    self._reader = zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)
                    self.members += 1
                text = self._reader.decompress(packed, STEP_BYTES)
                packed = self._reader.unused_data
                yield text
        except zstd.ZstdError as error:
            raise ValueError(str(error)) from error


class _Brotli(Unpacker):
    def __init__(self) -> None:
        self._reader = brotli.Decompressor()

    @property
    def is_whole(self) -> bool:
        return bool(self._reader.is_finished())

    def steps(self, packed: bytes) -> Iterator[bytes]:
        if packed and self._reader.is_finished():
            raise ValueError("more bytes follow its end")
        is_full = True
        try:
            while is_full and (packed or not self._reader.is_finished()):
                text = self._reader.process(packed, output_buffer_limit=STEP_BYTES)
                packed, is_full = b"", len(text) >= STEP_BYTES
                yield text
        except brotli.error as error:
            raise ValueError(str(error)) from error


_UNPACKERS: Mapping[str, Callable[[], Unpacker]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
#: As a message or an `Accept-Encoding` names them.
READABLE_CODINGS = "gzip, deflate, br, zstd"


def unpacker_of(coding: str) -> Unpacker | None:
    """Return what unpacks this `Content-Encoding`; `None` if nothing here does."""
    make = _UNPACKERS.get(coding.strip().lower())
    return make() if make is not None else None


async def unpack(packed: bytes, unpacker: Unpacker, hold: Callable[[int], None]) -> bytes:
    """Unpack all that came of a body; others have their turn in between.

    Args:
        unpacker: A new one; whether the body was whole it knows afterwards.
        hold: Told how many bytes more there are before they are kept; may raise.

    Raises:
        ValueError: It is not packed so.
    """
    whole, work = BytesIO(), 0
    for at in range(0, len(packed), STEP_BYTES):
        work += STEP_BYTES
        for text in unpacker.steps(packed[at : at + STEP_BYTES]):
            hold(len(text))
            whole.write(text)
            work += len(text) + _WORK_OF_STEP_BYTES
            if work >= _WORK_AT_ONCE_BYTES:
                work = 0
                await asyncio.sleep(0)
            if unpacker.members > _MOST_MEMBERS:
                raise ValueError(f"it consists of more than {_MOST_MEMBERS:,} members")
    return whole.getvalue()


def readable_of(accepted: str) -> str:
    """Return what of an `Accept-Encoding` can be read here, as it is written there."""
    if len(accepted) > _LONGEST_REMEMBERED:
        return _readable_of(accepted)
    return _remembered(accepted)


def _readable_of(accepted: str) -> str:
    parts = [part.strip() for part in accepted.split(",")]
    readable = [part for part in parts if part and _is_readable(part)]
    return (
        accepted if readable and len(readable) == len(parts) else ", ".join(readable) or _NO_CODING
    )


_remembered = lru_cache(maxsize=128)(_readable_of)


def _is_readable(part: str) -> bool:
    """Tell whether one part of an `Accept-Encoding` wants nothing that cannot be read."""
    coding = part.partition(";")[0].strip().lower()
    return coding in _UNPACKERS or coding == _NO_CODING
