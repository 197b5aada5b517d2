"""Keys of one scope take turns, rest, and come back."""

import pytest

from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.routing_decision import RoutingObjective, instant
from apikeyrouter.domain.quota_scope import Membership, QuotaScope
from apikeyrouter.domain.routing.candidate import Health
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.scoring import compile_objective

pytestmark = pytest.mark.unit
DEMAND = Demand(model="m", request_id="r", input_tokens=100, output_cap=50)
SCORING = compile_objective(RoutingObjective())


def slot(name: str, weight: float = 1.0, priority: int = 0) -> KeySlot:
    record = APIKey(id=name, provider_id="p", key_material="x", created_at=instant(0.0))
    return KeySlot(record=record, secret=name, weight=weight, priority=priority)


def scope_of(name: str) -> QuotaScope:
    return QuotaScope(name, "p", Membership(name))


def pool(admission: Admission | None = None) -> CandidatePool:
    return CandidatePool("p", "m", admission=admission or Admission())


def test_keys_of_a_candidate_are_used_by_weight() -> None:
    group, scope = pool(), scope_of("s")
    light, heavy = slot("light"), slot("heavy", weight=3.0)
    candidate = group.add(light, scope, 0.0)
    assert group.add(heavy, scope, 0.0) is candidate
    turns = [candidate.next_slot(0.0, ()) for _ in range(40)]
    assert (turns.count(light), turns.count(heavy)) == (10, 30)
    assert (candidate.weight, candidate.mean_weight, candidate.first_key_id) == (4.0, 2.0, "light")


def test_resting_key_comes_back_at_its_instant_or_when_roused() -> None:
    group, scope = pool(), scope_of("s")
    one, two = slot("one"), slot("two")
    candidate = group.add(one, scope, 0.0)
    group.add(two, scope, 0.0)
    one.cooldown.until = two.cooldown.until = 10.0
    assert (candidate.next_slot(0.0, ()), candidate.wakes_at()) == (None, 10.0)
    two.cooldown.end()
    candidate.refile(two)
    assert candidate.next_slot(0.0, ()) is two
    assert {candidate.next_slot(10.0, ()), candidate.next_slot(10.0, ())} == {one, two}


def test_key_to_be_avoided_is_passed_over() -> None:
    group, scope = pool(), scope_of("s")
    one, two = slot("one"), slot("two")
    candidate = group.add(one, scope, 0.0)
    group.add(two, scope, 0.0)
    assert {candidate.next_slot(0.0, {one}) for _ in range(4)} == {two}
    assert candidate.next_slot(0.0, {one, two}) is None


def test_filings_do_not_pile_up_however_often_a_key_changes() -> None:
    group, scope = pool(), scope_of("s")
    one, two = slot("one"), slot("two")
    candidate = group.add(one, scope, 0.0)
    group.add(two, scope, 0.0)
    for _ in range(1000):
        candidate.refile(one)
    assert len(candidate._ready) < 40


def test_key_that_leaves_takes_its_candidate_with_it_and_the_others_stay() -> None:
    group = pool()
    slots = [slot(f"k{n}") for n in range(4)]
    candidates = [group.add(s, scope_of(f"s{s.id}"), 0.0) for s in slots]
    group.remove(slots[0], candidates[0])
    amounts = group.amounts(DEMAND)
    assert {candidate.first_key_id for candidate in group.candidates} == {"k1", "k2", "k3"}
    awake = group.ranking(SCORING, amounts, 0.0).awake(0.0, None)
    assert {candidate.first_key_id for candidate, _, _ in awake} == {"k1", "k2", "k3"}


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
    actual = group.actual(amounts, 100, 40, cached_tokens=30)
    assert actual[tokens] == kept


@pytest.mark.parametrize(
    ("latency_s", "calls", "told_s"),
    [(0.1, 15, 300.0), (0.1, 16, 60.0), (5.0, 16, 150.0), (40.0, 64, 300.0)],
    ids=["too few calls", "fast", "slow", "no longer than the longest"],
)
def test_first_token_may_take_many_times_what_it_took(
    latency_s: float, calls: int, told_s: float
) -> None:
    health = Health()
    for call in range(calls):
        health.note_success(latency_s, float(call))
    assert health.first_token_timeout_s(300.0) == pytest.approx(told_s)


@pytest.mark.parametrize(
    ("gaps_s", "told_s"),
    [
        ([0.5] * 15, 120.0),
        ([0.5] * 16, 30.0),
        ([0.5] * 16 + [4.0], 40.0),
        ([0.5] * 16 + [30.0], 120.0),
        ([30.0] + [0.5] * 200, 30.0),
        ([4.0] + [0.5] * 16, 28.95),
    ],
    ids=["too few", "steady", "a pause", "a stall", "long ago", "fading"],
)
def test_stream_may_be_silent_many_times_what_it_was(gaps_s: list[float], told_s: float) -> None:
    health = Health()
    for gap_s in gaps_s:
        health.note_stream(gap_s)
    assert health.stall_timeout_s(120.0) == pytest.approx(max(30.0, told_s), abs=0.1)
