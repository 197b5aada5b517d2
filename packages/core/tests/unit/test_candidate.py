"""Keys of one scope take turns, rest, and come back."""

import pytest

from apikeyrouter.domain.failures.circuit import Circuit
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Ledger, Scope
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.domain.models.routing_decision import RoutingObjective, instant
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.scoring import make_score

pytestmark = pytest.mark.unit
DEMAND = Demand(model="m", request_id="r", input_tokens=100, output_cap=50)


def slot(name: str, weight: float = 1.0, priority: int = 0) -> KeySlot:
    record = APIKey(id=name, provider_id="p", key_material="x", created_at=instant(0.0))
    return KeySlot(record=record, secret=name, weight=weight, priority=priority)


def pool(admission: Admission | None = None) -> CandidatePool:
    return CandidatePool(
        "p", "m",
        score=make_score(RoutingObjective()), admission=admission or Admission(), circuit=Circuit(),
    )  # fmt: skip


def test_keys_of_a_lane_are_used_by_weight() -> None:
    group, scope = pool(), Scope("s", "p", "a")
    light, heavy = slot("light"), slot("heavy", weight=3.0)
    candidate = group.add(light, scope)
    assert group.add(heavy, scope) is candidate
    turns = [candidate.next_slot(0.0, ()) for _ in range(40)]
    assert (turns.count(light), turns.count(heavy)) == (10, 30)
    assert (candidate.weight, candidate.mean_weight, candidate.first_key_id) == (4.0, 2.0, "light")


def test_resting_key_comes_back_at_its_instant_or_when_roused() -> None:
    group, scope = pool(), Scope("s", "p", "a")
    one, two = slot("one"), slot("two")
    candidate = group.add(one, scope)
    group.add(two, scope)
    one.wake_at = two.wake_at = 10.0
    assert (candidate.next_slot(0.0, ()), candidate.wakes_at()) == (None, 10.0)
    two.wake_at = 0.0
    candidate.refile(two)
    assert candidate.next_slot(0.0, ()) is two
    assert {candidate.next_slot(10.0, ()), candidate.next_slot(10.0, ())} == {one, two}


def test_key_to_be_avoided_is_passed_over() -> None:
    group, scope = pool(), Scope("s", "p", "a")
    one, two = slot("one"), slot("two")
    candidate = group.add(one, scope)
    group.add(two, scope)
    assert {candidate.next_slot(0.0, {one}) for _ in range(4)} == {two}
    assert candidate.next_slot(0.0, {one, two}) is None


def test_filings_do_not_pile_up_however_often_a_key_changes() -> None:
    group, scope = pool(), Scope("s", "p", "a")
    one, two = slot("one"), slot("two")
    candidate = group.add(one, scope)
    group.add(two, scope)
    for _ in range(1000):
        candidate.refile(one)
    assert len(candidate._ready) < 40


def test_key_that_leaves_takes_its_lane_with_it_and_the_others_stay() -> None:
    group, ledger = pool(), Ledger()
    slots = [slot(f"k{n}") for n in range(4)]
    candidates = [group.add(s, Scope(f"s{s.id}", "p", s.id)) for s in slots]
    group.remove(slots[0], candidates[0])
    amounts = group.amounts(DEMAND)
    assert {candidate.first_key_id for candidate in group.candidates} == {"k1", "k2", "k3"}
    picked = group.order(amounts).pick(ledger, amounts, 0.0, ())
    assert picked is not None
    assert picked.slot in slots[1:]


@pytest.mark.parametrize(
    ("admission", "asked", "kept"),
    [
        (Admission(), 150.0, 140.0),
        (Admission(larger_of=True), 100.0, 140.0),
        (Admission(input_only=True), 100.0, 100.0),
        (Admission(counts_cap=False), 356.0, 140.0),
        (Admission(counts_cached=False), 150.0, 110.0),
        (Admission(settles=False), 150.0, 150.0),
    ],
    ids=["sum", "larger of", "input only", "usual output", "cached is free", "never settled"],
)
def test_what_a_provider_charges_is_its_own_formula(
    admission: Admission, asked: float, kept: float
) -> None:
    group, tokens = pool(admission), 1
    amounts = group.amounts(DEMAND)
    assert amounts[tokens] == asked
    hold = Ledger().reserve(Scope("s", "p", "a"), amounts, 0.0)
    actual = group.actual(hold, 100, 40, cached_tokens=30)
    assert actual[tokens] == kept
