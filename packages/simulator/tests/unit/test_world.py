"""Conditions change scopes at their own moments, whoever asks when."""

import pytest

from apikeyrouter_simulator import Scenario
from apikeyrouter_simulator.scenario import Condition
from apikeyrouter_simulator.world import World

pytestmark = pytest.mark.unit

DATA = {
    "providers": {"p": {"keys": {"k": {"scope": "s"}}, "scopes": {"s": {"limits": {"rpm": 60}}}}}
}


def room_at(moment: float, *conditions: Condition) -> float:
    """Return what is left of 60 requests a minute at a moment after the start."""
    world = World(Scenario.from_dict(DATA), 0.0)
    for condition in conditions:
        world.add(condition, 0.0)
    world.advance(moment)
    limits = world.scopes["p", "s"].limits
    limits.advance(moment)
    (reading,) = limits.readings()
    return reading.remaining


@pytest.mark.parametrize(
    ("fields", "moment", "room"),
    [
        ({"kind": "limit", "limits": {"rpm": 30}, "after_s": 10}, 9, 60),
        ({"kind": "limit", "limits": {"rpm": 30}, "after_s": 10}, 10, 30),
        ({"kind": "limit", "factor": 0.5}, 10, 30),
        ({"kind": "limit", "factor": 0.5, "for_s": 10}, 20, 60),
        ({"kind": "consume", "amount": 50, "after_s": 10}, 15, 15),
        ({"kind": "consume", "per_second": 3, "after_s": 10, "for_s": 10}, 20, 40),
        ({"kind": "consume", "per_second": 3, "after_s": 10, "for_s": 10}, 30, 50),
        ({"kind": "consume", "per_second": 3, "dimension": "tokens"}, 10, 60),
    ],
    ids=str,
)
def test_scope_is_as_its_conditions_left_it(fields, moment, room) -> None:
    assert room_at(moment, Condition(**fields)) == pytest.approx(room)
