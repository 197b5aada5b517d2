"""A provider's circuit: opens after failures, one probe, then few calls, then all."""

import pytest

from apikeyrouter.domain.failures.circuit import (
    FAILURES_TO_OPEN,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    PROBE_PATIENCE_S,
    Circuit,
)

pytestmark = pytest.mark.unit


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit()
    circuit.note_failure(now, at_once=True)
    return circuit


def test_failures_in_a_row_open_it_and_a_success_between_does_not_count() -> None:
    circuit = Circuit()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert not circuit.note_failure(0.0)
    circuit.note_success()
    assert not circuit.note_failure(0.0)
    assert circuit.blocked_until(0.0) == 0.0


def test_one_call_that_nobody_answered_opens_it_at_once() -> None:
    assert opened().blocked_until(0.0) == FIRST_PAUSE_S


def test_pauses_double_up_to_the_longest() -> None:
    circuit, now, pauses = opened(), 0.0, []
    for _ in range(8):
        now = circuit.cooldown.until
        circuit.note_failure(now)
        pauses.append(circuit.cooldown.until - now)
    assert pauses == [0.5, 1.0, 2.0, 4.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S, 5.0]


def test_while_half_open_one_call_passes() -> None:
    circuit = opened()
    assert circuit.blocked_until(1.0) == 0.0
    circuit.note_call(1.0)
    assert circuit.blocked_until(1.0) > 1.0
    assert circuit.awaits_answer


def test_probe_that_nobody_reports_back_on_is_forgotten() -> None:
    circuit = opened()
    circuit.note_call(1.0)
    assert circuit.blocked_until(1.0 + PROBE_PATIENCE_S) == 0.0


def test_after_an_outage_each_answer_admits_two_more_until_nobody_is_held_back() -> None:
    circuit = opened()
    circuit.note_call(1.0)
    assert circuit.note_success()
    rounds = []
    while circuit.ramp is not None:
        admitted = 0
        while circuit.blocked_until(2.0) == 0.0:
            circuit.note_call(2.0)
            admitted += 1
        rounds.append(admitted)
        for _ in range(admitted):
            circuit.note_success()
    assert rounds == [2, 4, 8, 16, 32]
    assert circuit.blocked_until(2.0) == 0.0


def test_a_call_that_told_nothing_gives_back_its_place_in_the_ramp() -> None:
    circuit = opened()
    circuit.note_success()
    circuit.note_call(1.0)
    circuit.note_call(1.0)
    circuit.release_probe()
    assert circuit.blocked_until(1.0) == 0.0


def test_streams_that_break_off_in_a_row_are_enough_whatever_their_heads_say() -> None:
    circuit = Circuit()
    told = []
    for at in (1.0, 2.0, 3.0):
        circuit.note_success()
        told.append(circuit.note_break(at, at + 0.5))
    assert (told, circuit.breaks_off) == ([False, False, True], True)
    circuit.note_end()
    assert not circuit.breaks_off


def test_streams_that_break_off_together_are_one() -> None:
    circuit = Circuit()
    assert not any(circuit.note_break(1.0 + n / 100, 2.0 + n / 100) for n in range(60))
    assert circuit.breaks == 1


def test_pause_grows_while_streams_break_off_though_whole_answers_come() -> None:
    circuit = Circuit()
    pauses = []
    for at in (10.0, 20.0, 30.0, 40.0, 50.0):
        at_once = circuit.note_break(at, at + 1.0)
        circuit.note_failure(at + 1.0, began_at=at, at_once=at_once)
        pauses.append(circuit.pause_s)
        circuit.note_success()
    assert pauses == [0.0, 0.0, 0.25, 0.5, 1.0]


def test_next_probe_may_pass_when_the_last_has_outlived_those_that_broke_off() -> None:
    circuit = Circuit()
    for at in (10.0, 20.0, 30.0):
        circuit.note_failure(at + 2.0, began_at=at, at_once=circuit.note_break(at, at + 2.0))
    circuit.note_call(40.0)
    assert [circuit.blocked_until(at) > 0.0 for at in (43.9, 44.0)] == [True, False]
