"""A scenario is read whole or refused with line and field."""

import pytest

from apikeyrouter_simulator import Scenario, ScenarioError, library

pytestmark = pytest.mark.unit

TEXT = """\
providers:
  acorn:
    headers: openai
    scopes:
      team: {limits: {rpm: 60}}
    keys:
      a1:
        scope: team
conditions:
  - kind: status
    status: 503
    key: a1
"""


def test_scenario_is_read() -> None:
    scenario = Scenario.parse(TEXT)
    assert scenario.providers["acorn"].scopes["team"].limits == {"rpm": 60}
    assert scenario.conditions[0].status == 503


def test_demo_mixes_manners() -> None:
    providers = library.find("demo").providers.values()
    assert {(p.headers, p.settlement) for p in providers} == {
        ("openai", "actual"), ("remaining", "actual"), ("none", "actual"), ("openai", "never"),
    }  # fmt: skip
    assert sum(len(p.keys) for p in providers) == 7


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        pytest.param("rpm: 60", "rpmm: 60", ["scene:5:", "did you mean 'rpm'"], id="limit"),
        pytest.param("scope: team", "scope: taem", ["scene:8:", "'team'"], id="scope"),
        pytest.param("key: a1", "key: a2", ["scene:12:", "a1"], id="key"),
        pytest.param("rpm: 60", "rpm: -1", ["scene:5:", "0 or more"], id="negative"),
        pytest.param("providers:", "providers: [", ["valid YAML"], id="yaml"),
    ],
)
def test_mistake_names_line_and_what_would_be_right(right, wrong, told) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.parse(TEXT.replace(right, wrong), name="scene")
    for words in told:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        pytest.param("headers: openai", "headers: opena", ["scene:3:"], id="choice"),
        pytest.param("headers:", "header:", ["scene:3:", "did you mean 'headers'"], id="field"),
        pytest.param("scope: team", "scop: team", ["scene:8:", "'scope'"], id="key field"),
        pytest.param("status: 503", "status: x", ["scene:11:"], id="type"),
        pytest.param("key: a1", "key: a1\n    key: a1", ["scene:13:", "twice"], id="twice"),
        pytest.param("rpm: 60", "rpm: {capacty: 60}", ["scene:5:", "'capacity'"], id="limit form"),
        pytest.param("kind: status", "kind: statsu", ["scene:10:", "'status'"], id="kind"),
    ],
)
def test_mistake_of_form_names_its_own_line(right, wrong, told) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario.parse(TEXT.replace(right, wrong), name="scene")
    for words in told:
        assert words in str(caught.value)


def test_missing_file_is_told(tmp_path) -> None:
    with pytest.raises(ScenarioError, match="cannot be read"):
        Scenario.load(tmp_path / "none.yaml")


def test_limit_may_say_more_than_its_capacity() -> None:
    more = "{capacity: 60, algorithm: fixed, hidden: true, used: 10}"
    scope = (
        Scenario.parse(TEXT.replace("rpm: 60", f"rpm: {more}")).providers["acorn"].scopes["team"]
    )
    assert (scope.capacities, scope.algorithms) == ({"rpm": 60}, {"rpm": "fixed"})
    assert (scope.used, scope.untold) == ({"rpm": 10}, ["rpm"])
