"""What an operator orders is kept when it is acknowledged; what traffic produces, soon after."""

from collections.abc import Callable
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, KeyState
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.state_store import StateQuery
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore

pytestmark = pytest.mark.unit


class Disk(InMemoryStateStore):
    """Takes no makers of decisions, as no store outside of memory does; survives its router."""

    def keep_decision(self, make: Callable[[], Any]) -> bool:
        return False

    async def key(self) -> APIKey:
        key = await self.get_key("k")
        assert key is not None
        return key

    async def moves(self) -> list[tuple[str, str, str]]:
        found = await self.query_state(StateQuery("StateTransition"))
        return [(move.from_state, move.to_state, move.trigger) for move in reversed(found)]


async def _router_over(disk: Disk) -> ApiKeyRouter:
    router = ApiKeyRouter(disk, config={"log_level": "CRITICAL", "max_queue_wait_seconds": 0.0})
    await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
    await router.register_key("sk-test-1", "p", {"id": "k"})
    return router


async def test_registered_key_is_in_the_store_when_it_is_acknowledged() -> None:
    disk = Disk()
    await _router_over(disk)
    key = await disk.key()
    assert (key.state, "sk-test-1" in key.key_material) == (KeyState.AVAILABLE, False)


async def test_operators_moves_are_in_the_store_once_each_when_they_are_acknowledged() -> None:
    disk = Disk()
    router = await _router_over(disk)
    await router.revoke_key("k", "leaked")
    assert (await disk.key()).state is KeyState.DISABLED
    await router.key_manager.update_key_state("k", "available", "found again")
    assert (await disk.key()).state is KeyState.AVAILABLE
    wanted = [("available", "disabled", "leaked"), ("disabled", "available", "found again")]
    assert await disk.moves() == wanted
    await router.close()
    assert await disk.moves() == wanted


async def test_rotated_secret_is_in_the_store_when_it_is_acknowledged() -> None:
    disk = Disk()
    router = await _router_over(disk)
    before = (await disk.key()).key_material
    await router.rotate_key("k", "sk-test-2")
    assert (await disk.key()).key_material != before


async def test_decisions_and_moves_of_traffic_are_in_the_store_when_the_router_closes() -> None:
    disk = Disk()
    async with await _router_over(disk) as router:
        attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r1"))))
        attempt.settle(10, 5)
        attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r2"))))
        attempt.fail(Failure(FailureClass.KEY_INVALID, "no", status=401))
    decisions = await disk.query_state(StateQuery("RoutingDecision", key_id="k"))
    assert "r1" in {decision.request_id for decision in decisions}
    assert [move[:2] for move in await disk.moves()] == [("available", "invalid")]
