"""Bodies of several parts: `multipart/form-data` and `multipart/related`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BOUNDARY = re.compile(rb'boundary="?([^";,]+)"?', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="([^"]*)"', re.IGNORECASE)
_FILENAME = re.compile(rb'filename="([^"]*)"', re.IGNORECASE)
_TYPE = re.compile(rb"^content-type:\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BodyPart:
    """One part."""

    name: str
    filename: str | None
    type: str
    content: bytes

    @property
    def text(self) -> str:
        """Its content as text."""
        return self.content.decode("utf-8", "replace")


def parts_of(content_type: bytes, body: bytes) -> list[BodyPart] | None:
    """Return the parts of a body; `None` if it has none."""
    match = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith(b"multipart/") or match is None:
        return None
    return list(_parts(b"\r\n--" + match[1], b"\r\n" + body))


def _parts(boundary: bytes, body: bytes) -> Iterator[BodyPart]:
    for piece in body.split(boundary)[1:]:
        if piece.startswith(b"--"):
            return
        head, gap, content = piece.partition(b"\r\n\r\n")
        if gap:
            name, filename, kind = _NAME.search(head), _FILENAME.search(head), _TYPE.search(head)
            yield BodyPart(_text(name) or "", _text(filename), _text(kind) or "text/plain", content)


def _text(match: "re.Match[bytes] | None") -> str | None:
    return match[1].decode("utf-8", "replace") if match else None
