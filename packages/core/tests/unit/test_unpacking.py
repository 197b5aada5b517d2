"""Whatever comes compressed is read in bounded steps, wherever it is cut, or refused in one way."""

import asyncio
import contextlib
import gzip
import sys
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from functools import partial

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.catalogue import OPENAI_CHAT
from apikeyrouter.dialects.streams import content_coding
from apikeyrouter.dialects.streams.content_coding import PackedTap, unpacked
from apikeyrouter.dialects.streams.unpacking import (
    READABLE_CODINGS,
    STEP_BYTES,
    Unpacker,
    readable_of,
    unpack,
    unpacker_of,
)
from apikeyrouter.domain.interfaces.wire import WireResponse
from apikeyrouter.request.held_head import HeldHead

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n' * 20
EVENTS = TEXT + (
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)


def raw_deflate(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(text) + packer.flush()


#: Name of the test -> coding, and what packs by it.
PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", partial(brotli.compress, quality=5)),
    "zstd": ("zstd", zstd.compress),
}
CODINGS = READABLE_CODINGS.split(", ")
every_packer = pytest.mark.parametrize(("coding", "pack"), PACKERS.values(), ids=PACKERS)


def new(coding: str) -> Unpacker:
    unpacker = unpacker_of(coding)
    assert unpacker is not None
    return unpacker


def read(unpacker: Unpacker, *pieces: bytes) -> bytes:
    return b"".join(text for piece in pieces for text in unpacker.steps(piece))


