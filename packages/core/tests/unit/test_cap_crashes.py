"""Processes that share a cap and are killed at any moment never spend more than it."""

import asyncio
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.domain.costs.cap_account import CapAccount
from apikeyrouter.domain.interfaces.state_store import Document
from apikeyrouter.domain.ledger.capped_window import CappedWindow
from apikeyrouter.domain.ledger.ledger import Hold
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.domain.limits.periods import Period
from apikeyrouter.infrastructure.caps.lender import Lender
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore

pytestmark = pytest.mark.unit

NOON = 1_795_694_400.0


class SteppedStore(InMemoryStateStore):
    """A store that does nothing until it is told to; an answer may never come."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: deque[asyncio.Future[None]] = deque()

    async def _step(self) -> None:
        step = asyncio.get_running_loop().create_future()
        self.steps.append(step)
        await step

    async def get_document(self, kind: str, document_id: str) -> Document | None:
        await self._step()
        found = await super().get_document(kind, document_id)
        await self._step()
        return found

    async def swap_document(self, document: Document, *, expect: int | None) -> bool:
        await self._step()
        taken = await super().swap_document(document, expect=expect)
        await self._step()
        return taken

    def go_on(self, which: int) -> None:
        waiting = [step for step in self.steps if not step.done()]
        if waiting:
            waiting[which % len(waiting)].set_result(None)
        self.steps = deque(step for step in self.steps if not step.done())


class Process:
    """One process: a window, its lender, and the calls that are under way."""

    def __init__(self, world: "World") -> None:
        self.world = world
        period = Period(world.period)
        self.window = CappedWindow("c", Dimension.REQUESTS, world.cap, period, world.now)
        self.account = CapAccount("client 'c'")
        self.account.windows.append(self.window)
        self.lender = Lender(
            self.window, world.store, lambda: world.now,
            on_granted=lambda: None, on_error=lambda _: None,
        )  # fmt: skip
        self.window.on_low = lambda _: self.lender.start()
        self.holds: list[tuple[Hold, float, int]] = []

    def spend(self, amount: int) -> None:
        amounts = [float(amount)] + [0.0] * 7
        if self.account.shortfall(amounts, self.world.now) is None:
            hold = self.account.take(amounts, self.world.now)
            turn = self.window.turn.number
            self.holds.append((hold, amount, turn))
            self.world.spent[turn] = self.world.spent.get(turn, 0.0) + amount

    def settle(self, used: int) -> None:
        if self.holds:
            hold, amount, turn = self.holds.pop()
            actual = min(amount, used)
            self.account.end(hold, [float(actual)] + [0.0] * 7, self.world.now)
            self.world.spent[turn] -= amount - actual

    async def die(self) -> None:
        task = self.lender._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class World:
    def __init__(self, cap: int, period: str) -> None:
        self.cap, self.period, self.now = cap, period, NOON
        self.store = SteppedStore()
        self.spent: dict[int, float] = {}
        self.processes = [Process(self), Process(self)]

    async def do(self, action: str, which: int, amount: int) -> None:
        process = self.processes[which % 2]
        if action == "spend":
            process.spend(amount)
        elif action == "settle":
            process.settle(amount - 1)
        elif action == "step":
            self.store.go_on(which)
        elif action == "wait":
            self.now += amount * 1800.0
        elif action == "crash":
            await process.die()
            self.processes[which % 2] = Process(self)
        elif action == "stop":
            leaving = asyncio.ensure_future(process.lender.close())
            while not leaving.done():
                self.store.go_on(0)
                await asyncio.sleep(0)
            self.processes[which % 2] = Process(self)
        for _ in range(6):
            await asyncio.sleep(0)

    def is_within(self) -> bool:
        reach = 24 if self.processes[0].window.period.is_rolling else 0
        return all(
            sum(spent for other, spent in self.spent.items() if turn - reach <= other <= turn)
            <= self.cap
            for turn in self.spent
        )


#: Who, how much, how many steps the store makes meanwhile, and what happens then.
ACTIONS = st.tuples(
    st.integers(0, 1),
    st.integers(1, 4),
    st.integers(0, 7),
    st.sampled_from(["", "", "settle", "crash", "crash", "stop", "wait"]),
)


@given(
    cap=st.sampled_from([3, 10, 40]),
    period=st.sampled_from(["daily", "total", "5h"]),
    actions=st.lists(ACTIONS, max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_cap_is_never_exceeded_whatever_happens_when(
    cap: int, period: str, actions: list[tuple[int, int, int, str]]
) -> None:
    async def play() -> None:
        world = World(cap, period)
        for which, amount, steps, end in actions:
            await world.do("spend", which, amount)
            for _ in range(steps):
                await world.do("step", which, amount)
            await world.do("spend", which, amount)
            await world.do(end, which, amount)
            assert world.is_within(), world.spent
        for process in world.processes:
            await process.die()

    asyncio.run(play())


async def _settle_down(world: World) -> None:
    while world.store.steps:
        await world.do("step", 0, 1)


async def test_block_of_a_turn_that_is_over_is_not_spent_in_the_next() -> None:
    world = World(2, "minutely")
    await world.do("spend", 0, 1)
    await world.do("wait", 0, 1)
    await _settle_down(world)
    for which in (0, 1, 0, 1, 0, 1):
        await world.do("spend", which, 1)
        await _settle_down(world)
    assert list(world.spent.values()) == [2]


async def test_rolling_cap_counts_what_was_spent_a_while_ago() -> None:
    world = World(3, "5h")
    for _ in range(24):
        for which in (0, 1):
            await world.do("spend", which, 1)
            await _settle_down(world)
            await world.do("spend", which, 1)
        world.now += 1500.0
    assert world.is_within()
    # As much as fits into ten hours, each of which begins a slice late at most.
    assert 6 <= sum(world.spent.values()) <= 9


async def _spend_all(process: Process, store: Any) -> int:
    spent = 0
    for _ in range(10_000):
        before = len(process.holds)
        process.spend(1)
        spent += len(process.holds) - before
        if len(process.holds) == before:
            task = process.lender.start()
            while task is not None and not task.done():
                store.go_on(0)
                await asyncio.sleep(0)
            if process.window.left < 1 and process.window.room(process.world.now) < 1:
                return spent
    raise AssertionError("it never ends")


@pytest.mark.parametrize("cap", [1, 7, 100, 5000])
async def test_whole_cap_is_given_out_to_the_last_unit(cap: int) -> None:
    world = World(cap, "total")
    assert await _spend_all(world.processes[0], world.store) == cap


@pytest.mark.parametrize("cap", [100, 5000])
async def test_crash_costs_a_fiftieth_of_the_cap_at_most_and_a_clean_stop_nothing(cap: int) -> None:
    world = World(cap, "total")
    for number in range(10):
        for _ in range(cap // 50):
            await world.do("spend", 0, 1)
            while world.store.steps:
                world.store.go_on(0)
                await asyncio.sleep(0)
        await world.do("stop" if number % 2 else "crash", 0, 1)
    spent = sum(world.spent.values())
    lost = cap - spent - await _spend_all(world.processes[1], world.store)
    assert 0 <= lost <= 5 * cap / 50


async def test_processes_that_share_a_cap_each_get_of_it() -> None:
    world = World(1000, "daily")
    spent = [0, 0]
    for number in range(3000):
        process = world.processes[number % 2]
        before = len(process.holds)
        await world.do("spend", number % 2, 1)
        spent[number % 2] += len(process.holds) - before
        while world.store.steps:
            world.store.go_on(0)
            await asyncio.sleep(0)
    assert sum(spent) == 1000
    assert min(spent) >= 450
