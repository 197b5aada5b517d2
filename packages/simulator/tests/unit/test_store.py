"""What is kept is bounded and of its scope; bodies of several parts come apart as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter_simulator.dialects.multipart import parts_of
from apikeyrouter_simulator.dialects.store import Kept, Store

pytestmark = pytest.mark.unit

ONE, OTHER = ("p", "one"), ("p", "other")


def kept(name: str, size: int = 0) -> Kept:
    return Kept({"id": name}, bytes(size))


def test_object_is_of_its_scope_and_kind() -> None:
    store = Store()
    store.put(ONE, "file", "a", kept("a"))
    assert store.get(ONE, "file", "a") is not None
    assert store.get(OTHER, "file", "a") is None
    assert store.get(ONE, "batch", "a") is None
    assert store.pop(OTHER, "file", "a") is None


@pytest.mark.parametrize("bound", [{"most": 2}, {"most_bytes": 25}], ids=["objects", "bytes"])
def test_oldest_goes_first(bound) -> None:
    store = Store(**bound)
    for name in "abc":
        store.put(ONE, "file", name, kept(name, 10))
    assert [entry.id for entry in store.all(ONE, "file")] == ["b", "c"]


def test_object_that_is_put_again_counts_once() -> None:
    store = Store(most_bytes=25)
    for _ in range(9):
        store.put(ONE, "file", "a", kept("a", 10))
    store.put(ONE, "file", "b", kept("b", 10))
    store.pop(ONE, "file", "a")
    store.put(ONE, "file", "c", kept("c", 10))
    assert [entry.id for entry in store.all(ONE, "file")] == ["b", "c"]


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_parts_come_apart_as_they_were(contents: list[bytes]) -> None:
    body = b"".join(
        b'--bound-x\r\nContent-Disposition: form-data; name="p%d"; filename="f"\r\n'
        b"Content-Type: a/b\r\n\r\n%b\r\n" % (number, content)
        for number, content in enumerate(contents)
    )
    parts = parts_of(b"multipart/form-data; boundary=bound-x", body + b"--bound-x--\r\n")
    assert contents == [part.content for part in parts or ()]
    assert [f"p{n}" for n in range(len(contents))] == [part.name for part in parts or ()]


@given(st.binary(max_size=200))
def test_any_body_is_taken_apart_or_not(body: bytes) -> None:
    assert parts_of(b"multipart/form-data; boundary=b", body) is not None
    assert parts_of(b"application/json", body) is None
