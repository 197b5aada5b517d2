"""What an address means to the router, whatever the base URL."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.dialects.dialect import BadBodyError
from apikeyrouter.integrations.addresses import target_of

pytestmark = pytest.mark.unit
GEMINI = {b"x-goog-api-key": b"k"}
ANTHROPIC = {b"anthropic-version": b"2023-06-01"}


@pytest.mark.parametrize(
    ("path", "headers", "dialect", "endpoint", "there"),
    [
        ("/v1/chat/completions", {}, "openai", "chat/completions", "chat/completions"),
        ("/openai/v1/chat/completions", {}, "openai", "chat/completions", "chat/completions"),
        ("/api/paas/v4/embeddings", {}, "openai", "embeddings", "embeddings"),
        ("/completions", {}, "openai", "completions", "completions"),
        ("/chat/completions", {}, "openai", "chat/completions", "chat/completions"),
        ("/openai/deployments/m/embeddings", {}, "openai", "embeddings", "embeddings"),
        ("/v1/v1//responses", {}, "openai-responses", "responses", "responses"),
        ("/v1/messages", ANTHROPIC, "anthropic", "messages", "v1/messages"),
        ("/v1/messages/count_tokens", {}, "anthropic", "messages/count_tokens",
         "v1/messages/count_tokens"),
        # Ends like a known one and is another.
        ("/v1/threads/t/messages", {}, "openai", "threads/t/messages", "threads/t/messages"),
        ("/v1/images/generations", {}, "openai", "images/generations", "images/generations"),
        ("/v1/models/m:generateContent", {}, "gemini", "generateContent",
         "v1beta/models/there:generateContent"),
        ("/v1beta/models/m:streamGenerateContent", {}, "gemini", "streamGenerateContent",
         "v1beta/models/there:streamGenerateContent"),
        ("/v1beta/cachedContents", GEMINI, "gemini", "cachedContents", "cachedContents"),
    ],
)  # fmt: skip
def test_path_below_the_version_counts(
    path: str, headers: Any, dialect: str, endpoint: str, there: str
) -> None:
    target = target_of("POST", path, "", headers)
    found = target.dialect.name, target.endpoint, target.path_for("there")
    assert found == (dialect, endpoint, there)


@pytest.mark.parametrize(
    ("verb", "query", "seen", "passed"),
    [
        ("streamGenerateContent", "alt=sse&key=AIza", ("m/x", True, 7), "alt=sse"),
        ("streamGenerateContent", "", ("m/x", True, 7), ""),
        ("generateContent", "key=AIza&%24fields=a", ("m/x", False, 7), "%24fields=a"),
    ],
)
def test_googles_address_names_model_and_stream(
    verb: str, query: str, seen: tuple[str, bool, int], passed: str
) -> None:
    target = target_of("POST", f"/v1beta/models/m%2Fx:{verb}", query, GEMINI)
    peek = target.peek(b'{"generationConfig":{"maxOutputTokens":7}}')
    assert (peek.model, peek.is_stream, peek.output_cap) == seen
    assert target.query == passed


@pytest.mark.parametrize(
    ("path", "headers", "dialect", "model"),
    [
        ("/v1/models", {}, "openai", ""),
        ("/v1/models/org/m", {}, "openai", "org/m"),
        ("/v1/models/m%2Fx", ANTHROPIC, "anthropic", "m/x"),
        ("/v1beta/models/flash", GEMINI, "gemini", "flash"),
    ],
)
def test_models_are_shown_to_who_asks(path: str, headers: Any, dialect: str, model: str) -> None:
    target = target_of("GET", path, "", headers)
    assert (target.lists_models, target.dialect.name, target.model) == (True, dialect, model)


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/v1/chat/completions", b"{}", "model is missing"),
        ("/v1/responses", b'{"previous_response_id":"resp_1"}', "model is missing"),
        ("/v1/files", b"--form", "'files' names no model"),
        ("/v1beta/cachedContents", b"{}", "model is missing"),
        ("/v1beta/models/m:generateContent", b"[", "JSON"),
    ],
)
def test_what_names_no_model_is_no_request(path: str, body: bytes, told: str) -> None:
    target = target_of("POST", path, "", GEMINI if "beta" in path else {})
    with pytest.raises(BadBodyError, match=told):
        target.peek(body)


@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=st.lists(
        st.sampled_from(["/", "v1", "v1beta", "models", "messages", "a:b", ":", "%2F", "%", "é"])
    ).map("".join),
    query=st.text(alphabet="ab=&%key$"),
    headers=st.sampled_from([{}, GEMINI, ANTHROPIC]),
    body=st.sampled_from([b"", b"{}", b'{"model":"m"}', b"\xff", b"[1"]),
)
@settings(max_examples=200, deadline=None)
def test_any_address_means_something(
    method: str, path: str, query: str, headers: Any, body: bytes
) -> None:
    target = target_of(method, path, query, headers)
    assert isinstance(target.path_for("m"), str)
    with suppress(BadBodyError):
        assert target.lists_models or target.peek(body).model
