"""Bodies that are made to keep a translation busy: very many parts, very deep ones."""

import time
from typing import Any

import msgspec
import pytest

from apikeyrouter.dialects.catalogue import DIALECTS
from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.dialects.translation import Translations
from apikeyrouter.domain.interfaces.wire import WireRequest

MANY, DEEP = 60_000, 900
#: CPU time; some 3 s are usual, and minutes where each part looks at all that were before it.
PATIENCE_S = 8.0
TURN = {"role": "user", "content": "x"}


def translate(endpoint: str, provider: str, body: Any) -> None:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    Translations(lenient=True).translate(
        WireRequest(endpoint, data, endpoint=endpoint), DIALECTS[provider], model="m", stream=False
    )


def calls_of(name: str) -> list[Any]:
    names = [name.replace("*", str(number)) for number in range(MANY)]
    calls = [{"functionCall": {"name": name, "args": {}}} for name in names]
    results = [{"functionResponse": {"name": name, "response": {}}} for name in reversed(names)]
    return [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]


@pytest.mark.parametrize(
    ("endpoint", "provider", "body"),
    [
        ("generateContent", "openai", {"contents": calls_of("f")}),
        ("generateContent", "openai", {"contents": calls_of("f*")}),
        ("generateContent", "openai", {"contents": [{"parts": [{"text": "x"}]}] * 2 * MANY}),
        (
            "generateContent", "openai",
            {"contents": [{"role": "model", "parts": [{"text": "x*", "thought": True}]}] * MANY},
        ),
        ("chat/completions", "gemini", {"messages": [TURN] * 2 * MANY}),
        ("responses", "gemini", {"input": [TURN] * 2 * MANY}),
    ],
    ids=["same-calls", "other-calls", "contents", "thoughts", "turns", "items"],
)  # fmt: skip
def test_many_parts_take_time_in_proportion(endpoint: str, provider: str, body: Any) -> None:
    began = time.process_time()
    translate(endpoint, provider, {"model": "m", **body})
    assert time.process_time() - began < PATIENCE_S


@pytest.mark.parametrize("provider", ["openai", "openai-responses", "anthropic"])
@pytest.mark.parametrize(
    ("begin", "end"),
    [(b'{"properties":{"a":', b"}}"), (b'{"anyOf":[', b"]}"), (b'{"items":', b"}")],
)
def test_what_nests_too_deeply_is_refused(begin: bytes, end: bytes, provider: str) -> None:
    schema = begin * DEEP + b"{}" + end * DEEP
    function = b'{"name":"f","parameters":%s}' % schema
    body = b'{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[%s]}]}'
    with pytest.raises(BadBodyError, match=r"nest|recursion|not valid JSON"):
        translate("generateContent", provider, body % function)
