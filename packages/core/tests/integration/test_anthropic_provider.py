"""The library's own requests served by a simulated Anthropic."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Message, RequestIntent, SystemError
from apikeyrouter.domain.models.system_error import ErrorCategory
from apikeyrouter.infrastructure.adapters.anthropic_adapter import AnthropicAdapter
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
MODELS = ("claude-opus-4-1", "claude-opus-4-5", "claude-sonnet-5")
SCENARIO: Any = {
    "providers": {
        "claude": {
            "speaks": ["anthropic"],
            "models": list(MODELS),
            "reply": {"tokens": 9},
            "scopes": {"one": {"limits": {"rpm": 600, "itpm": 200000, "otpm": 80000}}},
            "keys": {"c1": {"secret": "sk-ant-1", "scope": "one"}},
        }
    }
}
INTENT = RequestIntent(
    model="claude-sonnet-5",
    messages=[Message(role="system", content="Be brief."), Message(role="user", content="Hello!")],
)


@pytest.fixture(scope="module")
def claude() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
async def router(claude: RunningSimulator) -> AsyncIterator[ApiKeyRouter]:
    claude.reset()
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        adapter = AnthropicAdapter(f"{claude.url}/claude", per_model=True)
        await router.register_provider("anthropic", adapter)
        await router.register_key("sk-ant-1", "anthropic", {"id": "k"})
        yield router


async def test_answer_whole_and_in_pieces(router: ApiKeyRouter) -> None:
    whole = await router.route(INTENT)
    assert whole.content.startswith("the router finds")
    assert (whole.metadata.finish_reason, whole.key_used) == ("stop", "k")
    assert whole.metadata.tokens_used.output_tokens == 9
    pieces = [piece async for piece in router.route_stream(INTENT)]
    assert "".join(piece.content for piece in pieces) == whole.content
    assert router.get_state_summary()["open_reservations"] == 0


async def test_tools_are_called(router: ApiKeyRouter) -> None:
    function = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    answer = await router.route(INTENT.model_copy(update={"parameters": {"tools": [function]}}))
    assert [call["function"]["name"] for call in answer.tool_calls] == ["look"]


async def test_what_cannot_be_carried_is_an_error_that_names_it(router: ApiKeyRouter) -> None:
    with pytest.raises(SystemError, match="seed: cannot be carried") as caught:
        await router.route(INTENT.model_copy(update={"parameters": {"seed": 1}}))
    assert caught.value.category is ErrorCategory.ValidationError


async def test_adapter_answers_by_itself(router: ApiKeyRouter, claude: RunningSimulator) -> None:
    adapter = AnthropicAdapter(f"{claude.url}/claude")
    key = router.routes.providers["anthropic"].slots["k"].record
    answer = adapter.normalize_response(await adapter.execute_request(INTENT, key))
    await adapter.close()
    assert answer.content.startswith("the router finds")
    assert answer.raw["type"] == "message"
    assert answer.metadata.tokens_used.tier == "standard"


async def test_models_of_one_pool_share_what_is_known_of_it(router: ApiKeyRouter) -> None:
    for model in MODELS:
        await router.route(INTENT.model_copy(update={"model": model}))
    scopes = {scope["group"]: scope["windows"] for scope in router.get_state_summary()["scopes"]}
    assert set(scopes) == {"claude-opus-4", "claude-sonnet-5"}
    told = {w["dimension"]: w["capacity"] for w in scopes["claude-opus-4"]}
    told.pop("concurrency", None)
    assert told == {"requests": 600.0, "input tokens": 200000.0, "output tokens": 80000.0}


async def test_keys_and_models_are_asked_for(claude: RunningSimulator) -> None:
    adapter = AnthropicAdapter(f"{claude.url}/claude")
    assert await adapter.list_models("sk-ant-1") == MODELS
    assert await adapter.probe("sk-ant-1") is True
    assert await adapter.probe("sk-ant-none") is False
    assert (await adapter.get_health()).status == "healthy"
    await adapter.close()
