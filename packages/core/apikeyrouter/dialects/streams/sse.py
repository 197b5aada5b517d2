"""Server-sent events taken apart: the data of each event, however the bytes are split."""

from collections.abc import AsyncIterable, AsyncIterator


async def data_of_events(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the `data` of each event; comments and other fields are skipped.

    Lines end with LF or CRLF. The last event needs no blank line after it.
    """
    rest = b""
    data: list[bytes] = []
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r")
            if text.startswith(b"data:"):
                data.append(text[5:].removeprefix(b" "))
            elif not text and data:
                yield b"\n".join(data)
                data = []
    if rest.startswith(b"data:"):
        data.append(rest.rstrip(b"\r")[5:].removeprefix(b" "))
    if data:
        yield b"\n".join(data)
