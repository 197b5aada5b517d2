"""Fields of a form are found where they are, whatever stands in its files."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.service import BadBodyError
from apikeyrouter_proxy.dataplane.objects.forms import places_in, text_at

KIND = b'multipart/form-data; charset=utf-8; boundary="b 0"'


def form(*parts: tuple[bytes, bytes], boundary: bytes = b"b 0") -> bytes:
    head = b'--%s\r\nContent-Type: a/b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return b"".join(head % (boundary, *part) for part in parts) + b"--%s--\r\n" % boundary


def model_in(body: bytes, kind: bytes = KIND) -> str:
    return text_at(body, places_in(body, kind).get("model"))


@pytest.mark.parametrize(
    ("body", "kind", "model"),
    [
        (form((b"model", b"m-1")), KIND, "m-1"),
        (form((b"file", b"\r\n--b 01\r\nx"), (b"model", b"m-1")), KIND, "m-1"),
        (b"before\r\n" + form((b"model", b"m-1")), KIND, "m-1"),
        (form((b"a", b""), (b"model", b""), (b"c", b"")), KIND, ""),
        (form((b"other", b"m-1")), KIND, ""),
        (form((b"model", "ü".encode())), KIND, "ü"),
        (form((b"model", b"m"), boundary=b"xY"), b"multipart/form-data;BOUNDARY=xY; a=b", "m"),
    ],
)
def test_model_is_found(body: bytes, kind: bytes, model: str) -> None:
    assert model_in(body, kind) == model


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", KIND, "does not begin"),
        (form((b"model", b"a"))[:-9], KIND, "ends in the middle"),
        (form((b"model", b"a"), (b"model", b"b")), KIND, "two fields 'model'"),
        (form((b"model", b"\xff")), KIND, "not valid UTF-8"),
        (form((b"model", b"a")), b"multipart/form-data", "names no boundary"),
        (form(*[(b"x", b"")] * 1001), KIND, "more than 1,000 parts"),
    ],
)
def test_what_is_no_form_is_told(body: bytes, kind: bytes, words: str) -> None:
    with pytest.raises(BadBodyError, match=words):
        model_in(body, kind)


@settings(max_examples=200)
@given(st.binary(max_size=300), st.text(max_size=20).filter(lambda t: t == t.strip()))
def test_file_says_nothing_of_the_model(content: bytes, model: str) -> None:
    body = form((b"file", content), (b"model", model.encode()), (b"image[]", content))
    if b"--b 0" not in content:
        assert model_in(body) == model


_PIECES = (
    b"--b 0", b"\r\n", b"--", b'name="model"', b"\r\n\r\n", b"x",
    b"Content-Disposition: form-data; ",
)  # fmt: skip


@settings(max_examples=200)
@given(st.lists(st.sampled_from(_PIECES)), st.binary(max_size=40))
def test_any_bytes_are_a_form_or_told(pieces: list[bytes], kind: bytes) -> None:
    for content_type in (KIND, b"multipart/form-data;" + kind):
        try:
            model_in(b"".join(pieces), content_type)
        except BadBodyError:
            continue
