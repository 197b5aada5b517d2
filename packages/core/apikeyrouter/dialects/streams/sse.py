"""Server-sent events taken apart: the data of each event, however the bytes are split."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator


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


class EventParser:
    """Takes server-sent events out of bytes that come in pieces: the name and the data of each.

    Lines end with LF, CR or CRLF. An event without data is none.
    """

    __slots__ = ("_data", "_name", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._name = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the events that are complete by now; all of them must be taken."""
        text = self._rest + chunk
        # A CR at the end may be the first half of a line's end.
        end = len(text) - text.endswith(b"\r")
        *lines, rest = text[:end].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = rest + text[end:]
        for line in lines:
            yield from self._take(line)

    def finish(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the last event, which may lack its blank line."""
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        if rest:
            yield from self._take(rest)
        yield from self._take(b"")

    def _take(self, line: bytes) -> Iterator[tuple[bytes, bytes]]:
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
            elif field == b"event":
                self._name = value.removeprefix(b" ")
            return
        if self._data:
            yield self._name, b"\n".join(self._data)
        self._name, self._data = b"", []
