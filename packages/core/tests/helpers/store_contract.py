"""What every store promises: imported whole by each file of tests that has a fixture `store`."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from apikeyrouter.domain.interfaces.state_store import (
    StateQuery,
    StateStore,
    StateStoreError,
    StoredRecord,
)
from apikeyrouter.domain.models.api_key import APIKey, KeyState
from apikeyrouter.domain.models.quota_state import CapacityState, QuotaState, WindowState
from apikeyrouter.domain.models.routing_decision import RoutingDecision, RoutingObjective
from apikeyrouter.domain.models.state_transition import StateTransition

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


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
        id=f"{key}-{to}-{minute}",
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


async def test_decision_that_is_replaced_by_a_later_one_comes_first(store: StateStore) -> None:
    for decision in (a_decision("d0", 1), a_decision("d1", 2), a_decision("d0", 5)):
        await store.save_routing_decision(decision)
    found = await store.query_state(StateQuery("RoutingDecision"))
    assert [(d.id, d.decision_timestamp) for d in found] == [("d0", at(5)), ("d1", at(2))]


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


async def test_move_that_comes_twice_is_kept_once(store: StateStore) -> None:
    for move in (a_move(1), a_move(2), a_move(1)):
        await store.save_state_transition(move)
    assert [a_move(2), a_move(1)] == await store.query_state(StateQuery("StateTransition"))


def _one_of_each() -> list[StoredRecord]:
    return [a_key(), a_quota(), a_decision(), a_move()]


@pytest.mark.parametrize("times", [1, 2], ids=["once", "again after a failure"])
async def test_batch_keeps_every_kind_of_record(store: StateStore, times: int) -> None:
    for _ in range(times):
        await store.save_batch(_one_of_each())
    assert [a_key()] == await store.list_keys()
    assert a_quota() == await store.get_quota_state("k1")
    assert [a_decision()] == await store.query_state(StateQuery("RoutingDecision"))
    assert [a_move()] == await store.query_state(StateQuery("StateTransition"))


async def test_later_record_of_a_batch_wins(store: StateStore) -> None:
    await store.save_batch([a_key(usage_count=1), a_key(usage_count=2)])
    assert [key.usage_count for key in await store.list_keys()] == [2]


async def test_empty_batch_is_nothing(store: StateStore) -> None:
    await store.save_batch([])
    assert await store.list_keys() == []


async def test_batch_of_hundreds_is_kept_whole(store: StateStore) -> None:
    await store.save_batch([a_decision(f"d{number:03}", number) for number in range(512)])
    found = await store.query_state(StateQuery("RoutingDecision"))
    assert [f"d{number:03}" for number in reversed(range(512))] == [d.id for d in found]


async def test_records_saved_at_once_are_all_kept(store: StateStore) -> None:
    keys = [a_key(f"k{number:02}", number) for number in range(50)]
    await asyncio.gather(
        *(store.save_key(key) for key in keys),
        *(store.save_state_transition(a_move(number)) for number in range(50)),
        *(store.save_batch([a_decision(f"d{n:02}", n), a_quota(f"k{n:02}", n)]) for n in range(50)),
    )
    assert [key.id for key in keys] == [key.id for key in await store.list_keys()]
    for kind in ("StateTransition", "RoutingDecision", "QuotaState"):
        assert len(await store.query_state(StateQuery(kind))) == 50


async def test_one_record_saved_at_once_is_one_of_those(store: StateStore) -> None:
    """Whoever comes last wins; nothing is mixed of two."""
    keys = [a_key(usage_count=number, metadata={"tags": [str(number)]}) for number in range(20)]
    await asyncio.gather(*(store.save_key(key) for key in keys))
    found = await store.get_key("k1")
    assert found in keys


async def test_reading_while_others_write_never_fails(store: StateStore) -> None:
    async def write() -> None:
        for number in range(100):
            await store.save_batch([a_decision(f"d{number}", number), a_move(number)])
            await asyncio.sleep(0)

    writing = asyncio.create_task(write())
    seen = [0]
    while not writing.done():
        seen.append(len(await store.query_state(StateQuery("RoutingDecision"))))
        await asyncio.sleep(0)
    await writing
    assert seen == sorted(seen)


@pytest.mark.parametrize("name", ["ключ-1", "a/b c", "'; DROP TABLE keys; --", "%_*?", "x" * 500])
async def test_any_printable_id_is_kept_as_it_is(store: StateStore, name: str) -> None:
    await store.save_key(a_key(name, provider_id=name, key_material="s"))
    await store.save_key(a_key("another", 1))
    found = await store.query_state(StateQuery("APIKey", key_id=name, provider_id=name))
    assert [key.id for key in found] == [name]


async def test_moments_are_kept_to_the_microsecond_and_with_their_zone(store: StateStore) -> None:
    berlin = datetime(2026, 11, 25, 13, 0, 0, 123_456, timezone(timedelta(hours=1)))
    await store.save_key(a_key(created_at=berlin, state_updated_at=berlin))
    found = await store.get_key("k1")
    assert found is not None
    assert found.created_at == berlin
    assert found.created_at.tzinfo is not None


async def test_equal_moments_lose_no_record_between_pages(store: StateStore) -> None:
    await store.save_batch([a_decision(f"d{number}", 1) for number in range(9)])
    pages = [
        await store.query_state(StateQuery("RoutingDecision", limit=2, offset=offset))
        for offset in range(0, 10, 2)
    ]
    assert sorted(d.id for page in pages for d in page) == [f"d{number}" for number in range(9)]


async def test_closing_twice_is_nothing(store: StateStore) -> None:
    await store.close()
    await store.close()
