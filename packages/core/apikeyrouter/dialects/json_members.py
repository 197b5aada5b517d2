"""Where the members of a JSON object have their values, found without decoding it.

Bytes are spliced into a body at these places, so that the rest of it stays as
it was. The object must be known to be valid JSON. Finding a place takes one
pass over the body, however often its names occur in it.
"""

import json
import re

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
#: Brackets inside brackets up to this depth are skipped by one match; deeper ones are counted.
_MATCHED_DEPTH = 32
_SPACED_COLON = rb"[ \t\r\n]*+:[ \t\r\n]*+"


def _nested_value(depth: int) -> bytes:
    """Return a pattern of arrays and objects that hold at most *depth* others in each other."""
    between = rb'[^][{}"]*+'
    inside = rb"%s(?:%s%s)*+" % (between, _STRING, between)
    for _ in range(depth):
        inside = rb"%s(?:(?:%s|[\[{]%s[]}])%s)*+" % (between, _STRING, inside, between)
    return rb"[\[{]%s[]}]" % inside


_VALUE = re.compile(
    rb'%s|%s|[^][{},:" \t\r\n]++' % (_STRING, _nested_value(_MATCHED_DEPTH)), re.DOTALL
)
_NAME = re.compile(rb"[{,\s]*+(%s)%s" % (_STRING, _SPACED_COLON), re.DOTALL)
_STRING_OR_BRACKET = re.compile(_STRING + rb"|[][{}]", re.DOTALL)
_COLON = re.compile(_SPACED_COLON)
#: A name of ASCII letters may be written with one of these.
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")


def with_member(body: bytes, name: str, value: str) -> bytes:
    """Return *body* with *value* as its member *name*, which it has; all else stays as it is."""
    start, end = place_of(body, name)
    return spliced(body, start, end, json.dumps(value, ensure_ascii=False).encode())


def spliced(body: bytes, start: int, end: int, piece: bytes) -> bytes:
    """Return *body* with *piece* in place of what stands from *start* to *end*."""
    view = memoryview(body)
    return b"".join((view[:start], piece, view[end:]))


def place_of(body: bytes, name: str) -> tuple[int, int]:
    """Return where the value of member *name* begins and ends; of several, the last counts.

    Args:
        body: A valid JSON object with such a member.
        name: ASCII letters and underscores.
    """
    return _only_place_of(body, name) or _scan(body, name)


def _only_place_of(body: bytes, name: str) -> tuple[int, int] | None:
    """Find a name that is written once, in whatever depth: it is the member's own then."""
    quoted = b'"%s"' % name.encode()
    # From behind, because that search is the faster one in long bodies.
    at = body.rfind(quoted)
    if at < 0 or body.rfind(quoted, 0, at) >= 0:
        return None
    if body.rfind(b"\\u00") >= 0 and _ESCAPED_LETTER.search(body):
        return None
    colon = _COLON.match(body, at + len(quoted))
    # Without a colon it is a value, behind a backslash the end of a longer text.
    if colon is None or body[at - 1] == ord("\\"):
        return None
    return colon.end(), _end_of_value(body, colon.end())


def _scan(body: bytes, name: str) -> tuple[int, int]:
    place: tuple[int, int] | None = None
    at = body.index(b"{")
    while found := _NAME.match(body, at):
        at = _end_of_value(body, found.end())
        if _text_of(found[1]) == name:
            place = found.end(), at
    if place is None:
        raise ValueError(f"the object has no member {name}")
    return place


def _text_of(quoted: bytes) -> str | None:
    """Read a name; `None` if its bytes are no text, so that it is not one we look for."""
    try:
        return str(json.loads(quoted)) if b"\\" in quoted else quoted[1:-1].decode()
    except UnicodeDecodeError:
        return None


def _end_of_value(body: bytes, at: int) -> int:
    found = _VALUE.match(body, at)
    return found.end() if found else _end_of_deep_value(body, at)


def _end_of_deep_value(body: bytes, at: int) -> int:
    """Count brackets, whatever their depth."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(body, at):
        sign = body[token.start()]
        depth += (sign in b"{[") - (sign in b"}]")
        if not depth:
            return token.end()
    raise ValueError("the object is no valid JSON")
