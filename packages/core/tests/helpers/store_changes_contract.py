"""What every store promises of changes that collide, of documents and of pages."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from decision_records import a_record
from store_contract import a_decision, a_key, a_move, a_quota

from apikeyrouter.domain.interfaces.state_store import (
    Document,
    StateConflictError,
    StateQuery,
    StateStore,
    StateStoreError,
    cursor_after,
)
from apikeyrouter.infrastructure.state_store.write_behind import WriteBehind

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


def a_document(name: str = "a", kind: str = "Account", **body: Any) -> Document:
    return Document(kind, name, body, NOON)


async def test_opening_twice_is_as_once(store: StateStore) -> None:
    await store.open()
    await store.save_key(a_key())
    await store.open()
    assert [a_key()] == await store.list_keys()


@pytest.mark.parametrize(
    ("kept", "expect", "is_taken"),
    [(None, None, True), (None, 0, False), (0, 0, True), (0, None, False), (3, 3, True),
     (3, 2, False), (3, 4, False)],
)  # fmt: skip
async def test_change_is_taken_over_the_revision_it_was_made_from(
    store: StateStore, kept: int | None, expect: int | None, is_taken: bool
) -> None:
    if kept is not None:
        await store.save_key(a_key(revision=kept))
    change = a_key(revision=(expect or 0) + 1, usage_count=7)
    if is_taken:
        await store.swap_key(change, expect=expect)
        assert change == await store.get_key("k1")
    else:
        with pytest.raises(StateConflictError, match="'k1' was changed by another process"):
            await store.swap_key(change, expect=expect)
        assert (None if kept is None else a_key(revision=kept)) == await store.get_key("k1")


async def test_of_changes_that_collide_one_is_taken(store: StateStore) -> None:
    await store.save_key(a_key())
    changes = [a_key(revision=1, usage_count=number) for number in range(10)]
    ends = await asyncio.gather(
        *(store.swap_key(change, expect=0) for change in changes), return_exceptions=True
    )
    assert [end for end in ends if not isinstance(end, StateConflictError)] == [None]
    assert await store.get_key("k1") == changes[ends.index(None)]


@pytest.mark.parametrize("how", ["save_key", "save_batch"])
async def test_what_traffic_counted_does_not_undo_what_an_operator_ordered(
    store: StateStore, how: str
) -> None:
    ordered = a_key(revision=2)
    await store.save_key(ordered)
    stale = a_key(revision=1, usage_count=9)
    await (store.save_key(stale) if how == "save_key" else store.save_batch([stale, a_move()]))
    assert ordered == await store.get_key("k1")
    await store.save_batch([a_key(revision=2, usage_count=10), a_key(revision=1)])
    assert a_key(revision=2, usage_count=10) == await store.get_key("k1")


@pytest.mark.parametrize(
    ("kept", "expect", "is_taken"),
    [(None, None, True), (None, 0, False), (0, 0, True), (0, None, False), (3, 3, True),
     (3, 2, False), (3, 4, False)],
)  # fmt: skip
async def test_document_is_swapped_over_the_revision_that_was_read(
    store: StateStore, kept: int | None, expect: int | None, is_taken: bool
) -> None:
    before = None if kept is None else replace(a_document(n=1), revision=kept)
    if before is not None:
        await store.save_document(before)
    change = replace(a_document(n=2), revision=(expect or 0) + 1)
    assert await store.swap_document(change, expect=expect) is is_taken
    assert await store.get_document("Account", "a") == (change if is_taken else before)


async def test_of_documents_that_are_swapped_at_once_one_is_taken(store: StateStore) -> None:
    await store.save_document(a_document())
    changes = [replace(a_document(n=number), revision=1) for number in range(10)]
    taken = await asyncio.gather(*(store.swap_document(c, expect=0) for c in changes))
    assert [is_taken for is_taken in taken if is_taken] == [True]
    assert changes[taken.index(True)] == await store.get_document("Account", "a")


async def test_document_is_read_back_whole_and_replaced(store: StateStore) -> None:
    body = {"n": 1, "f": 0.25, "text": "ü\0", "flag": True, "none": None, "list": [1, {"a": []}]}
    await store.save_document(a_document("b", **body))
    await store.save_document(a_document("a", old=1))
    await store.save_batch([a_document("a", new=2), a_document("a", kind="Setting")])
    assert [a_document("a", new=2), a_document("b", **body)] == await store.list_documents(
        "Account"
    )
    assert [a_document("a", kind="Setting")] == await store.list_documents("Setting")
    assert await store.list_documents("Nothing") == []


async def test_of_documents_added_together_all_are_told_of_one(store: StateStore) -> None:
    told = await asyncio.gather(*(store.add_document(a_document(by=n)) for n in range(8)))
    assert [told[0]] * 8 == told
    assert [told[0]] == await store.list_documents("Account")


async def test_changing_a_document_that_was_read_changes_nothing_kept(store: StateStore) -> None:
    await store.save_document(a_document(list=[1]))
    [found] = await store.list_documents("Account")
    found.body["list"].append(2)
    assert [a_document(list=[1])] == await store.list_documents("Account")


async def test_deleted_document_is_gone_and_an_absent_one_is_no_error(store: StateStore) -> None:
    await store.save_batch([a_document("a"), a_document("b")])
    for _ in range(2):
        await store.delete_document("Account", "a")
    assert [a_document("b")] == await store.list_documents("Account")


async def test_pages_miss_and_repeat_nothing_while_others_write(store: StateStore) -> None:
    await store.save_batch([a_decision(f"d{n:02}", n // 3, f"k{n % 2}") for n in range(20)])
    query = StateQuery("RoutingDecision", key_id="k1", limit=3)
    seen, cursor = [], None
    while page := await store.query_state(_after(query, cursor)):
        seen += [decision.id for decision in page]
        cursor = cursor_after(page[-1])
        await store.save_routing_decision(a_decision(f"new{len(seen)}", 100 + len(seen), "k1"))
    assert sorted(seen, reverse=True) == [f"d{n:02}" for n in reversed(range(20)) if n % 2]
    assert len(seen) == len(set(seen))


def _after(query: StateQuery, cursor: str | None) -> StateQuery:
    return StateQuery(query.entity_type, key_id=query.key_id, limit=query.limit, cursor=cursor)


@pytest.mark.parametrize("record", [a_key("k2", 2), a_quota("k2", 2), a_move(2)], ids=type)
async def test_any_kind_of_record_ends_a_page(store: StateStore, record: Any) -> None:
    before = {"APIKey": a_key, "QuotaState": a_quota}.get(type(record).__name__)
    older = before("k1", 1) if before else a_move(1)
    await store.save_batch([older, record])
    query = StateQuery(type(record).__name__, cursor=cursor_after(record))
    assert [older] == await store.query_state(query)


@pytest.mark.parametrize("cursor", ["", "no", "MTIz", "!!!", "ü", "LmE="])
async def test_what_is_no_cursor_is_refused(store: StateStore, cursor: str) -> None:
    with pytest.raises(StateStoreError, match="this is no cursor"):
        await store.query_state(StateQuery("RoutingDecision", cursor=cursor))


async def test_thousands_of_records_come_whole(store: StateStore) -> None:
    await store.save_batch([a_key(f"k{number:04}", number) for number in range(2_500)])
    assert [f"k{number:04}" for number in range(2_500)] == [k.id for k in await store.list_keys()]


async def test_decisions_that_come_as_records_are_read_as_decisions(store: StateStore) -> None:
    records = [a_record(f"r{number}", at=1_000.1 + number / 7) for number in range(90)]
    outbox = WriteBehind(store, on_error=lambda error: pytest.fail(str(error)))
    for record in records:
        outbox.put(record)
    await outbox.drain()
    wanted = [record.decision() for record in reversed(records)]
    assert wanted == await store.query_state(StateQuery("RoutingDecision"))
    first = await store.query_state(StateQuery("RoutingDecision", key_id="k1", limit=40))
    rest = StateQuery("RoutingDecision", provider_id="lab", cursor=cursor_after(first[-1]))
    assert wanted == first + await store.query_state(rest)
    assert await store.query_state(StateQuery("RoutingDecision", state="available")) == []
