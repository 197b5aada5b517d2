"""What every store promises (another one is one more parameter), and what memory adds."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apikeyrouter.domain.interfaces.state_store import StateQuery, StateStore, StateStoreError
from apikeyrouter.domain.models.api_key import APIKey, KeyState
from apikeyrouter.domain.models.quota_state import CapacityState, QuotaState, WindowState
from apikeyrouter.domain.models.routing_decision import RoutingDecision, RoutingObjective
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore

pytestmark = pytest.mark.unit

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(params=[InMemoryStateStore], ids=["memory"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[StateStore]:
    made: StateStore = request.param()
    yield made
    await made.close()


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def a_key(key_id: str = "k1", minute: int = 0, **fields: Any) -> APIKey:
    defaults: dict[str, Any] = {"provider_id": "openai", "key_material": f"sealed-{key_id}"}
    return APIKey(
        **{**defaults, "created_at": at(minute), "state_updated_at": at(minute), **fields},
        id=key_id,
    )


def a_quota(key_id: str = "k1", minute: int = 0, **fields: Any) -> QuotaState:
    return QuotaState(id=f"q-{key_id}", key_id=key_id, updated_at=at(minute), **fields)


def a_decision(
    decision_id: str = "d1", minute: int = 0, key: str = "k1", provider: str = "openai"
) -> RoutingDecision:
    return RoutingDecision(
        id=decision_id,
        request_id=f"r-{decision_id}",
        selected_key_id=key,
        selected_provider_id=provider,
        decision_timestamp=at(minute),
        objective=RoutingObjective(),
    )


def a_move(minute: int = 0, key: str = "k1", to: str = "throttled") -> StateTransition:
    return StateTransition(
        entity_type="APIKey",
        entity_id=key,
        from_state="available",
        to_state=to,
        transition_timestamp=at(minute),
        trigger="rate_limited",
    )


async def test_key_is_read_back_whole(store: StateStore) -> None:
    key = a_key(
        state=KeyState.THROTTLED,
        cooldown_until=at(5),
        last_used_at=at(1),
        usage_count=3,
        failure_count=1,
        metadata={"tags": ["a"], "limits": {"rpm": 5}},
    )
    await store.save_key(key)
    found = await store.get_key("k1")
    assert found is not None
    assert key.model_dump() == found.model_dump()
    assert found.key_material == "sealed-k1"


async def test_kept_key_does_not_open_itself(store: StateStore) -> None:
    key = a_key()
    key._opener = lambda: "sk-clear"
    await store.save_key(key)
    found = await store.get_key("k1")
    assert found is not None
    assert found._opener is None
    assert key.reveal() == "sk-clear"


@pytest.mark.parametrize("what", ["key", "quota"])
async def test_absent_record_is_none(store: StateStore, what: str) -> None:
    assert await (store.get_key if what == "key" else store.get_quota_state)("nobody") is None


async def test_saving_a_key_again_replaces_it(store: StateStore) -> None:
    await store.save_key(a_key())
    await store.save_key(a_key(usage_count=9))
    assert [key.usage_count for key in await store.list_keys()] == [9]


async def test_keys_are_listed_oldest_first(store: StateStore) -> None:
    for key in (a_key("b", 2), a_key("a", 3), a_key("c", 1, provider_id="groq")):
        await store.save_key(key)
    assert [key.id for key in await store.list_keys()] == ["c", "b", "a"]
    assert [key.id for key in await store.list_keys("openai")] == ["b", "a"]
    assert await store.list_keys("nobody") == []


async def test_quota_state_is_read_back_whole_and_replaced(store: StateStore) -> None:
    window = WindowState(
        dimension="requests",
        algorithm="fixed",
        period_s=60.0,
        capacity=10.0,
        used=4.0,
        remaining=6.0,
        provenance="header",
        confidence=1.0,
    )
    await store.save_quota_state(a_quota())
    state = a_quota(minute=1, capacity_state=CapacityState.CRITICAL, windows=[window])
    await store.save_quota_state(state)
    assert state == await store.get_quota_state("k1")
    assert [state] == await store.query_state(StateQuery("QuotaState"))


@pytest.mark.parametrize("field", ["metadata", "windows"])
async def test_changing_what_was_saved_or_read_changes_nothing_kept(
    store: StateStore, field: str
) -> None:
    key, quota = a_key(metadata={"tags": ["a"]}), a_quota()
    await store.save_key(key)
    await store.save_quota_state(quota)
    read_key, read_quota = await store.get_key("k1"), await store.get_quota_state("k1")
    [queried] = await store.query_state(StateQuery("APIKey"))
    assert read_key is not None
    assert read_quota is not None
    for changed in (key, read_key, queried, (await store.list_keys())[0]):
        changed.metadata["tags"].append("b")
        changed.state = KeyState.INVALID
    for state in (quota, read_quota):
        state.used_requests = 7
    assert a_key(metadata={"tags": ["a"]}) == await store.get_key("k1")
    assert a_quota() == await store.get_quota_state("k1")


async def test_decision_is_read_back_whole_and_replaced(store: StateStore) -> None:
    await store.save_routing_decision(a_decision("d0"))
    await store.save_routing_decision(a_decision())
    decision = a_decision(minute=3, key="k2")
    await store.save_routing_decision(decision)
    found = await store.query_state(StateQuery("RoutingDecision"))
    assert [decision, a_decision("d0")] == found


async def test_changing_a_decision_that_was_read_changes_nothing_kept(store: StateStore) -> None:
    await store.save_routing_decision(a_decision())
    [found] = await store.query_state(StateQuery("RoutingDecision"))
    found.eligible_keys.append("k9")
    assert [a_decision()] == await store.query_state(StateQuery("RoutingDecision"))


async def _furnish(store: StateStore) -> None:
    await store.save_key(a_key("k1", 1))
    await store.save_key(a_key("k3", 3, provider_id="groq", state=KeyState.INVALID))
    await store.save_key(a_key("k2", 2, provider_id="groq"))
    await store.save_quota_state(a_quota("k1", 1))
    await store.save_quota_state(a_quota("k2", 2, capacity_state=CapacityState.EXHAUSTED))
    for decision in (
        a_decision("d1", 1),
        a_decision("d3", 3, "k2", "groq"),
        a_decision("d2", 2),
        a_decision("d4", 4),
    ):
        await store.save_routing_decision(decision)
    for move in (a_move(1), a_move(3, "k2"), a_move(2, to="invalid")):
        await store.save_state_transition(move)


_NAME: dict[str, Callable[[Any], str]] = {
    "APIKey": lambda key: key.id,
    "QuotaState": lambda state: state.key_id,
    "RoutingDecision": lambda decision: decision.id,
    "StateTransition": lambda move: f"{move.entity_id}-{move.to_state}",
}


@pytest.mark.parametrize(
    ("entity_type", "wanted", "found"),
    [
        ("APIKey", {}, ["k3", "k2", "k1"]),
        ("APIKey", {"key_id": "k2"}, ["k2"]),
        ("APIKey", {"provider_id": "groq"}, ["k3", "k2"]),
        ("APIKey", {"provider_id": "groq", "state": "invalid"}, ["k3"]),
        ("APIKey", {"key_id": "nobody"}, []),
        ("QuotaState", {}, ["k2", "k1"]),
        ("QuotaState", {"state": "exhausted"}, ["k2"]),
        ("RoutingDecision", {}, ["d4", "d3", "d2", "d1"]),
        ("RoutingDecision", {"key_id": "k1"}, ["d4", "d2", "d1"]),
        ("RoutingDecision", {"provider_id": "groq"}, ["d3"]),
        ("RoutingDecision", {"limit": 2}, ["d4", "d3"]),
        ("RoutingDecision", {"limit": 2, "offset": 1}, ["d3", "d2"]),
        ("RoutingDecision", {"offset": 3}, ["d1"]),
        ("RoutingDecision", {"offset": 9}, []),
        ("RoutingDecision", {"limit": 0}, []),
        ("RoutingDecision", {"key_id": "k1", "limit": 1, "offset": 1}, ["d2"]),
        ("RoutingDecision", {"timestamp_from": at(2), "timestamp_to": at(3)}, ["d3", "d2"]),
        ("RoutingDecision", {"timestamp_from": at(4).replace(tzinfo=None)}, ["d4"]),
        ("StateTransition", {}, ["k2-throttled", "k1-invalid", "k1-throttled"]),
        ("StateTransition", {"key_id": "k1"}, ["k1-invalid", "k1-throttled"]),
        ("StateTransition", {"state": "invalid"}, ["k1-invalid"]),
        ("StateTransition", {"timestamp_to": at(1)}, ["k1-throttled"]),
    ],
)
async def test_query_finds_what_matches_newest_first(
    store: StateStore, entity_type: str, wanted: dict[str, Any], found: list[str]
) -> None:
    await _furnish(store)
    records = await store.query_state(StateQuery(entity_type, **wanted))
    assert found == [_NAME[entity_type](record) for record in records]


async def test_query_for_an_unknown_kind_is_refused(store: StateStore) -> None:
    with pytest.raises(StateStoreError, match="unknown entity type 'Budget'"):
        await store.query_state(StateQuery("Budget"))


async def test_move_is_read_back_whole(store: StateStore) -> None:
    await store.save_state_transition(a_move())
    assert [a_move()] == await store.query_state(StateQuery("StateTransition"))


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
    await store.save_state_transition(a_move())
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


def test_a_store_need_not_take_makers() -> None:
    assert not StateStore.keep_decision(InMemoryStateStore(), a_decision)
