"""A look at a body, and splices that leave every other byte alone."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.dialects.catalogue import OPENAI_CHAT
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.openai_chat.peek import peek, wants_usage_spliced, with_usage

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("body", "cap"),
    [
        (b'{"model":"m"}', None),
        (b'{"model":"m","max_tokens":5}', 5),
        (b'{"model":"m","max_tokens":5,"max_completion_tokens":7}', 7),
        (b'{"model":"m","max_tokens":5,"n":3}', 15),
        (b'{"model":"m","max_tokens":null}', None),
        (b'{"model":"m","max_tokens":1' + b"0" * 400 + b"}", 10**12),
        (b'{"model":"m","max_tokens":1' + b"0" * 300 + b',"n":1' + b"0" * 300 + b"}", 10**12),
        (b'{"model":"m","max_tokens":1' + b"0" * 5000 + b"}", 10**12),
        (b'{"model":"m","max_tokens":1e999}', 10**12),
        (b'{"model":"m","max_tokens":1e3}', 1000),
        (b'{"model":"m","max_tokens":"100"}', 100),
        (b'{"model":"m","max_tokens":"many"}', None),
        (b'{"model":"m","max_tokens":[5]}', None),
        (b'{"model":"m","max_tokens":-5}', None),
        (b'{"model":"m","max_tokens":0.5}', None),
        (b'{"model":"m","max_tokens":true,"n":{}}', None),
        (b'{"model":"m","max_tokens":1' + b"0" * 5000 + b',"x":"\\ud800"}', 10**12),
        (b'{"model":"m","max_tokens":5,"n":2,"x":"\\ud800"}', 10),
    ],
)
def test_output_cap_is_the_callers_over_all_choices(body: bytes, cap: int | None) -> None:
    assert peek(body).output_cap == cap


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        (b"", None, "not valid JSON"),
        (b"{", None, "not valid JSON"),
        (b"[]", None, "JSON object"),
        (b'"x"', None, "JSON object"),
        (b"{}", "model", "missing"),
        (b'{"model":""}', "model", "empty"),
        (b'{"model":1}', "model", "expected `str`"),
        (b'{"model":"m","x":' + b"[" * 5000 + b"]" * 5000 + b"}", None, "nests too deeply"),
        (b'{"x":"\\ud800","model":"m","y":' + b"[" * 5000 + b"]" * 5000 + b"}", None, "deeply"),
        (b'{"model":"m","x":"\\ud800}', None, "not valid JSON"),
        (b'{"model":"m","x":"\\ud800","y":NaN}', None, "not valid JSON"),
        (b'{"model":"m","x":"\\ud800\xff"}', None, "not valid JSON"),
        (b'["\\ud800"]', None, "JSON object"),
        (b'{"x":"\\ud800"}', "model", "missing"),
        (b'{"x":"\\ud800","model":5}', "model", "expected `str`"),
        (b'{"model":"\\ud800"}', "model", "model: should be valid Unicode"),
    ],
)
def test_mistakes_name_the_field(body: bytes, param: str | None, told: str) -> None:
    with pytest.raises(BadBodyError, match=told) as caught:
        peek(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "text", [b"\\ud800", b"\\udc00", b"\\uDBFF\\u0041", b"\\ud83d\\ude00 \\ud83d"]
)
def test_half_a_surrogate_pair_is_no_mistake(text: bytes) -> None:
    seen = peek(b'{"model":"m","stream":true,"max_tokens":5,"%s":["%s"]}' % (text, text))
    assert (seen.model, seen.is_stream, seen.output_cap) == ("m", True, 5)


@pytest.mark.parametrize(
    ("written", "is_stream"),
    [(b"true", True), (b'"true"', True), (b'"True"', True), (b"false", False), (b"null", False),
     (b'"yes"', False), (b"1", False), (b"{}", False)],
)  # fmt: skip
def test_only_what_means_true_asks_for_a_stream(written: bytes, is_stream: bool) -> None:
    assert peek(b'{"model":"m","stream":%s}' % written).is_stream is is_stream


@pytest.mark.parametrize(
    ("body", "spliced"),
    [
        (b'{"model":"a","x":1.0}', b'{"model":"b","x":1.0}'),
        (b'{ "x" : "\\"model\\":\\"a\\"",\n"model"\t: "a" }', None),
        (b'{"tool":{"model":"a"},"model":"a"}', b'{"tool":{"model":"a"},"model":"b"}'),
        (b'{"model":"old","model":"a"}', b'{"model":"old","model":"b"}'),
        (b'{ "mod\\u0065l" : "a" , "x":1.0}', b'{ "mod\\u0065l" : "b" , "x":1.0}'),
        (b'{"x":{"model":"a"},"model":"a","y":"\\ud800"}', None),
        (b'{"y":' + b"[" * 5000 + b"]" * 5000 + b',"model" : "a"}', None),
    ],
    ids=["plain", "in a text", "nested", "twice", "escaped", "half a pair", "deep"],
)
def test_only_the_model_changes(body: bytes, spliced: bytes | None) -> None:
    if spliced is None:
        spliced = body[: body.rindex(b'"a"')] + b'"b"' + body[body.rindex(b'"a"') + 3 :]
    assert OPENAI_CHAT.with_model(body, "b") == spliced


@pytest.mark.parametrize(
    ("body", "wanted", "options"),
    [
        (b'{"model":"m","stream":true}', True, {"include_usage": True}),
        (b' {"stream":true,"model":"m","stream_options":{}}', True, {"include_usage": True}),
        (
            b'{"stream_options": {"x":1},"model":"m","stream":true}',
            True,
            {"include_usage": True, "x": 1},
        ),
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":false}}', False, None),
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}', False, None),
        (b'{"model":"m","stream":true,"stream_options":null}', True, {"include_usage": True}),
        (b'{"model":"m","stream":true,"stream_options":"x"}', False, None),
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":null}}', False, None),
        (
            b'{"model":"m","stream":true,"x":{"stream_options":{"include_usage":true}}}',
            True,
            {"include_usage": True},
        ),
        (b'{"model":"m","stream":"true"}', False, None),
        (b'{"model":"m"}', False, None),
    ],
)
def test_usage_is_asked_for_where_nothing_is_said(
    body: bytes, wanted: bool, options: dict[str, object] | None
) -> None:
    assert wants_usage_spliced(peek(body)) is wanted
    if wanted:
        before = json.loads(body)
        after = json.loads(with_usage(body, peek(body)))
        assert after.pop("stream_options") == options
        before.pop("stream_options", None)
        assert after == before


DEEP = b"[" * 500 + b"]" * 500


@pytest.mark.parametrize(
    ("body", "spliced"),
    [
        (
            b'{"model":"m","x":"\\ud800","stream":true}',
            b'{"stream_options":{"include_usage":true},"model":"m","x":"\\ud800","stream":true}',
        ),
        (
            b'{"model":"m","x":{"stream_options":{}},"stream_options": {},"y":"\\ud800"}',
            b'{"model":"m","x":{"stream_options":{}},'
            b'"stream_options": {"include_usage":true},"y":"\\ud800"}',
        ),
        (
            b'{"model":"m","stream_options":{"z":%s}}' % DEEP,
            b'{"model":"m","stream_options":{"include_usage":true,"z":%s}}' % DEEP,
        ),
    ],
    ids=["half a pair", "nested", "deep"],
)
def test_usage_is_asked_for_where_the_decoder_gives_up(body: bytes, spliced: bytes) -> None:
    assert with_usage(body, peek(body)) == spliced


_HALVES = st.characters(categories=["Cs"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters() | _HALVES),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("model"), inner),
    max_leaves=12,
)


@given(extra=st.dictionaries(st.text(), _JSON), first=st.booleans(), name=st.text(min_size=1))
def test_any_body_keeps_all_but_its_model(extra: dict[str, object], first: bool, name: str) -> None:
    extra = {k: v for k, v in extra.items() if k not in _READ}
    whole = {"model": "a", **extra} if first else {**extra, "model": "a"}
    for escaped in (False, True):
        text = json.dumps(whole, ensure_ascii=escaped)
        body = text.encode(errors="surrogatepass")
        if escaped or text.isprintable():
            assert json.loads(OPENAI_CHAT.with_model(body, name)) == {**whole, "model": name}


_READ = {"model", "stream", "max_tokens", "max_completion_tokens", "n", "stream_options"}
