"""Where a member's value stands is found in one pass, whatever else the body holds."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.dialects.json_members import place_of, spliced, with_member

pytestmark = pytest.mark.unit

DEEP = b"[" * 5000 + b"]" * 5000


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"model":"a"}', b'"a"'),
        (b' {\n"x" : [ {"model":1} ] , "model"\t:\r\n"a" , "y":2} ', b'"a"'),
        (b'{"model":"old","model":"a"}', b'"a"'),
        (b'{"mod\\u0065l":"a","x":{"model":"b"}}', b'"a"'),
        (b'{"model":"old","mod\\u0065l":"a"}', b'"a"'),
        (b'{"x":"\\"model\\":\\"b\\"","model":"a"}', b'"a"'),
        (b'{"x\\"model":"b","model":"a"}', b'"a"'),
        (b'{"x":"model","mod\\u0065l":"a"}', b'"a"'),
        (b'{"x\\\\":"model","model":{"y":[1,"}"]}}', b'{"y":[1,"}"]}'),
        (b'{"x":%s,"model":-1.5e3,"y":{"model":2}}' % DEEP, b"-1.5e3"),
        (b'{"model":true,"y":{"model":%s}}' % DEEP, b"true"),
        (b'{"\xc3\xa9":1,"\\ud800":2,"model":null,"z":{"model":2}}', b"null"),
        (b'{"\xff":{"model":2},"model":null}', b"null"),
    ],
)
def test_value_of_the_outermost_member_is_found(body: bytes, value: bytes) -> None:
    start, end = place_of(body, "model")
    assert body[start:end] == value


def test_a_name_that_is_missing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no member model"):
        place_of(b'{"x":{"model":1}, "model2":{"model":1}}', "model")


@pytest.mark.parametrize(
    "body",
    [
        b'{"x":[%s1],"model":"a"}' % (b'{"model":"a"},' * 22_000),
        b'{"x":%s1%s,"model":"a"}' % (b'{"model":' * 31_000, b"}" * 31_000),
        b'{%s"model":"a"}' % (b'"model":"b",' * 26_000),
        b'{"x":[%s1],"model":"a"}' % ((b"[" * 40 + b"]" * 40 + b",") * 3_800),
        b'{"x":"%s","model":"a","y":{"model":1}}' % (b'\\"model\\":' * 30_000),
        b'{"x"%s:[],"model":"a","y":{"model":1}}' % (b" " * 300_000),
    ],
    ids=["siblings", "nested", "repeated", "brackets", "quoted", "blanks"],
)
def test_300_kb_that_repeat_the_name_take_no_longer_than_reading_them(body: bytes) -> None:
    began = time.process_time()
    start, end = place_of(body, "model")
    assert body[start:end] == b'"a"'
    assert time.process_time() - began < 0.5


_NAMES = st.sampled_from(["model", "mode", "model\\", '"model', 'x":{"model', "é", "\ud800"])
_TEXTS = st.text(st.characters(categories=["L", "Cs", "P", "S", "Z"])) | _NAMES
_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.lists(st.tuples(_NAMES | _TEXTS, inner)),
    max_leaves=20,
)


def _written(value: Any, draw: Any) -> str:
    """Write JSON with blanks, repeated names and letters escaped at will."""
    blank = draw(st.sampled_from(["", " ", "\n\t "]))
    if isinstance(value, list) and value and isinstance(value[0], tuple):
        members = (f"{_quoted(name, draw)}{blank}:{_written(v, draw)}" for name, v in value)
        return f"{{{blank}{','.join(members)}}}{blank}"
    if isinstance(value, list):
        return f"[{blank}{','.join(_written(item, draw) for item in value)}]{blank}"
    return _quoted(value, draw) if isinstance(value, str) else json.dumps(value) + blank


def _quoted(text: str, draw: Any) -> str:
    if draw(st.booleans()):
        return '"' + "".join(f"\\u{ord(c):04x}" for c in text if ord(c) < 0x10000) + '"'
    return json.dumps(text)


@given(
    members=st.lists(st.tuples(_NAMES | _TEXTS, _VALUES)),
    at=st.integers(0, 10),
    data=st.data(),
)
def test_splice_changes_what_json_reads_as_the_model_and_nothing_else(
    members: list[tuple[str, Any]], at: int, data: Any
) -> None:
    members.insert(at, ("model", "a"))
    body = _written(members, data.draw).encode()
    start, end = place_of(body, "model")
    before, after = json.loads(body), json.loads(spliced(body, start, end, b'["new"]'))
    assert json.loads(body[start:end]) == before["model"]
    assert after == {**before, "model": ["new"]}


def test_a_name_that_stays_the_same_changes_nothing() -> None:
    body = b'{"x":{"model":"b"},"model":"a","y":{"model":"a"}}'
    assert with_member(body, "model", "a") == body
