"""Every row of the catalogue against a real server: where it asks, with which credential."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from any_provider import CHAT, CONTENT, RESPONSES, AnyProvider, any_provider

from apikeyrouter import ApiKeyRouter, ConfigurationError, Demand
from apikeyrouter.dialects.catalogue import DIALECTS
from apikeyrouter.domain.interfaces.provider_adapter import Serving
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.infrastructure.adapters.provider_catalogue import CATALOGUE, make_adapter

pytestmark = pytest.mark.unit

SECRET = "sk-your-key-1"
CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
#: What clients ask for, by dialect; paths as the front doors pass them on.
PATHS = {
    "openai": "chat/completions", "openai-responses": "responses", "anthropic": "v1/messages",
    "gemini": "v1beta/models/m:generateContent",
}  # fmt: skip
#: Row -> dialect -> path at the provider, as its documents have it.
WHERE: dict[str, dict[str, str]] = {
    "openai": {"openai": f"/v1/{CHAT}", "openai-responses": f"/v1/{RESPONSES}"},
    "anthropic": {"anthropic": "/v1/messages", "openai": f"/v1/{CHAT}"},
    "gemini": {"gemini": f"/v1beta/models/m:{CONTENT}", "openai": f"/v1beta/openai/{CHAT}"},
    "mistral": {"openai": f"/v1/{CHAT}"},
    "deepseek": {"openai": f"/v1/{CHAT}", "anthropic": "/anthropic/v1/messages"},
    "xai": {"openai": f"/v1/{CHAT}", "openai-responses": f"/v1/{RESPONSES}"},
    "perplexity": {"openai-responses": f"/v1/{RESPONSES}"},
    "cohere": {"openai": f"/compatibility/v1/{CHAT}"},
    "moonshot": {
        "openai": f"/v1/{CHAT}", "openai-responses": f"/v1/{RESPONSES}",
        "anthropic": "/anthropic/v1/messages",
    },
    "zai": {"openai": f"/api/paas/v4/{CHAT}", "anthropic": "/api/anthropic/v1/messages"},
    "qwen": {
        "openai": f"/compatible-mode/v1/{CHAT}",
        "openai-responses": f"/compatible-mode/v1/{RESPONSES}",
        "anthropic": "/apps/anthropic/v1/messages",
    },
    "minimax": {
        "openai": f"/v1/{CHAT}", "openai-responses": f"/v1/{RESPONSES}",
        "anthropic": "/anthropic/v1/messages",
    },
    "groq": {"openai": f"/openai/v1/{CHAT}", "openai-responses": f"/openai/v1/{RESPONSES}"},
    "together": {"openai": f"/v1/{CHAT}"},
    "fireworks": {
        "openai": f"/inference/v1/{CHAT}", "openai-responses": f"/inference/v1/{RESPONSES}",
        "anthropic": "/inference/v1/messages",
    },
    "cerebras": {"openai": f"/v1/{CHAT}"},
    "nebius": {"openai": f"/v1/{CHAT}"},
    "sambanova": {"openai": f"/v1/{CHAT}"},
    "nvidia": {"openai": f"/v1/{CHAT}"},
    "openrouter": {
        "openai": f"/api/v1/{CHAT}", "openai-responses": f"/api/v1/{RESPONSES}",
        "anthropic": "/api/v1/messages",
    },
    "huggingface": {"openai": f"/v1/{CHAT}", "openai-responses": f"/v1/{RESPONSES}"},
    "github-models": {"openai": f"/inference/{CHAT}"},
    "vercel": {
        "openai": f"/v1/{CHAT}", "openai-responses": f"/v1/{RESPONSES}",
        "anthropic": "/v1/messages",
    },
    "azure": {
        "openai": f"/openai/v1/{CHAT}", "openai-responses": f"/openai/v1/{RESPONSES}",
        "anthropic": "/anthropic/v1/messages",
    },
    "bedrock": {"openai": f"/openai/v1/{CHAT}", "openai-responses": f"/openai/v1/{RESPONSES}"},
    "bedrock-mantle": {
        "openai": f"/v1/{CHAT}", "openai-responses": f"/v1/{RESPONSES}",
        "anthropic": "/anthropic/v1/messages",
    },
    "vertex": {
        "openai": f"/v1/projects/mine/locations/mine/endpoints/openapi/{CHAT}",
        "gemini": f"/v1/projects/mine/locations/mine/publishers/google/models/m:{CONTENT}",
    },
    # Whose bodies are others, so that it has tests of its own.
    "vertex-anthropic": {"anthropic": ""},
    **{
        name: {
            "openai": f"/v1/{CHAT}", "openai-responses": f"/v1/{RESPONSES}",
            "anthropic": "/v1/messages",
        }
        for name in ("ollama", "vllm", "lm-studio")
    },
    "llama-cpp": {"openai": f"/v1/{CHAT}", "anthropic": "/v1/messages"},
}  # fmt: skip
#: Row -> dialect -> the header that carries the key, where it is not a Bearer token.
HEADERS = {
    ("anthropic", "anthropic"): "x-api-key",
    ("gemini", "gemini"): "x-goog-api-key",
    ("azure", "openai"): "api-key",
    ("azure", "openai-responses"): "api-key",
    ("azure", "anthropic"): "x-api-key",
}
#: Row -> the call that proves a key; rows that are not named have none.
PROBES = {
    "openai": "GET /v1/models", "anthropic": "GET /v1/models?limit=1",
    "gemini": "GET /v1beta/models?pageSize=1",
    "mistral": "GET /v1/models", "deepseek": "GET /v1/models", "xai": "GET /v1/api-key",
    "cohere": "POST /v1/check-api-key", "moonshot": "GET /v1/models",
    "qwen": "GET /compatible-mode/v1/models", "minimax": "GET /v1/models",
    "groq": "GET /openai/v1/models", "together": "GET /v1/models",
    "fireworks": "GET /inference/v1/models", "cerebras": "GET /v1/models",
    "nebius": "GET /v1/models", "openrouter": "GET /api/v1/key", "vercel": "GET /v1/credits",
    "azure": "GET /openai/v1/models", "bedrock-mantle": "GET /v1/models",
    "vllm": "GET /v1/models", "lm-studio": "GET /v1/models",
}  # fmt: skip
ROUTES = [
    (name, dialect) for name, places in WHERE.items() for dialect, where in places.items() if where
]


@pytest.fixture
async def provider() -> AsyncIterator[AnyProvider]:
    async with any_provider() as running:
        yield running


def _place_of(name: str, provider: AnyProvider) -> str:
    """Return the row's base URL at another host, with what the operator has to fill in."""
    base_url = CATALOGUE[name].base_url
    for part in ("resource", "region", "project", "location", "host"):
        base_url = base_url.replace(f"{{{part}}}", "mine")
    return provider.url + urlsplit(base_url).path


