"""What is told of the router's state is told without changing it."""

import json

import pytest

from apikeyrouter import ApiKeyRouter
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.feed.events import Event
from apikeyrouter.domain.interfaces.state_store import StateQuery
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit


class Bench:
    """A router with one key, a clock that is set by hand, and the events it told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.events: list[Event] = []
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: self.now)
        self.router.listeners.append(self.events.append)

    async def register(self) -> None:
        await self.router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
        await self.router.register_key("sk-test-1", "p", {"id": "k", "limits": {"rpm": 10}})

    async def refuse(self, kind: FailureClass, retry_after_s: float) -> None:
        attempt = await anext(aiter(self.router.attempts(Demand(model="m", request_id="r"))))
        attempt.fail(Failure(kind, "", status=429, retry_after_s=retry_after_s))

    def key(self) -> tuple[str, float | None, str]:
        [key] = self.router.get_state_summary()["keys"]
        return key["state"], key["wakes_in_s"], key["why"]


@pytest.mark.parametrize(
    ("kind", "state"),
    [(FailureClass.RATE_LIMITED, "throttled"), (FailureClass.QUOTA_BILLING, "exhausted")],
)
async def test_summary_tells_a_wait_and_its_end_and_moves_nothing(
    kind: FailureClass, state: str
) -> None:
    bench = Bench()
    await bench.register()
    await bench.refuse(kind, 50.0)
    assert bench.key() == (state, 50.0, kind.value)
    told = len(bench.events)
    bench.now += 51.0
    for _ in range(3):
        assert bench.key() == ("available", 0.0, "")
    assert bench.router.key_manager.slot("k").record.state.value == state
    assert len(bench.events) == told
    await bench.router.close()
    moves = await bench.router.state_store.query_state(StateQuery("StateTransition"))
    assert [move.to_state for move in moves] == [state]


async def test_summary_is_plain_data_without_a_secret() -> None:
    bench = Bench()
    await bench.register()
    attempt = await anext(aiter(bench.router.attempts(Demand(model="m", request_id="r"))))
    summary = bench.router.get_state_summary()
    attempt.cancel()
    assert "sk-test-1" not in json.dumps(summary)
    assert summary["open_reservations"] == 1
    assert summary["keys"][0]["in_flight"] == 1
    [window] = summary["scopes"][0]["windows"]
    assert (window["dimension"], window["capacity"], window["used"]) == ("requests", 10.0, 1.0)
