"""The library against simulated providers, over HTTP."""

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    KeyState,
    Message,
    NoEligibleKeysError,
    ProviderAdapter,
    RequestIntent,
    SystemError,
    UnknownModelError,
)
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.system_error import ErrorCategory
from apikeyrouter.domain.models.system_response import ResponseMetadata, SystemResponse, TokenUsage
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

INTENT = RequestIntent(model="small", messages=[Message(role="user", content="Hello!")])


async def router_for(simulator: RunningSimulator, *secrets: str, **settings: Any) -> ApiKeyRouter:
    router = ApiKeyRouter(config={"log_level": "CRITICAL", **settings})
    await router.register_provider("sim", OpenAIAdapter(base_url=simulator.base_url()))
    for number, secret in enumerate(secrets, 1):
        await router.register_key(secret, "sim", {"id": f"key-{number}"})
    return router


async def test_a_hundred_requests_at_once_use_both_keys(simulator: RunningSimulator) -> None:
    async with await router_for(simulator, "sk-sim-1", "sk-sim-2") as router:
        answers = await asyncio.gather(*(router.route(INTENT) for _ in range(100)))
        used = Counter(answer.key_used for answer in answers)
        assert set(used) == {"key-1", "key-2"}
        assert min(used.values()) >= 30
        assert router.get_state_summary()["open_reservations"] == 0


async def test_answer_bears_content_usage_and_who_served_it(simulator: RunningSimulator) -> None:
    async with await router_for(simulator, "sk-sim-1") as router:
        answer = await router.route({**INTENT.model_dump(), "request_id": "r-1"})
        assert answer.content.startswith("the router finds")
        assert answer.metadata.tokens_used.output_tokens == 8
        assert (answer.key_used, answer.request_id) == ("key-1", "r-1")
        assert "key-1" in router.routing_engine.explain_decision("r-1")


@pytest.mark.parametrize("cap", [10**400, 10**15, 0, -5, "100"])
async def test_cap_of_any_size_is_the_providers_to_judge(
    simulator: RunningSimulator, cap: object
) -> None:
    async with await router_for(simulator, "sk-sim-1") as router:
        with contextlib.suppress(SystemError):
            await router.route(INTENT.model_copy(update={"parameters": {"max_tokens": cap}}))


async def test_limits_are_learned_from_the_first_answer(simulator: RunningSimulator) -> None:
    async with await router_for(simulator, "sk-sim-3") as router:
        await router.route(INTENT)
        state = await router.quota_awareness_engine.get_quota_state("key-1")
        assert [(w.dimension, w.capacity, w.period_s) for w in state.windows] == [
            ("requests", 60.0, 60.0)
        ]
        assert state.remaining_capacity.estimation_method == "exact"


async def test_stream_yields_text_usage_and_finish(simulator: RunningSimulator) -> None:
    async with await router_for(simulator, "sk-sim-1") as router:
        chunks = [chunk async for chunk in router.route_stream(INTENT)]
        text = "".join(chunk.content for chunk in chunks)
        assert text.startswith("the router finds")
        assert [c.usage.output_tokens for c in chunks if c.usage] == [8]
        assert [c.finish_reason for c in chunks if c.finish_reason] == ["stop"]


@pytest.mark.parametrize("status", [500, 503, 529])
async def test_provider_failures_are_retried_elsewhere(
    simulator: RunningSimulator, status: int
) -> None:
    simulator.condition(kind="status", status=status, key="k1", times=3)
    async with await router_for(simulator, "sk-sim-1", "sk-sim-2") as router:
        answers = [await router.route(INTENT) for _ in range(10)]
        assert all(answer.content for answer in answers)


async def test_invalid_key_is_marked_and_left_alone(simulator: RunningSimulator) -> None:
    simulator.condition(kind="invalid_key", key="k1")
    async with await router_for(simulator, "sk-sim-1", "sk-sim-2") as router:
        for _ in range(6):
            assert (await router.route(INTENT)).key_used == "key-2"
        key = await router.key_manager.get_key("key-1")
        assert key is not None
        assert key.state is KeyState.INVALID
    assert simulator.stats()["keys"]["sim/k1"]["failed"] == 1


async def test_key_told_to_wait_gets_no_call_until_then(simulator: RunningSimulator) -> None:
    simulator.condition(kind="status", status=429, retry_after_s=2, key="k1", times=1)
    async with await router_for(simulator, "sk-sim-1", "sk-sim-2") as router:
        for _ in range(20):
            await router.route(INTENT)
            await asyncio.sleep(0.05)
        calls = [entry for entry in simulator.log() if entry["key"] == "k1"]
        refused_at = next(entry["at_s"] for entry in calls if entry["status"] == 429)
        later = [entry["at_s"] for entry in calls if entry["at_s"] > refused_at]
        assert all(at >= refused_at + 2.0 for at in later)
        state = await router.key_manager.get_key("key-1")
        assert state is not None
        assert state.state is KeyState.THROTTLED