def _credentials_in(headers: dict[str, str]) -> Iterator[str]:
    return (f"{name}: {headers[name]}" for name in CREDENTIALS if name in headers)


def test_every_row_is_here() -> None:
    assert set(WHERE) == set(CATALOGUE)
    assert set(PROBES) <= set(CATALOGUE)


@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("name", "dialect"), ROUTES)
async def test_dialect_is_spoken_as_it_is_where_the_provider_has_it(
    provider: AnyProvider, name: str, dialect: str, is_stream: bool
) -> None:
    row, path = CATALOGUE[name], PATHS[dialect]
    # What a row does not list, but has a place for, is spoken when its operator says so.
    wanted = None if dialect in row.dialects else (dialect,)
    adapter = make_adapter(name, base_url=_place_of(name, provider), dialects=wanted)
    body = json.dumps({"model": "m", "stream": is_stream, "unknown": 1}).encode()
    endpoint = DIALECTS[dialect].endpoint
    assert adapter.serving(endpoint) is Serving.NATIVE

    async with ApiKeyRouter() as router:
        await router.register_provider(name, adapter, models=("m",))
        await router.register_key(SECRET, name)
        answer = await router.forward(
            Demand(model="m", request_id="r", endpoint=endpoint, stream=is_stream),
            lambda _: WireRequest(path, body, {"x-own": "1"}, endpoint=endpoint),
        )
        said = b"".join([chunk async for chunk in answer.stream]) if answer.stream else answer.body

    assert (answer.status, answer.failure, answer.translation) == (200, None, None)
    assert b"hi" in said or dialect == "openai-responses"
    [(asked, headers, sent)] = provider.asked
    assert (asked, sent) == (f"POST {WHERE[name][dialect]}", body)
    header = HEADERS.get((name, dialect))
    told = f"{header}: {SECRET}" if header else f"authorization: Bearer {SECRET}"
    assert [told] == list(_credentials_in(headers))
    assert headers["x-own"] == "1"


