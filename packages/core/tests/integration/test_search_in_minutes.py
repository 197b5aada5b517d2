"""Undisclosed limits over minutes of virtual time: what is believed, and what the search costs.

The providers of the simulator tell nothing; its oracle knows what an ideal client would have got.
"""

import asyncio
import importlib
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter_simulator import Scenario

pytestmark = pytest.mark.integration
_FOLDER = Path(__file__).parents[4] / "benchmarks"


def _load() -> ModuleType:
    # The benchmark finds its neighbours as a script does.
    sys.path.append(str(_FOLDER))
    return importlib.import_module("goodput")


goodput = _load()


def scenario(limits: dict[str, float], *, keys: int = 3, **facts: Any) -> Scenario:
    """Return one provider that tells nothing, its keys each with these limits."""
    names = [f"k{number}" for number in range(keys)]
    scope = {"limits": limits, "algorithm": facts.pop("algorithm", "token_bucket")}
    lasts = {"first_token_s": facts.pop("latency_s", 0.2), "first_token_spread": 0.5}
    provider = {
        "headers": "none",
        "refusals": "bare",
        "reply": lasts,
        "scopes": dict.fromkeys(names, scope),
        "keys": {name: {"scope": name} for name in names},
    }
    return Scenario.from_dict({"providers": {"p": provider | facts}})


async def _believe(simulator: Any, clients: int, seconds: float) -> tuple[Any, list[set[str]]]:
    router = await goodput.start(simulator, goodput.TABLE["no-hint"])
    world = simulator.app.world
    world.reset(simulator.now())
    async with goodput.asking(router, clients, []):
        await asyncio.sleep(seconds)
        summary = router.get_state_summary()
        got = world.goodput(simulator.now(), clients=clients)
        refused = world.stats(simulator.now())["totals"]["refused"]
    believed = [{w["algorithm"] for w in scope["windows"]} for scope in summary["scopes"]]
    return (got, refused), believed


def run(world: Scenario, clients: int, seconds: float) -> tuple[float, int, int, list[set[str]]]:
    """Return goodput, calls served and refused, and by what algorithms every scope is limited."""
    simulator = goodput.VirtualSimulator(world)
    (got, refused), believed = goodput.virtual_time.run(
        lambda: _believe(simulator, clients, seconds)
    )
    return got.share, got.served, refused, believed


@pytest.mark.parametrize(
    ("limits", "algorithm", "latency_s", "explains", "does_not"),
    [
        ({"concurrency": 3}, "token_bucket", 0.4, {"concurrent"}, {"token bucket", "rolling"}),
        ({"concurrency": 2}, "token_bucket", 2.0, {"concurrent"}, {"token bucket", "rolling"}),
        ({"rpm": 120}, "token_bucket", 0.2, {"token bucket"}, {"rolling"}),
        ({"rpm": 120}, "rolling", 0.2, {"rolling"}, {"token bucket"}),
    ],
    ids=["calls at once", "slow calls at once", "a pace", "a rolling minute"],
)
def test_explanation_is_the_one_that_predicts_what_is_let_in(
    limits: dict[str, float],
    algorithm: str,
    latency_s: float,
    explains: set[str],
    does_not: set[str],
) -> None:
    world = scenario(limits, algorithm=algorithm, latency_s=latency_s)
    share, served, refused, believed = run(world, 12, 150.0)
    assert all(explains <= windows for windows in believed)
    assert not any(does_not & windows for windows in believed)
    assert share >= 0.9
    assert refused <= max(18, 0.03 * served)


def test_siblings_are_tried_with_what_one_account_has_shown() -> None:
    """Twelve keys are refused three times each at most, and one for all when it is tried again."""
    many = run(scenario({"rpm": 90}, keys=12, algorithm="rolling"), 32, 90.0)
    assert many[2] <= 3 * 12 + 3


def test_long_calls_to_an_own_server_all_begin_within_half_a_minute() -> None:
    """One key, two hundred calls of ten seconds, and nobody has answered when most begin."""
    world = scenario({}, keys=1, latency_s=10.0)
    _, served, refused, _ = run(world, 200, 30.0)
    assert (served >= 200, refused) == (True, 0)


@pytest.mark.parametrize("row", ["no-hint-doubled", "doubled", "halved"])
def test_within_two_windows_of_a_change_what_is_possible_gets_through(row: str) -> None:
    wishes = goodput.Wishes(seconds=360.0, is_virtual=True, every_s=180.0, scale=0.5)
    counts = goodput.counts_of(goodput.FURTHER[row], wishes)
    half, end = counts.periods
    assert end.served - half.served >= 0.9 * (end.ideal - half.ideal)
    assert end.refused - half.refused <= 0.04 * (end.served - half.served) + 6
    assert not counts.failures


@pytest.mark.parametrize("row", ["no-hint", "sliding-minute", "calls-at-once"])
def test_nothing_swings_over_ten_minutes(row: str) -> None:
    wishes = goodput.Wishes(seconds=600.0, is_virtual=True, every_s=60.0, scale=0.3, clients=8)
    periods = goodput.counts_of(goodput.TABLE[row], wishes).periods
    for before, after in pairwise(periods[1:]):
        served, ideal = after.served - before.served, after.ideal - before.ideal
        assert served >= 0.85 * ideal
        assert after.refused - before.refused <= 0.03 * served + 4


def test_hidden_calls_at_once_beside_a_hidden_pace_are_not_called_without_end() -> None:
    world = scenario({"rpm": 30.0, "concurrency": 2.0}, keys=2, latency_s=0.4)
    share, _, refused, _ = run(world, 8, 60.0)
    assert share >= 0.9
    assert refused <= 20


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    rpm=st.sampled_from([30, 90, 300, 900]),
    algorithm=st.sampled_from(["token_bucket", "fixed", "rolling"]),
    calls=st.sampled_from([None, 2, 6]),
    keys=st.integers(1, 5),
    clients=st.sampled_from([4, 16]),
    latency_s=st.sampled_from([0.05, 0.4, 2.0]),
)
def test_whatever_the_manner_most_of_what_is_possible_gets_through(
    rpm: int, algorithm: str, calls: int | None, keys: int, clients: int, latency_s: float
) -> None:
    limits = {"rpm": float(rpm)} | ({"concurrency": float(calls)} if calls else {})
    world = scenario(limits, keys=keys, algorithm=algorithm, latency_s=latency_s)
    share, served, refused, _ = run(world, clients, 120.0)
    assert share >= 0.8
    assert refused <= 6 * keys + 0.05 * served
