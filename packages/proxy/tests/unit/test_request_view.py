"""A request is shown with all that its provider told of its use."""

from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter_proxy.api.routes.requests import record_of

pytestmark = pytest.mark.unit


async def _trace(usage: Usage | None) -> dict[str, Any]:
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
    await router.register_key("sk-1", "p", {"limits": {"rpm": 60}})
    attempt = await anext(aiter(router.attempts(Demand("m", "r", input_tokens=20))))
    attempt.settle(usage=usage)
    trace = router.get_request_trace("r")
    assert trace is not None
    return trace


@pytest.mark.parametrize(
    ("usage", "told", "cost_usd"),
    [
        (None, {"exact": True}, None),
        (Usage(20, 8), {"input": 20, "output": 8, "exact": True}, None),
        (
            Usage(20, 8, 4, 2, 1, 3, 5, 6, "flex", 0.25),
            {
                "input": 20, "output": 8, "cached": 4, "cache_written": 2, "reasoning": 3,
                "audio_input": 5, "audio_output": 6, "tier": "flex", "exact": True,
            },
            0.25,
        ),
        (Usage(20, 3, exact=False), {"input": 20, "output": 3, "exact": False}, None),
    ],
    ids=["nothing told", "plain", "all of it", "an estimate"],
)  # fmt: skip
async def test_request_shows_what_is_known_of_its_use(
    usage: Usage | None, told: dict[str, Any], cost_usd: float | None
) -> None:
    shown = record_of(await _trace(usage), "")
    assert shown.tokens.model_dump(exclude_none=True, exclude={"asked"}) == told
    assert shown.cost_usd == cost_usd


async def test_request_of_an_earlier_version_is_shown() -> None:
    trace = await _trace(Usage(20, 8, 4))
    del trace["usage"]
    shown = record_of(trace, "").tokens
    assert (shown.input, shown.cached, shown.exact) == (20, None, True)