@pytest.mark.parametrize("name", CATALOGUE)
def test_row_speaks_what_it_lists_and_what_it_has_a_place_for(name: str) -> None:
    row = CATALOGUE[name]
    assert {*row.dialects, *row.layout.surfaces} == set(WHERE[name])


@pytest.mark.parametrize("name", [n for n, row in CATALOGUE.items() if "anthropic" in row.dialects])
def test_messages_are_most_of_what_others_have_of_anthropics(name: str) -> None:
    adapter = make_adapter(name, base_url="http://10.0.0.1/v1")
    asked = ("messages", "messages/count_tokens", "messages/batches")
    had = [endpoint for endpoint in asked if adapter.serving(endpoint) is Serving.NATIVE]
    counting = ("vllm", "llama-cpp", "vertex-anthropic")
    most = 3 if name == "anthropic" else 2 if name in counting else 1
    assert had == list(asked[:most])


@pytest.mark.parametrize("name", CATALOGUE)
async def test_probe_is_the_rows_and_proves_the_key(provider: AnyProvider, name: str) -> None:
    adapter = make_adapter(name, base_url=_place_of(name, provider))
    accepted = await adapter.probe(SECRET)
    provider.told = (401, {"error": {"message": "no", "code": "invalid_api_key"}})
    refused = await adapter.probe(SECRET)
    provider.told = (403, {"error": {"message": "You have insufficient permissions"}})
    unsure = await adapter.probe(SECRET)
    await adapter.close()
    if name not in PROBES:
        assert (accepted, refused, unsure, provider.asked) == (None, None, None, [])
        return
    assert (accepted, refused, unsure) == (True, False, None)
    assert {PROBES[name]} == {asked for asked, _, _ in provider.asked}
    assert all(len(list(_credentials_in(headers))) == 1 for _, headers, _ in provider.asked)


@pytest.mark.parametrize(
    ("name", "told", "accepted"),
    [
        ("xai", {"api_key_blocked": False, "team_blocked": False}, True),
        ("xai", {"api_key_blocked": True}, False),
        ("xai", {"api_key_disabled": True}, False),
        ("cohere", {"valid": True}, True),
        ("cohere", {"valid": False}, False),
        ("cohere", {"valid": 0}, True),
    ],
)
async def test_answer_that_is_fine_may_deny_a_key(
    provider: AnyProvider, name: str, told: dict[str, Any], accepted: bool
) -> None:
    provider.told = (200, told)
    adapter = make_adapter(name, base_url=_place_of(name, provider))
    assert accepted is await adapter.probe(SECRET)
    await adapter.close()


@pytest.mark.parametrize("name", ["huggingface", "github-models"])
def test_key_for_another_address_is_not_shown_to_the_usual_host(name: str) -> None:
    assert make_adapter(name).layout.probe is not None
    assert make_adapter(name, base_url="http://10.0.0.1/v1").layout.probe is None


async def test_probe_may_be_at_a_host_of_its_own(provider: AnyProvider) -> None:
    adapter = make_adapter("openai", base_url="http://10.255.255.1/v1")
    assert adapter.layout.probe is not None
    probe = replace(adapter.layout.probe, path=f"{provider.url}/whoami")
    adapter.layout = replace(adapter.layout, probe=probe)
    assert await adapter.probe(SECRET) is True
    [(asked, headers, _)] = provider.asked
    assert (asked, headers["authorization"]) == ("GET /whoami", f"Bearer {SECRET}")
    await adapter.close()


async def test_models_are_listed_where_the_row_says(provider: AnyProvider) -> None:
    provider.told = (200, {"data": [{"id": "a"}]})
    listed = {}
    for name in ("groq", "github-models", "azure", "perplexity"):
        adapter = make_adapter(name, base_url=_place_of(name, provider))
        listed[name] = await adapter.list_models(SECRET)
        await adapter.close()
    assert listed == {"groq": ("a",), "github-models": ("a",), "azure": (), "perplexity": ()}
    asked = ["GET /openai/v1/models", "GET /catalog/models"]
    assert asked == [asked for asked, _, _ in provider.asked]


@pytest.mark.parametrize("name", [n for n, row in CATALOGUE.items() if row.needs_address])
def test_row_of_an_unknown_address_says_what_it_should_look_like(name: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make_adapter(name)
    assert f"provider '{name}': base_url is missing: it should be like http" in str(raised.value)
    assert CATALOGUE[name].base_url in str(raised.value)
