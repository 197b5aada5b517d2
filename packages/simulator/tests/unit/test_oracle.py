"""The ideal is what nobody can beat, and what a perfect client nearly gets."""

import heapq
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter_simulator import Scenario
from apikeyrouter_simulator.quotas.limits import CHARGES, Admission, Ask
from apikeyrouter_simulator.quotas.oracle import Goodput
from apikeyrouter_simulator.world import SimKey, World

pytestmark = pytest.mark.unit

#: Input tokens, cap, output tokens and seconds of one call.
Call = tuple[int, int, int, float]


def world_of(*scopes: dict[str, Any], **facts: Any) -> World:
    names = [f"s{n}" for n in range(len(scopes))]
    provider = {
        "scopes": dict(zip(names, scopes, strict=True)),
        "keys": {name: {"scope": name} for name in names},
        **{name: value for name, value in facts.items() if name != "conditions"},
    }
    data = {"providers": {"p": provider}, "conditions": facts.get("conditions", [])}
    return World(Scenario.from_dict(data), 0.0)


class PerfectClients:
    """So many clients that ask again at once, and know of every key when it has room."""

    def __init__(self, world: World, calls: Iterator[Call], clients: int) -> None:
        self._world = world
        self._calls = calls
        self._idle = clients
        self._running: list[tuple[float, int, SimKey, Admission, Call]] = []
        self._number = 0
        self._next = next(calls)

    def run(self, seconds: float, *, step_s: float = 0.05) -> Goodput:
        """Ask for so long; look again whenever a call ends, at latest after a step."""
        clients, now = self._idle, 0.0
        while now < seconds:
            self._world.advance(now)
            while self._idle and self._admit(now):
                pass
            ends = self._running[0][0] if self._running else seconds
            now = min(seconds, ends, now + step_s)
            self._finish(now)
        return self._world.goodput(seconds, clients=clients)

    def _admit(self, now: float) -> bool:
        """Start the next call on any key that has room."""
        given, cap, made, lasts_s = self._next
        for key in self._world.keys.values():
            charge = CHARGES[key.facts.charge](Ask(given, cap, made))
            got = self._world.admit(key, charge, given, now, lasts_s=lasts_s)
            if isinstance(got, Admission):
                self._number += 1
                entry = (now + lasts_s, self._number, key, got, self._next)
                heapq.heappush(self._running, entry)
                self._idle -= 1
                self._next = next(self._calls)
                return True
        return False

    def _finish(self, now: float) -> None:
        while self._running and self._running[0][0] <= now:
            at, _, key, admission, (given, _, made, _) = heapq.heappop(self._running)
            self._world.settle(key, admission, (given, made), at, "accepted")
            self._idle += 1


def alike(call: Call = (100, 100, 50, 0.2)) -> Iterator[Call]:
    while True:
        yield call


def mixed(seed: int) -> Iterator[Call]:
    chance = random.Random(seed)
    while True:
        cap = chance.choice((40, 100, 300))
        made = chance.randint(1, cap)
        yield chance.randint(10, 400), cap, made, chance.choice((0.05, 0.3, 1.0, 3.0))


BUCKETS: dict[str, Callable[[], World]] = {
    "bucket": lambda: world_of({"limits": {"rpm": 300}}, {"limits": {"rpm": 90}}),
    "fixed minute": lambda: world_of(
        {"limits": {"rpm": 300}, "algorithm": "fixed", "first_reset_s": 25}
    ),
    "sliding minute": lambda: world_of({"limits": {"rpm": 300}, "algorithm": "rolling"}),
    "tokens, settled": lambda: world_of({"limits": {"tpm": 30_000}}, charge="sum"),
    "tokens, kept": lambda: world_of({"limits": {"tpm": 40_000}}, charge="sum", settles="never"),
    "tokens when done": lambda: world_of({"limits": {"tpm": 30_000}}, settles="done"),
    "calls at once": lambda: world_of(
        {"limits": {"concurrency": 2}}, {"limits": {"concurrency": 3}}
    ),
    "another user": lambda: world_of(
        {"limits": {"rpm": 300}}, conditions=[{"kind": "consume", "amount": 5, "every_s": 3}]
    ),
    "halved": lambda: world_of(
        {"limits": {"rpm": 300}}, conditions=[{"kind": "limit", "factor": 0.5, "after_s": 30}]
    ),
    "nothing limited": lambda: world_of({"limits": {"rpm": 1e9}}),
}  # fmt: skip