async def test_request_waits_for_room_instead_of_failing(simulator: RunningSimulator) -> None:
    simulator.condition(kind="limit", scope="tight", limits={"rpm": 120})
    async with await router_for(simulator, "sk-sim-3") as router:
        answers = await asyncio.gather(*(router.route(INTENT) for _ in range(124)))
        assert len(answers) == 124
    assert simulator.stats()["keys"]["sim/k3"]["refused"] == 0


async def test_refused_at_once_when_the_wait_would_be_too_long(simulator: RunningSimulator) -> None:
    async with await router_for(simulator, "sk-sim-3", max_queue_wait_seconds=0.2) as router:
        outcomes = await asyncio.gather(
            *(router.route(INTENT) for _ in range(70)), return_exceptions=True
        )
        refused = [o for o in outcomes if isinstance(o, NoEligibleKeysError)]
        assert len(refused) in range(8, 13)
        assert all(o.retry_after is not None and o.retry_after < 2.0 for o in refused)
    assert simulator.stats()["keys"]["sim/k3"]["refused"] == 0


async def test_client_error_reaches_the_caller_and_cools_nothing(
    simulator: RunningSimulator,
) -> None:
    simulator.condition(kind="status", status=400, times=1)
    async with await router_for(simulator, "sk-sim-1", "sk-sim-2") as router:
        with pytest.raises(SystemError) as caught:
            await router.route(INTENT)
        assert caught.value.category is ErrorCategory.ValidationError
        assert all(key["state"] == "available" for key in router.get_state_summary()["keys"])
    assert simulator.stats()["totals"]["failed"] == 1


async def test_stream_cut_before_its_first_byte_is_tried_elsewhere(
    simulator: RunningSimulator,
) -> None:
    simulator.condition(kind="cut", chunks=0, times=1)
    async with await router_for(simulator, "sk-sim-1", "sk-sim-2") as router:
        chunks = [chunk async for chunk in router.route_stream(INTENT)]
        assert "".join(chunk.content for chunk in chunks)


async def test_stream_cut_midway_is_told(simulator: RunningSimulator) -> None:
    simulator.condition(kind="cut", chunks=3, times=1)
    async with await router_for(simulator, "sk-sim-1") as router:
        with pytest.raises(SystemError, match="broke off"):
            async for _ in router.route_stream(INTENT):
                pass
        assert router.get_state_summary()["open_reservations"] == 0


async def test_unknown_model_names_the_nearest(simulator: RunningSimulator) -> None:
    router = await router_for(simulator, "sk-sim-1")
    await router.register_provider(
        "sim", OpenAIAdapter(base_url=simulator.base_url(), models=("small", "large")), True
    )
    async with router:
        with pytest.raises(UnknownModelError, match="did you mean small"):
            await router.route({**INTENT.model_dump(), "model": "smal"})


async def test_duplicate_provider_and_unknown_provider_are_refused(
    simulator: RunningSimulator,
) -> None:
    async with await router_for(simulator, "sk-sim-1") as router:
        with pytest.raises(ValueError, match="overwrite=True"):
            await router.register_provider("sim", OpenAIAdapter())
        with pytest.raises(ValueError, match="not registered"):
            await router.register_key("sk-x", "nobody")


class Echo(ProviderAdapter):
    """A user's adapter with only the promised methods."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.failure = failure

    async def execute_request(self, intent: RequestIntent, key: APIKey) -> Any:
        self.calls.append(key.reveal())
        if self.failure is not None:
            raise self.failure
        return {"text": intent.messages[-1].content}

    def normalize_response(self, raw: Any) -> SystemResponse:
        usage = TokenUsage(input_tokens=3, output_tokens=4)
        return SystemResponse(
            content=raw["text"], metadata=ResponseMetadata(model_used="m", tokens_used=usage)
        )


async def test_users_adapter_needs_only_the_promised_methods() -> None:
    adapter = Echo()
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await router.register_provider("echo", adapter)
        await router.register_key("secret-of-mine", "echo")
        answer = await router.route(INTENT)
        assert (answer.content, adapter.calls) == ("Hello!", ["secret-of-mine"])


async def test_final_error_of_a_users_adapter_means_one_call() -> None:
    adapter = Echo(SystemError(ErrorCategory.ProviderError, "no", retryable=False))
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await router.register_provider("echo", adapter)
        await router.register_key("one", "echo")
        await router.register_key("two", "echo")
        with pytest.raises(SystemError, match="no"):
            await router.route(INTENT)
        assert len(adapter.calls) == 1


async def test_cancelled_requests_give_back_what_they_held(simulator: RunningSimulator) -> None:
    simulator.condition(kind="slow_first_token", seconds=5)
    async with await router_for(simulator, "sk-sim-1") as router:
        tasks = [asyncio.create_task(router.route(INTENT)) for _ in range(30)]
        await asyncio.sleep(0.2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        summary = router.get_state_summary()
        assert (summary["open_reservations"], summary["waiting"]) == (0, 0)
        assert all(key["in_flight"] == 0 for key in summary["keys"])
