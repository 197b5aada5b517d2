"""What traffic produces reaches the store: past bad records, through outages, bounded."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from apikeyrouter.domain.interfaces.state_store import StateQuery, StateStore, StoredRecord
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.routing_decision import RoutingObjective
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.errors import StateStoreError
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore
from apikeyrouter.infrastructure.state_store.write_behind import WriteBehind

pytestmark = pytest.mark.unit


def a_move(name: str) -> StateTransition:
    return StateTransition(
        id=name,
        entity_type="APIKey",
        entity_id=name,
        from_state="available",
        to_state="throttled",
        transition_timestamp=datetime(2026, 11, 25, tzinfo=UTC),
    )


def a_decision(name: str) -> DecisionRecord:
    return DecisionRecord(
        request_id=name, model="m", client="", objective=RoutingObjective(), arrived_at=0.0
    )


class Store(InMemoryStateStore):
    """Keeps what it is given, unless told to refuse; shows the batches that came."""

    def __init__(self, refuses: Callable[[str], Exception | None] = lambda _: None) -> None:
        super().__init__()
        self.refuses = refuses
        self.calls: list[list[str]] = []
        self.kept: list[str] = []

    def keep_decision(self, make: Callable[[], Any]) -> bool:
        return False

    async def save_batch(self, records: Sequence[StoredRecord]) -> None:
        names = [_name_of(record) for record in records]
        self.calls.append(names)
        await asyncio.sleep(0)
        for name in names:
            if error := self.refuses(name):
                raise error
        self.kept += names
        await super().save_batch(records)


def _name_of(record: StoredRecord) -> str:
    return record.request_id if hasattr(record, "request_id") else record.id


class Pauses:
    """Sleeps that take no time, and what they were."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.on_sleep: Callable[[int], None] = lambda _: None

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.on_sleep(len(self.seconds))
        await asyncio.sleep(0)


class Behind:
    """A queue before *store*, with what it told."""

    def __init__(self, store: StateStore, *, most: int = 10_000) -> None:
        self.errors: list[Exception] = []
        self.pauses = Pauses()
        self.queue = WriteBehind(store, on_error=self.errors.append, most=most, sleep=self.pauses)

    async def settle(self) -> None:
        """Let the task come to its end."""
        for _ in range(10_000):
            if not self.queue.waiting:
                return
            await asyncio.sleep(0)
        raise AssertionError("it never ends")


async def test_what_was_put_is_read_from_the_store_without_being_asked_to_write() -> None:
    store = Store()
    behind = Behind(store)
    behind.queue.put(a_move("m1"))
    behind.queue.put(a_decision("r1"))
    await behind.settle()
    moves = await store.query_state(StateQuery("StateTransition"))
    decisions = await store.query_state(StateQuery("RoutingDecision"))
    assert ([move.id for move in moves], [d.request_id for d in decisions]) == (["m1"], ["r1"])


async def test_records_go_in_few_batches_in_their_order() -> None:
    store = Store()
    behind = Behind(store)
    names = [f"m{number}" for number in range(1100)]
    for name in names:
        behind.queue.put(a_move(name))
    await behind.settle()
    assert [len(call) for call in store.calls] == [512, 512, 76]
    assert (store.kept, behind.queue.dropped, behind.pauses.seconds) == (names, 0, [0.1])


async def test_all_decisions_of_a_busy_service_are_written_after_one_pause() -> None:
    store = Store()
    behind = Behind(store)
    names = [f"r{number}" for number in range(1100)]
    for name in names:
        behind.queue.put(a_decision(name))
    await behind.settle()
    assert [len(call) for call in store.calls] == [512, 512, 76]
    assert (store.kept, behind.queue.dropped, behind.pauses.seconds) == (names, 0, [0.1])


async def test_all_decisions_are_written_at_the_end() -> None:
    store = Store()
    behind = Behind(store)
    for number in range(150):
        behind.queue.put(a_decision(f"r{number}"))
    await behind.queue.drain()
    assert (len(store.kept), behind.queue.waiting) == (150, 0)


async def test_key_is_written_as_it_was_when_it_was_put() -> None:
    store = InMemoryStateStore()
    behind = Behind(store)
    key = APIKey(id="k", provider_id="p", key_material="sealed", created_at=datetime.now(UTC))
    behind.queue.put(key)
    key.usage_count = 7
    await behind.queue.drain()
    kept = await store.get_key("k")
    assert kept is not None
    assert kept.usage_count == 0


