"""Which tongue answers, and odd requests that no official client makes."""

import gzip
import json
import urllib.error
import urllib.request
import zlib
from typing import Any

import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}
CONTENT = {"contents": [{"parts": [{"text": "Hello!"}]}]}
BEARER = {"Authorization": "Bearer sk-babel"}
ANTHROPIC = {"anthropic-version": "2023-06-01"}


def ask(
    simulator: RunningSimulator, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], Any]:
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{simulator.url}/{path}", data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


@pytest.mark.parametrize(
    ("path", "headers", "key"),
    [
        ("v1/models", BEARER, "object"),
        ("v1/models", BEARER | ANTHROPIC, "has_more"),
        ("v1/models", ANTHROPIC | {"x-api-key": "sk-babel"}, "has_more"),
        ("v1/models", {"x-goog-api-key": "sk-babel"}, "models"),
        ("v1/models?key=sk-babel", {}, "models"),
        ("v1beta/models", BEARER, "models"),
    ],
)
def test_shared_path_is_answered_in_the_tongue_of_its_signs(simulator, path, headers, key) -> None:
    status, _, data = ask(simulator, f"babel/{path}", headers=headers)
    assert (status, key in data) == (200, True)


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("v1/chat/completions", CHAT, BEARER),
        ("v1/messages", CHAT | {"max_tokens": 5}, BEARER | ANTHROPIC),
        ("v1/models/m:generateContent", CONTENT, BEARER),
        ("v1beta/models/m:generateContent?key=sk-babel", CONTENT, {}),
    ],
)
@pytest.mark.parametrize(
    ("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)]
)
def test_packed_bodies_are_read(simulator, path, body, headers, coding, pack) -> None:
    packed = pack(json.dumps(body).encode())
    headers = headers | {"Content-Encoding": coding}
    assert ask(simulator, f"babel/{path}", packed, headers)[0] == 200
    assert simulator.stats()["keys"]["babel/b1"]["accepted"] == 1


@pytest.mark.parametrize(("coding", "status"), [("br", 415), ("gzip", 400), ("deflate", 400)])
@pytest.mark.parametrize(
    "path", ["v1/chat/completions", "v1/messages", "v1beta/models/m:countTokens"]
)
def test_body_that_cannot_be_unpacked_is_refused(simulator, path, coding, status) -> None:
    headers = BEARER | ANTHROPIC | {"Content-Encoding": coding}
    assert ask(simulator, f"babel/{path}", b"plain", headers)[0] == status


@pytest.mark.parametrize("query", ["", "?alt=sse"])
def test_gemini_streams_a_list_or_events(simulator: RunningSimulator, query) -> None:
    request = urllib.request.Request(
        f"{simulator.url}/google/v1beta/models/flash:streamGenerateContent{query}",
        data=json.dumps(CONTENT).encode(),
        headers={"x-goog-api-key": "AQ.wide"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        text, kind = answer.read().decode(), answer.headers["content-type"]
    if query:
        chunks = [json.loads(part[6:]) for part in text.strip().split("\r\n\r\n")]
    else:
        chunks = json.loads(text)
    assert kind == ("text/event-stream" if query else "application/json")
    said = "".join(c["candidates"][0]["content"]["parts"][0]["text"] for c in chunks)
    assert said == "the router finds a key with room and says"


@pytest.mark.parametrize(
    ("headers", "query", "status", "says"),
    [
        ({}, "", 403, "unregistered"),
        ({"x-goog-api-key": "AQ.wide"}, "?key=AQ.wide", 400, "Multiple"),
        ({"x-goog-api-key": "AQ.wide", "Authorization": "Bearer AQ.wide"}, "", 400, "Multiple"),
    ],
)
def test_gemini_wants_exactly_one_credential(simulator, headers, query, status, says) -> None:
    path = f"google/v1beta/models/flash:generateContent{query}"
    got, _, data = ask(simulator, path, CONTENT, headers)
    assert (got, data["error"]["code"]) == (status, status)
    assert says in data["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status", "type_"),
    [
        ({"x-api-key": "sk-ant-wide"}, 400, "invalid_request_error"),
        ({"x-api-key": "sk-ant-wide", "anthropic-version": "1"}, 400, "invalid_request_error"),
        (ANTHROPIC, 401, "authentication_error"),
    ],
)
def test_anthropic_wants_version_and_key(simulator, headers, status, type_) -> None:
    body = CHAT | {"model": "opus", "max_tokens": 5}
    got, told, data = ask(simulator, "claude/v1/messages", body, headers)
    assert (got, data["error"]["type"]) == (status, type_)
    assert told["request-id"] == data["request_id"]


def test_anthropic_refuses_what_is_too_large(simulator: RunningSimulator) -> None:
    body = json.dumps(CHAT).encode() + b" " * (32 * 1024 * 1024)
    headers = ANTHROPIC | {"x-api-key": "sk-ant-wide"}
    status, _, data = ask(simulator, "claude/v1/messages", body, headers)
    assert (status, data["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("path", "headers", "shape"),
    [
        ("acorn/v1/messages", {"Authorization": "Bearer sk-a1"}, {"error"}),
        (
            "claude/v1/chat/completions",
            {"x-api-key": "sk-ant-wide"},
            {"type", "error", "request_id"},
        ),
        ("google/v1beta/nothing", {"x-goog-api-key": "AQ.wide"}, {"error"}),
    ],
)
def test_path_of_a_tongue_that_is_not_spoken_is_404(simulator, path, headers, shape) -> None:
    status, _, data = ask(simulator, path, CHAT, headers)
    assert (status, set(data)) == (404, shape)


ASKED = "do [[call time zone=Europe/Oslo 1]] it"
TIME, PLACE = {"type": "object", "properties": {}}, ("place", "time")
FUNCTIONS = [{"type": "function", "function": {"name": name}} for name in PLACE]
FLAT = [{"type": "function", "name": name, "parameters": TIME} for name in PLACE]


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (
            "v1/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": ASKED}], "tools": FUNCTIONS},
            BEARER,
        ),
        (
            "v1/messages",
            {
                "model": "m", "messages": [{"role": "user", "content": ASKED}], "max_tokens": 50,
                "tools": [{"name": name, "input_schema": TIME} for name in PLACE],
            },
            BEARER | ANTHROPIC,
        ),
        (
            "v1/responses",
            {"model": "small", "input": ASKED, "tools": FLAT},
            {"Authorization": "Bearer sk-a1"},
        ),
        (
            "v1beta/models/m:generateContent",
            {
                "contents": [{"parts": [{"text": ASKED}]}],
                "tools": [{"functionDeclarations": [{"name": name} for name in PLACE]}],
            },
            BEARER,
        ),
    ],
    ids=["chat", "messages", "responses", "generateContent"],
)  # fmt: skip
def test_mark_calls_the_tool_that_it_names(simulator, path, body, headers) -> None:
    provider = "acorn" if path == "v1/responses" else "babel"
    status, _, data = ask(simulator, f"{provider}/{path}", body, headers)
    # A response repeats the tools that it was offered.
    data.pop("tools", None)
    text = json.dumps(data).replace("\\", "").replace(" ", "")
    assert (status, '"time"' in text, '{"zone":"Europe/Oslo1"}' in text) == (200, True, True)
    assert '"place"' not in text


@pytest.mark.parametrize("more", [{"tools": [None]}, {"tools": ["x"]}, {"system": [3]}])
def test_message_with_odd_tools_or_system_is_refused(simulator, more) -> None:
    body = CHAT | {"max_tokens": 5} | more
    status, _, data = ask(simulator, "babel/v1/messages", body, BEARER | ANTHROPIC)
    assert (status, data["error"]["type"]) == (400, "invalid_request_error")
