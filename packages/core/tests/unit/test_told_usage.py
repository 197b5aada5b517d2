"""What a request used is told whole: in events, in its trace, in the answer."""

from typing import Any

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    Demand,
    Message,
    ProviderAdapter,
    RequestIntent,
    SystemResponse,
)
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.feed.events import AttemptEnded
from apikeyrouter.domain.models.system_response import ResponseMetadata
from apikeyrouter.domain.models.token_usage import TokenUsage, Usage

pytestmark = pytest.mark.unit
FULL = Usage(20, 8, 4, 2, 1, 3, 5, 6, "flex", 0.25, 1.5)
PARTS = {
    "cached_tokens": 4, "cache_written_tokens": 2, "cache_written_1h_tokens": 1,
    "reasoning_tokens": 3, "audio_input_tokens": 5, "audio_output_tokens": 6, "tier": "flex",
    "cost_usd": 0.25, "audio_seconds": 1.5,
}  # fmt: skip
COUNTED = Usage(20, 3, exact=False)
CUT = Failure(FailureClass.MID_STREAM, "cut")


class Answering(ProviderAdapter):
    """Answers everything at *FULL*."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        metadata = ResponseMetadata(model_used="m", tokens_used=FULL.told())
        return SystemResponse(content="hi", metadata=metadata)

    def normalize_response(self, raw: Any) -> Any:
        return raw


class Scene:
    """A router, and the ends of attempts that it tells."""

    def __init__(self) -> None:
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: 1000.0)
        self.ends: list[AttemptEnded] = []
        self.router.listeners.append(self._note)

    def _note(self, event: Any) -> None:
        if isinstance(event, AttemptEnded):
            self.ends.append(event)

    async def attempt(self) -> Any:
        await self.router.register_provider("p", Answering())
        await self.router.register_key("sk-1", "p", {"limits": {"rpm": 60, "tpm": 1000}})
        demand = Demand("m", "r", input_tokens=20, output_cap=100)
        attempt = await anext(aiter(self.router.attempts(demand)))
        attempt.answered()
        return attempt

    def trace(self) -> dict[str, Any]:
        trace = self.router.get_request_trace("r")
        assert trace is not None
        return {name: trace[name] for name in ("input_tokens", "output_tokens", "usage")}


@pytest.mark.parametrize(
    ("end", "usage", "parts", "charged"),
    [
        (lambda attempt: attempt.settle(usage=FULL), FULL, PARTS, 28.0),
        (lambda attempt: attempt.settle(20, 8, 4), Usage(20, 8, 4), {"cached_tokens": 4}, 28.0),
        (lambda attempt: attempt.settle(counted=COUNTED), COUNTED, {"exact": False}, 120.0),
        (lambda attempt: attempt.cancel(counted=COUNTED), COUNTED, {"exact": False}, 120.0),
        (lambda attempt: attempt.fail(CUT, counted=COUNTED), COUNTED, {"exact": False}, 120.0),
        (lambda attempt: attempt.fail(CUT, FULL), FULL, PARTS, 28.0),
    ],
    ids=["told", "told in part", "counted", "cancelled", "broken off", "told and broken off"],
)
async def test_end_of_an_attempt_tells_its_usage_whole(
    end: Any, usage: Usage, parts: dict[str, Any], charged: float
) -> None:
    scene = Scene()
    end(await scene.attempt())
    [event] = scene.ends
    assert (event.usage, event.charged_tokens) == (usage, charged)
    assert (event.input_tokens, event.output_tokens) == (usage.input_tokens, usage.output_tokens)
    assert scene.trace() == {
        "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "usage": parts,
    }  # fmt: skip


async def test_attempt_that_tells_nothing_has_no_usage() -> None:
    scene = Scene()
    (await scene.attempt()).cancel()
    assert scene.ends[0].usage is None
    assert scene.trace() == {"input_tokens": None, "output_tokens": None, "usage": {}}


async def test_usage_of_an_adapter_of_ones_own_is_kept_whole() -> None:
    scene = Scene()
    (await scene.attempt()).cancel(sent=False)
    intent = RequestIntent(model="m", messages=[Message(role="user", content="Hi")])
    response = await scene.router.route(intent)
    assert response.metadata.tokens_used == FULL.told()
    assert scene.ends[-1].usage == FULL


def test_usage_as_people_read_it_and_inside_say_the_same() -> None:
    told = FULL.told()
    assert isinstance(told, TokenUsage)
    assert Usage.of(told) == FULL
    assert set(TokenUsage.model_fields) == set(Usage.__struct_fields__)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Usage(0, 0), FULL, FULL),
        (FULL, FULL, Usage(40, 16, 8, 4, 2, 6, 10, 12, "flex", 0.5, 3.0)),
        (FULL, Usage(1, 1, tier="default", exact=False),
         Usage(21, 9, 4, 2, 1, 3, 5, 6, "default", 0.25, 1.5, exact=False)),
    ],
    ids=["nothing", "twice", "an estimate"],
)  # fmt: skip
def test_usages_add_up(one: Usage, other: Usage, both: Usage) -> None:
    assert one.plus(other) == both