@pytest.mark.parametrize(
    "error",
    [StateStoreError("no"), ValueError("no"), KeyError("no"), RecursionError("no")],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("bad", [["r0"], ["r3"], ["r9"], ["r0", "r1", "r5"]], ids=str)
async def test_bad_record_blocks_none_of_the_others(error: Exception, bad: list[str]) -> None:
    store = Store(lambda name: error if name in bad else None)
    behind = Behind(store)
    names = [f"r{number}" for number in range(10)]
    for name in names:
        behind.queue.put(a_decision(name))
    await behind.settle()
    assert sorted(store.kept) == [name for name in names if name not in bad]
    assert behind.queue.dropped == len(bad)
    assert error in behind.errors


async def test_bad_record_that_stands_alone_goes_once_others_are_taken() -> None:
    store = Store(lambda name: ValueError("no") if name == "bad" else None)
    behind = Behind(store)
    behind.queue.put(a_decision("bad"))
    behind.pauses.on_sleep = lambda times: (
        behind.queue.put(a_decision("r1")) if times == 4 else None
    )
    await behind.settle()
    assert (store.kept, behind.queue.dropped) == (["r1"], 1)


async def test_record_that_cannot_be_told_blocks_none_of_the_others() -> None:
    class Broken(DecisionRecord):
        def decision(self) -> Any:
            raise AttributeError("it has no end")

    store = Store()
    behind = Behind(store)
    broken = Broken(
        request_id="b", model="m", client="", objective=RoutingObjective(), arrived_at=0.0
    )
    for record in (a_decision("r1"), broken, a_decision("r2")):
        behind.queue.put(record)
    await behind.settle()
    assert (store.kept, behind.queue.dropped) == (["r1", "r2"], 1)


async def test_store_that_fails_is_asked_again_after_growing_pauses_and_told_of_once() -> None:
    down = [OSError("connection refused")]
    store = Store(lambda _: down[0] if down else None)
    behind = Behind(store)
    names = [f"r{number}" for number in range(20)]
    for name in names:
        behind.queue.put(a_decision(name))
    behind.pauses.on_sleep = lambda times: down.clear() if times == 10 else None
    await behind.settle()
    assert sorted(store.kept) == sorted(names)
    assert behind.queue.dropped == 0
    assert behind.pauses.seconds == [0.1, 0.5, 1.0, *(2.0,) * 7]
    assert len(behind.errors) == 1
    assert len(store.calls) < 50


async def test_task_outlives_a_failure_and_writes_what_comes_later() -> None:
    down = [OSError("connection refused")]
    store = Store(lambda _: down.pop() if down else None)
    behind = Behind(store)
    behind.queue.put(a_decision("r1"))
    await behind.settle()
    behind.queue.put(a_decision("r2"))
    await behind.settle()
    assert store.kept == ["r1", "r2"]


async def test_full_queue_drops_the_oldest_decisions_counts_them_and_keeps_moves() -> None:
    store = Store()
    behind = Behind(store, most=3)
    behind.queue.put(a_move("m1"))
    for number in range(5):
        behind.queue.put(a_decision(f"r{number}"))
    await behind.settle()
    assert store.kept == ["m1", "r2", "r3", "r4"]
    assert behind.queue.dropped == 2


async def test_draining_writes_what_waits_at_once() -> None:
    store = Store()
    behind = Behind(store)
    behind.queue.put(a_decision("r1"))
    await behind.queue.drain()
    assert (store.kept, behind.pauses.seconds) == (["r1"], [])


async def test_draining_in_the_middle_of_a_batch_loses_nothing() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Store):
        async def save_batch(self, records: Sequence[StoredRecord]) -> None:
            entered.set()
            await go_on.wait()
            await super().save_batch(records)

    store = Slow()
    behind = Behind(store)
    behind.queue.put(a_decision("r1"))
    await entered.wait()
    behind.queue.put(a_decision("r2"))
    go_on.set()
    await behind.queue.drain()
    assert (store.kept, behind.queue.dropped) == (["r1", "r2"], 0)


async def test_draining_into_a_dead_store_ends_in_time_and_counts_what_is_lost() -> None:
    class Hung(Store):
        async def save_batch(self, records: Sequence[StoredRecord]) -> None:
            await asyncio.Event().wait()

    behind = Behind(Hung())
    for number in range(4):
        behind.queue.put(a_decision(f"r{number}"))
    await behind.queue.drain(within_s=0.05)
    assert (behind.queue.waiting, behind.queue.dropped) == (0, 4)


def test_what_was_put_before_a_loop_runs_is_written_on_drain() -> None:
    store = Store()
    behind = Behind(store)
    behind.queue.put(a_decision("r1"))
    asyncio.run(behind.queue.drain())
    assert store.kept == ["r1"]