@pytest.mark.parametrize("seconds", [57.0, 60.0, 61.0, 85.0, 90.0])
@pytest.mark.parametrize("name", BUCKETS)
def test_perfect_client_nearly_reaches_the_ideal(name: str, seconds: float) -> None:
    """The yardstick is no longer than a client can be tall."""
    goodput = PerfectClients(BUCKETS[name](), alike(), clients=16).run(seconds)
    assert 0.98 <= goodput.share <= 1.0 + 1e-9


SCOPES = st.fixed_dictionaries(
    {
        "limits": st.dictionaries(
            st.sampled_from(("rpm", "tpm", "itpm", "otpm", "concurrency")),
            st.sampled_from((1, 7, 60, 1000, 20_000)),
            min_size=1,
        ),
        "algorithm": st.sampled_from(("token_bucket", "fixed", "rolling")),
        "first_reset_s": st.sampled_from((0.0, 7.0, 25.0)),
    }
)
CONDITIONS = st.lists(
    st.sampled_from(
        (
            {"kind": "limit", "factor": 0.5, "after_s": 20.0},
            {"kind": "limit", "factor": 3.0, "after_s": 10.0, "for_s": 35.0},
            {"kind": "consume", "fraction": 0.3},
            {"kind": "consume", "amount": 5.0, "every_s": 3.0},
            {"kind": "consume", "amount": 500.0, "dimension": "tokens", "after_s": 30.0},
        )
    ),
    max_size=2,
)


@settings(max_examples=60, deadline=None)
@given(
    scopes=st.lists(SCOPES, min_size=1, max_size=3),
    conditions=CONDITIONS,
    charge=st.sampled_from(tuple(CHARGES)),
    settles=st.sampled_from(("actual", "never", "done")),
    seed=st.integers(0, 99),
    clients=st.sampled_from((1, 4, 16)),
)
def test_nobody_gets_more_than_the_ideal(
    scopes, conditions, charge, settles, seed, clients
) -> None:
    """Not even a client that knows of every key when it has room."""
    world = world_of(*scopes, charge=charge, settles=settles, conditions=conditions)
    goodput = PerfectClients(world, mixed(seed), clients).run(75.0, step_s=0.5)
    assert goodput.served <= goodput.ideal * (1 + 1e-9)
    for bound in goodput.bounds.values():
        assert bound.served <= bound.ideal * (1 + 1e-9)


def test_key_that_was_never_asked_counts_with_the_usual_size() -> None:
    world = world_of({"limits": {"tpm": 1000}}, {"limits": {"tpm": 3000}}, charge="sum")
    asked = world.keys["p", "s0"]
    got = world.admit(asked, 100, 50, 0.0)
    assert isinstance(got, Admission)
    assert [round(b.ideal) for b in world.goodput(0.0).bounds.values()] == [10, 30]


def test_only_whole_calls_are_ideal() -> None:
    world = world_of({"limits": {"rpm": 3}})
    world.admit(world.keys["p", "s0"], 1, 1, 0.0)
    assert [world.goodput(at).ideal for at in (19.0, 21.0)] == [3, 4]


def test_clients_need_a_while_for_what_is_given_at_once() -> None:
    """A minute ends at 25 s; a second later two clients with calls of half a second had four."""
    world = world_of({"limits": {"rpm": 30}, "algorithm": "fixed", "first_reset_s": 25})
    goodput = PerfectClients(world, alike((10, 10, 10, 0.5)), clients=2).run(26.0)
    assert (goodput.served, goodput.ideal) == (34, 34)


def test_cancelled_call_was_charged_but_not_served() -> None:
    world = world_of({"limits": {"tpm": 1000}}, charge="sum", settles="never")
    for outcome in ("accepted", "cancelled"):
        got = world.admit(world.keys["p", "s0"], 100, 50, 0.0)
        assert isinstance(got, Admission)
        world.settle(world.keys["p", "s0"], got, (50, 0), 0.0, outcome)
    assert (world.goodput(0.0).served, round(world.goodput(0.0).ideal)) == (1, 10)


def test_calls_that_outlast_a_lowered_limit_had_their_slots() -> None:
    world = world_of(
        {"limits": {"concurrency": 2}},
        conditions=[{"kind": "limit", "limits": {"concurrency": 1}, "after_s": 10}],
    )
    for _ in range(2):
        assert isinstance(world.admit(world.keys["p", "s0"], 1, 1, 0.0, lasts_s=60.0), Admission)
    assert world.goodput(60.0).ideal == 2


def test_call_that_was_cut_short_counts_with_the_time_it_took() -> None:
    world = world_of({"limits": {"concurrency": 1}})
    got = world.admit(world.keys["p", "s0"], 1, 1, 0.0, lasts_s=10.0)
    assert isinstance(got, Admission)
    world.settle(world.keys["p", "s0"], got, (1, 0), 1.0, "cancelled")
    assert world.goodput(10.0).ideal == 10
