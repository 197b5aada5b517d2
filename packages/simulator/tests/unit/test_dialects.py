"""Tongues, asked without a socket: odd requests are refused in their manner and never break."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter_simulator import Scenario, ScenarioError, create_app
from apikeyrouter_simulator.dialects.gemini import errors
from apikeyrouter_simulator.library import find
from apikeyrouter_simulator.quotas.limits import Shortfall
from apikeyrouter_simulator.scenario import ReplyFacts

pytestmark = pytest.mark.unit

PATHS = [
    "v1/chat/completions", "v1/embeddings", "v1/responses", "v1/responses/compact",
    "v1/responses/input_tokens", "v1/messages", "v1/messages/count_tokens",
    "v1/messages/batches", "v1/conversations", "v1/vector_stores", "v1/uploads", "v1/batches",
    "v1/moderations", "v1/images/generations", "v1beta/models/m:generateContent",
    "v1beta/models/m:streamGenerateContent", "v1beta/models/m:countTokens",
    "v1beta/models/m:batchEmbedContents", "upload/v1beta/files",
]  # fmt: skip
NAMES = st.sampled_from(
    [
        "model", "messages", "max_tokens", "input", "role", "content", "type", "text", "tools",
        "name", "contents", "parts", "functionCall", "function_response", "items", "metadata",
        "tool_use_id", "cache_control", "call_id", "system", "requests", "params", "file_ids",
        "stream", "thinking", "generationConfig", "tool_choice", "prompt", "encrypted_content",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    ["m", "user", "assistant", "text", "tool_use", "tool_result", "function_call_output", "", "x"]
)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=20,
)
REQUESTS = st.builds(
    lambda more: {
        "model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}],
        "contents": [{"parts": [{"text": "x"}]}], "input": "x", **more,
    },
    st.dictionaries(NAMES, JSONS, max_size=4),
)  # fmt: skip
ALL = {
    "providers": {
        "p": {
            "speaks": ["openai", "responses", "anthropic", "gemini"],
            "keys": {"k": {"scope": "s"}},
            "scopes": {"s": {}},
        }
    }
}


def ask(app: Any, path: str, body: bytes, key: str = "k") -> tuple[int, dict[str, str], bytes]:
    """Ask the application itself."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [
        (b"authorization", f"Bearer {key}".encode()), (b"anthropic-version", b"2023-06-01"),
    ]  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": f"/{path}", "headers": headers}
    asyncio.run(app(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:])


def at_once(name: str) -> Scenario:
    """Return a scenario of the package, with answers that are made at once."""
    scenario = find(name)
    scenario.providers["lab"].reply = ReplyFacts(tokens=30)
    return scenario


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=30) | (JSONS | REQUESTS).map(lambda data: json.dumps(data).encode()))
def test_any_body_is_answered_or_refused(path: str, body: bytes) -> None:
    app = create_app(Scenario.from_dict(ALL), lambda: 1000.0)
    status, _, answer = ask(app, path, body)
    assert status in (200, 400, 404)
    if status != 200:
        assert json.loads(answer)["error"]["message"]


@pytest.mark.parametrize(
    ("speaks", "says"), [([], "at least one"), (["latin"], "latin")], ids=["none", "unknown"]
)
def test_wrong_tongue_is_told(speaks: list[str], says: str) -> None:
    provider = {**ALL["providers"]["p"], "speaks": speaks}
    with pytest.raises(ScenarioError, match=says):
        Scenario.from_dict({"providers": {"p": provider}})


@pytest.mark.parametrize(
    ("wait_s", "delay", "spoken"),
    [
        (0.0341, "0.035s", "0.035s"),
        (34.07, "34.07s", "34.07s"),
        (59.9999, "60s", "1m0s"),
        (37025.72, "37026s", "10h17m6s"),
    ],
)
def test_quota_tells_its_wait_twice(wait_s: float, delay: str, spoken: str) -> None:
    said = errors.over_quota(Shortfall("rpd", 5, 5, 1, wait_s), "m", "full")["error"]
    assert said["details"][1]["retryDelay"] == delay
    assert f"retry in {spoken}." in said["message"]


def test_anthropic_headers_tell_input_and_output_apart() -> None:
    app = create_app(at_once("anthropic-headers"), lambda: 1000.0)
    messages = [{"role": "user", "content": "x" * 8000}]
    body = json.dumps({"model": "m", "max_tokens": 50, "messages": messages}).encode()
    _, headers, _ = ask(app, "v1/messages", body, "sk-sim-f")
    assert headers["anthropic-ratelimit-requests-remaining"] == "89"
    assert headers["anthropic-ratelimit-input-tokens-remaining"] == "28000"
    assert headers["anthropic-ratelimit-output-tokens-limit"] == "8000"
    assert headers["anthropic-ratelimit-input-tokens-reset"] == "1970-01-01T00:16:45Z"


def test_gemini_quota_names_the_minute_and_then_the_day() -> None:
    now = [86_400.0]
    app = create_app(at_once("gemini-quota"), lambda: now[0])
    body = json.dumps({"contents": [{"parts": [{"text": "x"}]}]}).encode()
    named = []
    for _ in range(3):
        for _ in range(91):
            status, _, answer = ask(app, "v1beta/models/m:generateContent", body, "sk-sim-f")
            if status == 429:
                details = json.loads(answer)["error"]["details"]
                named.append(details[0]["violations"][0]["quotaId"].partition("Per")[2][:3])
                break
        now[0] += 60
    assert named == ["Min", "Min", "Day"]