@every_packer
def test_body_is_read_wherever_it_is_cut(coding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(TEXT)
    for at in range(len(packed) + 1):
        unpacker = new(coding)
        assert read(unpacker, packed[:at], packed[at:]) == TEXT
        assert unpacker.is_whole
    unpacker = new(coding)
    assert read(unpacker, *(packed[at : at + 1] for at in range(len(packed)))) == TEXT
    assert unpacker.is_whole


@every_packer
def test_body_that_was_cut_is_not_whole(coding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(TEXT)
    for at in range(len(packed)):
        unpacker = new(coding)
        assert TEXT.startswith(read(unpacker, packed[:at]))
        assert not unpacker.is_whole


@every_packer
@pytest.mark.parametrize("size", [7, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 2**22])
@pytest.mark.parametrize("more", [b"", b"x", b"no frame"], ids=["whole", "a byte", "more"])
def test_what_follows_the_end_is_refused(
    coding: str, pack: Callable[[bytes], bytes], size: int, more: bytes
) -> None:
    unpacker, packed = new(coding), pack(b"a" * size) + more
    if not more:
        assert (read(unpacker, packed), unpacker.is_whole) == (b"a" * size, True)
        return
    try:
        read(unpacker, packed)
    except ValueError:
        return
    assert not unpacker.is_whole


def test_raw_deflate_is_told_from_zlibs_format_whatever_it_begins_with() -> None:
    texts = [b"%d %d" % (number, number * number) for number in range(500)]
    packed = {text: raw_deflate(text) for text in texts}
    assert any(int.from_bytes(body[:2]) % 31 == 0 for body in packed.values())
    assert [read(new("deflate"), body) for body in packed.values()] == texts


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_one_behind_the_other_are_one_body(coding: str) -> None:
    pack = PACKERS[coding][1]
    unpacker = new(coding)
    assert read(unpacker, pack(b"one") + pack(b"") + pack(b"two")) == b"onetwo"
    assert (unpacker.is_whole, unpacker.members) == (True, 3)


@every_packer
def test_step_is_bounded_whatever_it_unpacks_to(
    coding: str, pack: Callable[[bytes], bytes]
) -> None:
    bomb = pack(bytes(10_000_000))
    # The second is packed twice: what it unpacks to is a bomb itself.
    for packed, least in ((bomb, 10_000_000), (pack(bomb * 100), 100 * len(bomb))):
        sizes = [len(text) for text in new(coding).steps(packed)]
        assert max(sizes) <= 2 * STEP_BYTES
        assert sum(sizes) == least


async def test_unpacking_stops_where_no_more_may_be_held() -> None:
    for coding, pack in PACKERS.values():
        held = 0

        def hold(more: int) -> None:
            nonlocal held
            held += more
            if held > 100_000:
                raise MemoryError

        with pytest.raises(MemoryError):
            await unpack(pack(bytes(50_000_000)), new(coding), hold)
        assert held <= 100_000 + 2 * STEP_BYTES


@pytest.mark.parametrize("coding", CODINGS)
async def test_stream_that_is_a_bomb_takes_little_memory(coding: str) -> None:
    bomb = PACKERS[coding][1](bytes(2**26))

    async def chunks() -> AsyncIterator[bytes]:
        yield bomb

    async def whole() -> bytes:
        return bomb

    response = WireResponse(200, {"content-encoding": coding}, chunks(), whole, lambda: None)
    tracemalloc.start()
    try:
        head = HeldHead(response, judge=OPENAI_CHAT.judge, is_chunked=True)
        await head.read()
        PackedTap(new(coding), OPENAI_CHAT.tap()).feed(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert head.raw == bomb
    assert peak < 2**23


@pytest.mark.parametrize("kind", ["zeros", "noise"])
@pytest.mark.parametrize("coding", CODINGS)
async def test_others_have_their_turn_while_much_is_unpacked(coding: str, kind: str) -> None:
    turns, size = 0, 5_000_000
    text = (
        bytes(size)
        if kind == "zeros"
        else b"".join(zlib.crc32(number.to_bytes(4)).to_bytes(4) for number in range(size // 4))
    )

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    await unpack(PACKERS[coding][1](text), new(coding), lambda _: None)
    running.cancel()
    assert turns >= 15


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_many_empty_members_are_refused(coding: str) -> None:
    packed = PACKERS[coding][1](b"")
    assert await unpack(packed * 1000, new(coding), lambda _: None) == b""
    with pytest.raises(ValueError, match="more than 1,000 members"):
        await unpack(packed * 100_000, new(coding), lambda _: None)


def test_window_that_takes_more_memory_than_http_allows_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 24})
    packed = packer.compress(TEXT, packer.FLUSH_BLOCK) + packer.flush()
    with pytest.raises(ValueError, match="memory"):
        read(new("zstd"), packed)


@given(st.sampled_from(CODINGS), st.binary(max_size=300), st.data())
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_refused(coding: str, noise: bytes, data: st.DataObject) -> None:
    packed = PACKERS[coding][1](EVENTS)
    place = data.draw(st.integers(0, len(packed)))
    for body in (noise, packed[:place] + noise, packed[:place] + noise + packed[place:]):
        cut = data.draw(st.integers(0, len(body)))
        with contextlib.suppress(ValueError):
            read(new(coding), body[:cut], body[cut:])
        tap = PackedTap(new(coding), OPENAI_CHAT.tap())
        assert (tap.feed(body[:cut]), tap.feed(body[cut:])) == (body[:cut], body[cut:])
        assert tap.finish() == b""
        assert tap.usage is None or tap.usage.input_tokens >= 0
        assert tap.complete in (True, False)
        plain = asyncio.run(unpacked(body, coding))
        assert plain is None or isinstance(plain, bytes)


@every_packer
def test_stream_is_counted_wherever_it_is_cut(coding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(EVENTS)
    for at in range(len(packed)):
        tap = PackedTap(new(coding), OPENAI_CHAT.tap())
        assert tap.feed(packed[:at]) + tap.feed(packed[at:]) + tap.finish() == packed
        assert tap.usage is not None
        assert (tap.usage.input_tokens, tap.usage.output_tokens, tap.complete) == (3, 2, True)


@pytest.mark.parametrize("coding", CODINGS)
async def test_answer_that_unpacks_to_too_much_passes_unread(coding: str) -> None:
    packed = PACKERS[coding][1](bytes(content_coding.LONGEST_UNPACKED_BYTES + 1))
    assert await unpacked(packed, coding) is None
    tap = PackedTap(new(coding), OPENAI_CHAT.tap())
    assert tap.feed(packed) == packed
    assert tap.complete


@pytest.mark.parametrize(
    ("accepted", "readable"),
    [
        ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
        ("GZIP;q=0.5,br ; q=1", "GZIP;q=0.5,br ; q=1"),
        ("gzip, compress, br", "gzip, br"),
        ("dcb, dcz, gzip", "gzip"),
        ("*", "identity"),
        ("gzip, *;q=0.1", "gzip"),
        ("identity", "identity"),
        ("identity;q=0, br", "identity;q=0, br"),
        ("", "identity"),
        (",", "identity"),
        ("gzip" + ", lzma" * 100, "gzip"),
    ],
)
def test_only_what_can_be_read_is_asked_for(accepted: str, readable: str) -> None:
    assert readable_of(accepted) == readable
