"""Azure's adapter: where it asks, by either kind of paths, and whose limits are whose."""

from collections.abc import AsyncIterator

import pytest
from any_provider import CHAT, RESPONSES, AnyProvider, any_provider

from apikeyrouter import ApiKeyRouter, ConfigurationError, Demand
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.infrastructure.adapters.clouds.azure_adapter import AzureAdapter
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter
from apikeyrouter.infrastructure.adapters.provider_catalogue import custom_adapter, make_adapter

pytestmark = pytest.mark.unit

SECRET = "sk-your-key-1"


@pytest.fixture
async def provider() -> AsyncIterator[AnyProvider]:
    async with any_provider() as running:
        yield running


def _azure(base_url: str, version: str | None = "2024-10-21") -> HttpAdapter:
    return custom_adapter("mine", base_url, kind="azure", api_version=version)


@pytest.mark.parametrize(
    ("path", "model", "query", "asked"),
    [
        (CHAT, "my dep/4", "", "/openai/deployments/my%20dep%2F4/chat/completions?{}"),
        ("v1/embeddings", "e", "", "/openai/deployments/e/embeddings?{}"),
        ("audio/speech", "tts", "a=b", "/openai/deployments/tts/audio/speech?a=b&{}"),
        ("images/generations", "i", "", "/openai/deployments/i/images/generations?{}"),
        (RESPONSES, "m", "", "/openai/responses?{}"),
        ("files", "", "", "/openai/files?{}"),
    ],
)
@pytest.mark.parametrize("below", ["", "/", "/openai", "/openai/", "/openai/v1"])
async def test_older_paths_of_azure_name_deployment_and_version(
    provider: AnyProvider, below: str, path: str, model: str, query: str, asked: str
) -> None:
    adapter = _azure(provider.url + below)
    request = WireRequest(path, b"{}", query=query, model=model)
    answer = await adapter.send(request, SECRET)
    answer.close()
    await adapter.close()
    [(seen, headers, _)] = provider.asked
    assert seen == "POST " + asked.format("api-version=2024-10-21")
    assert headers["api-key"] == SECRET
    assert "authorization" not in headers


async def test_deployment_is_the_model_that_a_key_is_asked_for(provider: AnyProvider) -> None:
    async with ApiKeyRouter() as router:
        await router.register_provider("mine", _azure(provider.url), models=("*",))
        await router.register_key(SECRET, "mine")
        messages = [{"role": "user", "content": "hello"}]
        answer = await router.route({"model": "mine/dep-1", "messages": messages})
        await router.forward(
            Demand(model="mine/dep-2", request_id="r"), lambda _: WireRequest(CHAT, b"{}")
        )
    asked = [asked for asked, _, _ in provider.asked]
    assert answer.content == "hi"
    assert asked == [
        f"POST /openai/deployments/{name}/chat/completions?api-version=2024-10-21"
        for name in ("dep-1", "dep-2")
    ]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com/openai/", "https://r.openai.azure.com/openai/v1"),
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1"),
        ("https://gateway/team/openai/v1", "https://gateway/team/openai/v1"),
    ],
)
def test_address_of_a_resource_may_be_the_resource_alone(given: str, used: str) -> None:
    assert _azure(given, None).base_url == used


def test_both_keys_of_a_resource_are_one_account() -> None:
    adapter = _azure("https://r.openai.azure.com/", None)
    assert isinstance(adapter, AzureAdapter)
    assert adapter.read_account({}) == "r.openai.azure.com"
    assert _azure("https://gateway/openai/v1", None).read_account({}) == ""


def test_only_azure_has_older_paths() -> None:
    with pytest.raises(ConfigurationError, match="'groq': api_version is for providers of kind az"):
        make_adapter("groq", api_version="2024-10-21")
