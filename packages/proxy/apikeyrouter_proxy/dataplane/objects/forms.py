"""Forms with files (`multipart/form-data`): the few fields that a decision needs.

Parts are found by their boundary and nothing is copied; a file's content is skipped over. The
body goes on as it came, but for the name of the model where a provider has another one.
"""

import re
from collections.abc import Iterator

from apikeyrouter.service import BadBodyError

_BOUNDARY = re.compile(rb';\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*+([\w*-]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]*+))', re.DOTALL)
_DISPOSITION = re.compile(rb"^content-disposition[ \t]*:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
#: A header that goes on in the next line.
_FOLD = re.compile(rb"\r?\n[ \t]+")
_LONGEST_HEAD_BYTES = 8192
_LONGEST_VALUE_BYTES = 1024
_MOST_PARTS = 1000

#: Where a value begins and ends.
Place = tuple[int, int]


def is_form(content_type: bytes) -> bool:
    """Tell whether a body of this `Content-Type` is a form with files."""
    return content_type.lower().startswith(b"multipart/form-data")


def places_in(body: bytes, content_type: bytes) -> dict[str, Place]:
    """Return where the values of a form's fields are, by name.

    Raises:
        BadBodyError: It is no form, or names its model twice.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise BadBodyError("the form's Content-Type names no boundary; send one", "Content-Type")
    places: dict[str, Place] = {}
    for name, place in _fields(body, b"--" + (found[1] or found[2])):
        if name == "model" and name in places:
            raise BadBodyError("the form has two fields 'model'; send one", "model")
        places.setdefault(name, place)
    return places


def text_at(body: bytes, place: Place | None) -> str:
    """Return the short text at *place*; empty if there is none.

    Raises:
        BadBodyError: It is no text.
    """
    if place is None:
        return ""
    value = body[place[0] : min(place[1], place[0] + _LONGEST_VALUE_BYTES)]
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        raise BadBodyError("a field of the form is not valid UTF-8") from None


def _fields(body: bytes, delimiter: bytes) -> Iterator[tuple[str, Place]]:
    """Yield each field's name and the place of its value."""
    line = re.compile(rb"(?:\r\n|\A)%s(--|[ \t]*\r\n)" % re.escape(delimiter))
    here = line.search(body)
    if here is None:
        raise BadBodyError("the form does not begin with the boundary that its Content-Type names")
    for _ in range(_MOST_PARTS):
        if here[1] == b"--":
            return
        # An empty head ends with the line before it.
        begin = body.find(b"\r\n\r\n", here.end() - 2, here.end() + _LONGEST_HEAD_BYTES)
        following = line.search(body, begin + 2) if begin >= 0 else None
        if following is None:
            raise BadBodyError("the form ends in the middle of a part")
        name = _name_in(body[here.end() : begin])
        if name and begin + 4 <= following.start():
            yield name, (begin + 4, following.start())
        here = following
    raise BadBodyError(f"the form has more than {_MOST_PARTS:,} parts")


def _name_in(head: bytes) -> str:
    """Return a field's name; of several that readers choose from, `model` if it is one of them."""
    names = [
        (quoted or plain).decode("latin-1")
        for disposition in _DISPOSITION.findall(_FOLD.sub(b" ", head))
        for name, quoted, plain in _PARAMETER.findall(disposition)
        if name.lower().rstrip(b"*") == b"name"
    ]
    is_model = any(name.rpartition("'")[2] == "model" for name in names)
    return "model" if is_model else next(iter(names), "")
