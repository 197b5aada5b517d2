"""Conditions change scopes at their own moments, whoever asks when."""

import pytest

from apikeyrouter_simulator import Scenario, ScenarioError
from apikeyrouter_simulator.quotas.limits import Admission
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


TWO = {
    "providers": {
        "p": {
            "keys": {"k": {"scope": "s"}, "l": {"scope": "t"}},
            "scopes": {"s": {"limits": {"rpm": 60}}, "t": {"limits": {"rpm": 30}}},
        }
    }
}


def test_key_that_moved_is_charged_to_its_new_scope() -> None:
    world = World(Scenario.from_dict(TWO), 0.0)
    world.add(Condition(kind="move", key="l", to="s", after_s=10, for_s=10), 0.0)
    key, served = world.keys["p", "l"], []
    for moment in (5, 15, 25):
        world.advance(moment)
        served.append(key.scope.name)
        got = world.admit(key, 1, 1, moment)
        assert isinstance(got, Admission)
        world.settle(key, got, (1, 1), moment, "accepted")
    assert served == ["t", "s", "t"]
    assert [scope.tally.accepted for scope in world.scopes.values()] == [1, 2]


def test_call_under_way_ends_where_it_was_charged() -> None:
    world = World(Scenario.from_dict(TWO), 0.0)
    key = world.keys["p", "l"]
    got = world.admit(key, 1, 1, 0.0)
    assert isinstance(got, Admission)
    world.add(Condition(kind="move", key="l", to="s"), 0.0)
    world.advance(1.0)
    world.settle(key, got, (1, 1), 1.0, "accepted")
    assert [scope.tally.accepted for scope in world.scopes.values()] == [0, 1]


@pytest.mark.parametrize(
    ("moved", "ideal"),
    [
        pytest.param({}, 60 + 60 + 30 + 30, id="apart"),
        pytest.param({"key": "l", "to": "s"}, 60 + 60, id="joined"),
        pytest.param({"key": "l", "to": "s", "after_s": 30}, 60 + 60 + 30 + 15, id="joined later"),
        pytest.param(
            {"key": "l", "to": "s", "for_s": 30},
            60 + 60 + 30 + 15,
            id="parted afresh",
        ),
    ],
)
def test_scope_gives_while_a_key_draws_on_it(moved, ideal) -> None:
    world = World(Scenario.from_dict(TWO), 0.0)
    if moved:
        world.add(Condition(kind="move", **moved), 0.0)
    world.advance(0.0)
    for key in world.keys.values():
        assert isinstance(world.admit(key, 1, 1, 0.0), Admission)
    assert world.goodput(60.0).ideal == ideal


def test_what_is_so_from_the_start_is_so_before_the_first_call() -> None:
    move = {"kind": "move", "key": "l", "to": "s"}
    world = World(Scenario.from_dict({**TWO, "conditions": [move]}), 0.0)
    world.advance(0.5)
    assert world.goodput(60.0).ideal == 120


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"key": "k", "to": "u"}, "unknown to 'u'"),
        ({"key": "k"}, "to: should be a scope of provider 'p'"),
        ({"to": "s"}, "key: should name the key that moves"),
    ],
)
def test_move_that_cannot_be_is_told(fields, told) -> None:
    with pytest.raises(ScenarioError, match=told):
        Scenario.from_dict({**TWO, "conditions": [{"kind": "move", **fields}]})
