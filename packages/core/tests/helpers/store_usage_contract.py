"""What every store promises of usage: each request counted once, and sums that agree with rows."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from decision_records import a_record

from apikeyrouter.domain.interfaces.state_store import (
    StateStore,
    StateStoreError,
    UsageQuery,
    UsageRow,
    UsageSum,
)
from apikeyrouter.domain.interfaces.usage_records import UsageCounts
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.infrastructure.state_store.record_store import RecordStore
from apikeyrouter.infrastructure.state_store.usage.counting import usage_row_of
from apikeyrouter.infrastructure.state_store.write_behind import WriteBehind

MIDNIGHT = datetime(2026, 11, 25, tzinfo=UTC)


def a_request(number: int, hour: float = 12.0, **fields: Any) -> DecisionRecord:
    record = a_record(f"q{number}", at=MIDNIGHT.timestamp() + hour * 3600.0 + 0.5)
    defaults: dict[str, Any] = {
        "client": "ada", "model": "m1", "outcome": "ok", "ended_at": record.arrived_at + 0.5,
        "input_tokens": 10, "output_tokens": 3, "usage": Usage(10, 3, 4, cost_usd=0.25),
    }  # fmt: skip
    for name, value in {**defaults, **fields}.items():
        setattr(record, name, value)
    return record


async def keep(store: StateStore, *records: DecisionRecord) -> None:
    outbox = WriteBehind(store, on_error=lambda error: pytest.fail(str(error)))
    for record in records:
        outbox.put(record)
    await outbox.drain()


def names_of(rows: list[UsageRow]) -> list[str]:
    return [row.request_id for row in rows]


async def test_usage_is_read_back_whole(store: StateStore) -> None:
    record = a_request(1)
    await keep(store, record)
    [row] = await store.usage_page(UsageQuery())
    assert usage_row_of(record) == row
    assert (row.client, row.model, row.outcome) == ("ada", "m1", "ok")
    assert (row.input_tokens, row.output_tokens, row.cached_tokens) == (10, 3, 4)
    assert (row.key_id, row.provider_id) == ("k1", "lab")
    assert row.cost_microusd == 250_000
    assert row.total_ms == 500
    assert row.ended_at == MIDNIGHT + timedelta(hours=12, milliseconds=500)


async def test_what_nobody_told_is_not_zero(store: StateStore) -> None:
    await keep(store, a_request(1, input_tokens=None, output_tokens=None, usage=None))
    [row] = await store.usage_page(UsageQuery())
    assert (row.input_tokens, row.output_tokens, row.cost_microusd) == (None, None, None)
    [told] = await store.usage_sums(MIDNIGHT, MIDNIGHT + timedelta(days=1))
    assert (told.counts.requests, told.counts.costed) == (1, 0)


async def _furnish(store: StateStore) -> None:
    await keep(
        store,
        a_request(1, 1.0),
        a_request(2, 2.0, client="bob"),
        a_request(3, 3.0, model="m2", outcome="rate_limited"),
        a_request(4, 3.5, client="bob", outcome="cancelled"),
        a_request(5, 24.0, client="bob", model="m2", outcome="refused", attempts=[]),
        a_request(6, 25.5),
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, "654321"),
        ({"limit": 2}, "65"),
        ({"client": "bob"}, "542"),
        ({"client": "bob", "model": "m1"}, "42"),
        ({"client": "bob", "model": "m1", "limit": 1}, "4"),
        ({"client": "nobody"}, ""),
        ({"model": "m2"}, "3"),
        ({"model": ""}, "5"),
        ({"provider_id": "lab"}, "64321"),
        ({"key_id": "k1", "client": "ada"}, "631"),
        ({"key_id": ""}, "5"),
        ({"outcome": "ok"}, "621"),
        ({"outcome": "cancelled"}, "4"),
        ({"outcome": "failed"}, "53"),
        ({"outcome": "failed", "client": "ada"}, "3"),
        ({"since": MIDNIGHT + timedelta(hours=3), "until": MIDNIGHT + timedelta(days=1)}, "43"),
        ({"until": MIDNIGHT + timedelta(hours=2, milliseconds=500)}, "1"),
        ({"since": MIDNIGHT + timedelta(hours=24, milliseconds=500)}, "65"),
    ],
)
async def test_requests_are_found_newest_first(
    store: StateStore, wanted: dict[str, Any], found: str
) -> None:
    await _furnish(store)
    rows = await store.usage_page(UsageQuery(**wanted))
    assert [f"q{number}" for number in found] == names_of(rows)


async def test_pages_of_usage_miss_and_repeat_nothing_while_others_write(
    store: StateStore,
) -> None:
    await keep(store, *(a_request(n, 1.0 + n // 3, client=f"c{n % 2}") for n in range(21)))
    query, seen = UsageQuery(client="c1", limit=3), []
    while page := await store.usage_page(query):
        seen += page
        query = replace(query, before=(page[-1].moment, page[-1].request_id))
        await keep(store, a_request(100 + len(seen), 100.0, client="c1"))
    assert sorted(names_of(seen)) == sorted(f"q{n}" for n in range(21) if n % 2)
    assert seen == sorted(seen, key=lambda row: (row.moment, row.request_id), reverse=True)


def _brief(sums: list[UsageSum]) -> list[tuple[float, tuple[str, ...], int, int]]:
    return [
        ((told.start - MIDNIGHT) / timedelta(hours=1), told.group, told.counts.requests,
         told.counts.input_tokens)
        for told in sums
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("since", "until", "asked", "found"),
    [
        (0, 48, {}, [(0, (), 4, 40), (24, (), 2, 20)]),
        (0, 24, {}, [(0, (), 4, 40)]),
        (2, 4, {}, [(0, (), 3, 30)]),
        (2.9, 3.1, {}, [(0, (), 3, 30)]),
        (3, 25, {}, [(0, (), 2, 20), (24, (), 1, 10)]),
        (-24, 72, {"group_by": ("client",)},
         [(0, ("ada",), 2, 20), (0, ("bob",), 2, 20),
          (24, ("ada",), 1, 10), (24, ("bob",), 1, 10)]),
        (0, 24, {"group_by": ("model", "client")},
         [(0, ("m1", "ada"), 1, 10), (0, ("m1", "bob"), 2, 20), (0, ("m2", "ada"), 1, 10)]),
        (0, 24, {"group_by": ("key_id", "provider_id")}, [(0, ("k1", "lab"), 4, 40)]),
        (0, 24, {"only": {"client": "bob"}}, [(0, (), 2, 20)]),
        (0, 48, {"only": {"client": "bob", "model": "m1"}, "group_by": ("client",)},
         [(0, ("bob",), 2, 20)]),
        (0, 48, {"only": {"key_id": ""}}, [(24, (), 1, 10)]),
        (3, 26, {"period": "hour"}, [(3, (), 2, 20), (24, (), 1, 10), (25, (), 1, 10)]),
        (50, 60, {}, []),
        (24, 0, {}, []),
    ],
)  # fmt: skip
async def test_sums_are_of_whole_hours_and_days(
    store: StateStore, since: float, until: float, asked: dict[str, Any], found: Any
) -> None:
    await _furnish(store)
    first, end = (MIDNIGHT + timedelta(hours=hours) for hours in (since, until))
    assert found == _brief(await store.usage_sums(first, end, **asked))


async def test_sums_tell_outcomes_tokens_and_costs_apart(store: StateStore) -> None:
    await _furnish(store)
    await keep(store, a_request(7, 4.0, usage=None))
    [day, _] = await store.usage_sums(MIDNIGHT, MIDNIGHT + timedelta(days=2))
    assert day.counts == UsageCounts(
        requests=5, failed=1, cancelled=1, input_tokens=50, output_tokens=15, cached_tokens=16,
        costed=4, cost_microusd=1_000_000,
    )  # fmt: skip


async def test_batches_that_are_written_at_once_all_count(store: StateStore) -> None:
    records = [a_request(n, n % 30, client=f"c{n % 3}") for n in range(300)]
    await asyncio.gather(*(keep(store, *records[first::10]) for first in range(10)))
    sums = await store.usage_sums(MIDNIGHT, MIDNIGHT + timedelta(days=2), group_by=["client"])
    assert sum(told.counts.requests for told in sums) == 300
    assert len(await store.usage_page(UsageQuery(limit=1_000))) == 300


async def test_batch_that_comes_again_is_counted_once(store: StateStore) -> None:
    """As after a failure that left open whether it was kept."""
    records = [a_request(number) for number in range(5)]
    await keep(store, *records[:3])
    if isinstance(store, RecordStore):
        await store.save_batch([*records, *records])
    else:
        await keep(store, *records[3:])
    [told] = await store.usage_sums(MIDNIGHT, MIDNIGHT + timedelta(days=1))
    assert len(await store.usage_page(UsageQuery())) == told.counts.requests == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "m\0\ud800\n" + "x" * 5_000},
        {"client": "ü\0"},
        {"endpoint": "\ud800"},
        {"input_tokens": 10**30, "usage": Usage(1, 1, 10**25, cost_usd=1e300)},
        {"waited_s": float("inf"), "usage": Usage(1, 1, cost_usd=float("nan"))},
        {"ended_at": None},
    ],
    ids=["model", "client", "endpoint", "tokens", "seconds", "end"],
)
async def test_odd_values_keep_nothing_from_being_counted(
    store: StateStore, fields: dict[str, Any]
) -> None:
    await keep(store, a_request(1, **fields), a_request(2))
    rows = await store.usage_page(UsageQuery())
    [told] = await store.usage_sums(MIDNIGHT, MIDNIGHT + timedelta(days=1))
    assert len(rows) == told.counts.requests == 2


@pytest.mark.parametrize(
    "asked", [{"period": "week"}, {"group_by": ["secret"]}, {"only": {"x": "y"}}]
)
async def test_sums_that_are_not_kept_are_refused(store: StateStore, asked: dict[str, Any]) -> None:
    with pytest.raises(StateStoreError, match=r"no period 'week'|not kept by '(secret|x)'"):
        await store.usage_sums(MIDNIGHT, MIDNIGHT, **asked)
