"""What memory adds to the promises of every store: bounds, and decisions that are made late."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from apikeyrouter.domain.interfaces.state_store import StateQuery, StateStore
from apikeyrouter.domain.models.routing_decision import RoutingDecision, RoutingObjective
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore

pytestmark = pytest.mark.unit

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def a_decision(decision_id: str = "d1", minute: int = 0) -> RoutingDecision:
    return RoutingDecision(
        id=decision_id,
        request_id=f"r-{decision_id}",
        selected_key_id="k1",
        selected_provider_id="openai",
        decision_timestamp=START + timedelta(minutes=minute),
        objective=RoutingObjective(),
    )


def a_move(minute: int) -> StateTransition:
    return StateTransition(
        id=f"m{minute}",
        entity_type="APIKey",
        entity_id="k1",
        from_state="available",
        to_state="throttled",
        transition_timestamp=START + timedelta(minutes=minute),
    )


async def _decision_ids(store: StateStore, limit: int | None = None) -> list[str]:
    found = await store.query_state(StateQuery("RoutingDecision", limit=limit))
    return [decision.id for decision in found]


async def test_memory_forgets_the_oldest_first() -> None:
    store = InMemoryStateStore(max_decisions=2, max_transitions=1)
    for number in range(4):
        await store.save_routing_decision(a_decision(f"d{number}", number))
        await store.save_state_transition(a_move(number))
    assert await _decision_ids(store) == ["d3", "d2"]
    assert [a_move(3)] == await store.query_state(StateQuery("StateTransition"))


async def test_memory_of_no_size_keeps_nothing() -> None:
    store = InMemoryStateStore(max_decisions=0, max_transitions=0)
    await store.save_routing_decision(a_decision())
    await store.save_routing_decision(a_decision())
    assert store.keep_decision(a_decision)
    await store.save_state_transition(a_move(0))
    assert await _decision_ids(store) == []
    assert await store.query_state(StateQuery("StateTransition")) == []


async def test_memory_makes_a_decision_only_when_it_is_asked_for() -> None:
    made: list[int] = []

    def maker(number: int) -> Callable[[], RoutingDecision]:
        def make() -> RoutingDecision:
            made.append(number)
            return a_decision(f"d{number}", number)

        return make

    store = InMemoryStateStore(max_decisions=3)
    assert all(store.keep_decision(maker(number)) for number in range(5))
    assert made == []
    assert await _decision_ids(store, limit=2) == ["d4", "d3"]
    assert made == [4, 3]
    assert await _decision_ids(store) == ["d4", "d3", "d2"]


async def test_memory_keeps_makers_and_records_in_one_order() -> None:
    store = InMemoryStateStore(max_decisions=3)
    await store.save_routing_decision(a_decision("d1", 1))
    store.keep_decision(lambda: a_decision("d2", 2))
    await store.save_routing_decision(a_decision("d0", 0))
    assert await _decision_ids(store, limit=1) == ["d2"]
    store.keep_decision(lambda: a_decision("d3", 3))
    assert await _decision_ids(store) == ["d3", "d2", "d0"]
    await store.save_routing_decision(a_decision("d1", 1))
    assert await _decision_ids(store) == ["d3", "d1", "d0"]


async def test_memory_orders_a_record_that_is_older_than_the_maker_before_it() -> None:
    store = InMemoryStateStore(max_decisions=3)
    store.keep_decision(lambda: a_decision("d2", 2))
    await store.save_routing_decision(a_decision("d1", 1))
    assert await _decision_ids(store) == ["d2", "d1"]


def test_a_store_need_not_take_makers() -> None:
    assert not StateStore.keep_decision(InMemoryStateStore(), a_decision)
