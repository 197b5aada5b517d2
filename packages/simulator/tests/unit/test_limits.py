"""All windows of a scope or none, and what a call is charged."""

import math

import pytest

from apikeyrouter_simulator.quotas.limits import CHARGES, Admission, Ask, ScopeLimits, Shortfall

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("formula", "cap", "charged"),
    [
        ("openai", None, 100),
        ("openai", 40, 100),
        ("openai", 400, 400),
        ("groq", 400, 500),
        ("azure", None, 120),
        ("input", 400, 100),
        ("actual", 400, 120),
    ],
)
def test_call_of_100_in_and_20_out_is_charged(formula, cap, charged) -> None:
    assert charged == CHARGES[formula](Ask(100, cap, 20))


def test_call_is_charged_on_every_window_or_on_none() -> None:
    limits = ScopeLimits({"rpm": 60, "tpm": 100})
    limits.admit(90, 10, 0.0)
    refused = limits.admit(20, 10, 0.0)
    assert refused == Shortfall("tpm", 100, 90, 20, pytest.approx(6.0))
    assert {r.kind.name: r.used for r in limits.readings()} == {"rpm": 1, "tpm": 90}


def test_longest_wait_is_told() -> None:
    limits = ScopeLimits({"rpm": 60, "rpd": 2})
    limits.admit(1, 1, 0.0)
    limits.admit(1, 1, 0.0)
    refused = limits.admit(1, 1, 0.0)
    assert isinstance(refused, Shortfall)
    assert ("rpd", pytest.approx(43200)) == (refused.limit_name, refused.wait_s)


def test_call_larger_than_the_limit_is_told_so() -> None:
    refused = ScopeLimits({"tpm": 100}).admit(101, 10, 0.0)
    assert isinstance(refused, Shortfall)
    assert refused.is_too_large
    assert refused.wait_s == math.inf


def test_slot_is_held_until_the_call_is_settled() -> None:
    limits = ScopeLimits({"concurrency": 1})
    first = limits.admit(1, 1, 0.0)
    assert isinstance(first, Admission)
    assert isinstance(limits.admit(1, 1, 0.0), Shortfall)
    limits.settle(first, input_tokens=1, output_tokens=1, now=0.0)
    assert isinstance(limits.admit(1, 1, 0.0), Admission)


@pytest.mark.parametrize(("settlement", "used"), [("actual", 30), ("never", 90), ("done", 30)])
def test_settlement_corrects_to_the_actual_usage_if_the_provider_does(settlement, used) -> None:
    limits = ScopeLimits({"tpm": 100}, settlement=settlement)
    admission = limits.admit(90, 10, 0.0)
    assert isinstance(admission, Admission)
    limits.settle(admission, input_tokens=10, output_tokens=20, now=0.0)
    assert [used] == [r.used for r in limits.readings()]


def test_output_tokens_are_counted_when_they_are_known() -> None:
    limits = ScopeLimits({"otpm": 100})
    admission = limits.admit(500, 10, 0.0)
    assert isinstance(admission, Admission)
    limits.settle(admission, input_tokens=10, output_tokens=70, now=0.0)
    assert [r.used for r in limits.readings()] == [70]


def test_refused_call_counts_as_a_request_where_it_does() -> None:
    limits = ScopeLimits({"rpm": 10, "tpm": 10}, charges_refused=True)
    limits.admit(11, 1, 0.0)
    assert [r.used for r in limits.readings()] == [1, 0]


def test_fixed_day_ends_at_midnight() -> None:
    limits = ScopeLimits({"rpd": 1}, algorithm="fixed", start=86_000.0)
    limits.admit(1, 1, 86_000.0)
    refused = limits.admit(1, 1, 86_000.0)
    assert isinstance(refused, Shortfall)
    assert refused.wait_s == 400.0
