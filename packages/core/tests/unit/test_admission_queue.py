"""Who is let in, in which order, and who is told at once that it cannot be in time."""

import asyncio
import math
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, ProviderAdapter
from apikeyrouter.domain.components.routing_engine import Grant
from apikeyrouter.domain.failures.failure import FailureClass
from apikeyrouter.domain.models.routing_decision import RoutingObjective
from apikeyrouter.domain.queueing.admission_queue import AdmissionQueue, Refusal, Ticket
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.domain.routing.pending_request import PendingRequest

pytestmark = pytest.mark.unit


class Nobody(ProviderAdapter):
    """Is never called: nothing is sent here."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        raise AssertionError

    def normalize_response(self, raw: Any) -> Any:
        raise AssertionError


class Waiting:
    """A queue before one key of 60 calls a minute, all used up, and a clock in our hand."""

    def __init__(self, **limits: float) -> None:
        self.now = 1000.0
        self.served: list[str] = []
        self.refused: dict[str, Refusal] = {}
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: self.now)
        asyncio.run(self._furnish(limits or {"rpm": 60}))
        self.engine = self.router.routing_engine
        self.queue = AdmissionQueue(self.engine, max_waiting=500)
        demand = Demand(model="m", request_id="first", input_tokens=1, output_cap=1)
        grant = self.decide(demand)
        self.scope = grant.scope()
        self.router.quota_awareness_engine.ledger.keep(grant.reservation, self.now)
        for window in self.scope.account.windows:
            window.used = window.capacity

    async def _furnish(self, limits: dict[str, float]) -> None:
        await self.router.register_provider("p", Nobody())
        await self.router.register_key("sk-1", "p", {"limits": limits})

    def decide(self, demand: Demand) -> Grant:
        route = self.engine.routes.route_for(demand)
        got = self.engine.decide(route, PendingRequest(demand, self.record(demand)), self.now)
        assert isinstance(got, Grant)
        return got

    def record(self, demand: Demand) -> DecisionRecord:
        objective = self.engine.routes.scorings.default.objective
        return DecisionRecord(demand.request_id, demand.model, demand.client, objective, self.now)

    def join(
        self, name: str, *, wait_s: float = 10.0, avoid: Any = (), **wishes: Any
    ) -> Ticket | Refusal:
        usual = {"model": "m", "input_tokens": 1, "output_cap": 1}
        demand = Demand(request_id=name, **{**usual, **wishes})

        def deliver(outcome: Grant | Refusal) -> None:
            if isinstance(outcome, Grant):
                ledger = self.router.quota_awareness_engine.ledger
                ledger.keep(outcome.reservation, self.now)
                self.served.append(name)
            else:
                self.refused[name] = outcome

        return self.queue.join(
            PendingRequest(demand, self.record(demand), avoid=frozenset(avoid)),
            deadline=self.now + wait_s, deliver=deliver, now=self.now,
        )  # fmt: skip

    def run(self, seconds: float) -> None:
        """Pump whenever the queue asked for it."""
        end = self.now + seconds
        while (wakes_at := self.queue.pump(self.now)) <= end:
            self.now = max(self.now + 1e-4, wakes_at)
        self.now = end


def test_all_who_wait_are_served_in_order_at_the_pace_of_the_limit() -> None:
    waiting = Waiting()
    for n in range(10):
        assert isinstance(waiting.join(f"r{n}", wait_s=30.0), Ticket)
    waiting.run(5.2)
    assert waiting.served == ["r0", "r1", "r2", "r3", "r4"]
    waiting.run(20.0)
    assert waiting.served == [f"r{n}" for n in range(10)]
    assert (waiting.queue.waiting, waiting.queue.waiting_tokens) == (0, 0.0)


def test_who_cannot_be_in_time_is_told_at_once_when_its_turn_would_come() -> None:
    waiting = Waiting()
    outcomes = [waiting.join(f"r{n}") for n in range(40)]
    tickets = [o for o in outcomes if isinstance(o, Ticket)]
    refusals = [o for o in outcomes if isinstance(o, Refusal)]
    assert len(tickets) in range(10, 15)
    assert all(o.retry_at - waiting.now >= len(tickets) - 1 for o in refusals)
    waiting.run(11.0)
    assert len(waiting.served) >= 9
    assert len(waiting.served) + len(waiting.refused) == len(tickets)


def test_nobody_is_refused_while_the_line_is_short_enough() -> None:
    waiting = Waiting()
    for n in range(9):
        assert isinstance(waiting.join(f"r{n}"), Ticket)
    waiting.run(10.5)
    assert (len(waiting.served), waiting.refused) == (9, {})


def test_light_client_is_let_in_beside_a_heavy_one_that_filled_the_line() -> None:
    waiting = Waiting()
    while isinstance(waiting.join("heavy", client="heavy"), Ticket):
        pass
    assert isinstance(waiting.join("light", client="light"), Ticket)
    waiting.run(4.0)
    assert "light" in waiting.served[:3]


def test_weights_are_shares_of_the_line() -> None:
    waiting = Waiting()
    for n in range(30):
        waiting.join(f"a{n}", wait_s=100.0, client="a", client_weight=3.0)
        waiting.join(f"b{n}", wait_s=100.0, client="b", client_weight=1.0)
    waiting.run(20.2)
    heavy = sum(name.startswith("a") for name in waiting.served)
    assert len(waiting.served) == 20
    assert heavy in (14, 15, 16)


def test_higher_priority_goes_first_and_is_not_told_to_come_later() -> None:
    waiting = Waiting()
    while isinstance(waiting.join("low"), Ticket):
        pass
    assert isinstance(waiting.join("high", priority=1), Ticket)
    waiting.run(1.5)
    assert waiting.served == ["high"]


def test_earliest_deadline_goes_first_within_a_client() -> None:
    waiting = Waiting()
    for name, wait_s in (("late", 30.0), ("soon", 5.0), ("sooner", 3.0)):
        waiting.join(name, wait_s=wait_s)
    waiting.run(4.0)
    assert waiting.served == ["sooner", "soon", "late"]


def test_those_who_wait_are_told_at_once_of_a_wait_beyond_their_deadline() -> None:
    waiting = Waiting()
    for n in range(5):
        waiting.join(f"r{n}")
    awareness = waiting.router.quota_awareness_engine
    awareness.tell_to_wait(waiting.scope, waiting.now + 60.0, FailureClass.RATE_LIMITED.value)
    waiting.run(1.2)
    assert len(waiting.refused) == 5
    retry_at = {refusal.retry_at for refusal in waiting.refused.values()}
    assert retry_at == {1060.0}


def test_nobody_is_sent_away_while_a_provider_recovers() -> None:
    waiting = Waiting()
    pool = next(iter(waiting.scope.index.candidates))
    pool.circuit.note_failure(waiting.now, at_once=True)
    pool.circuit.note_success()
    pool.circuit.ramp = 0
    for n in range(9):
        assert isinstance(waiting.join(f"r{n}"), Ticket)


def test_who_leaves_is_not_served_and_holds_nobody_up() -> None:
    waiting = Waiting()
    tickets = [waiting.join(f"r{n}") for n in range(4)]
    for ticket in tickets[:3]:
        assert isinstance(ticket, Ticket)
        waiting.queue.leave(ticket)
        waiting.queue.leave(ticket)
    waiting.run(2.0)
    assert (waiting.served, waiting.queue.waiting) == (["r3"], 0)


def test_queue_is_bounded_in_requests_and_in_tokens() -> None:
    waiting = Waiting(concurrency=1)
    outcomes = [waiting.join(f"r{n}", wait_s=1e4) for n in range(501)]
    assert isinstance(outcomes[-2], Ticket)
    assert isinstance(outcomes[-1], Refusal)
    assert "500 requests wait already" in outcomes[-1].why
    tight = Waiting(concurrency=1)
    tight.queue = AdmissionQueue(tight.engine, max_waiting_tokens=100.0)
    assert isinstance(tight.join("one", input_tokens=99), Ticket)
    assert isinstance(tight.join("two", input_tokens=99), Refusal)


def test_small_requests_pass_a_large_one_but_not_for_ever() -> None:
    waiting = Waiting(tpm=6000)
    waiting.join("large", wait_s=100.0, client="a", input_tokens=5000, output_cap=1)
    for n in range(40):
        waiting.join(f"s{n}", wait_s=100.0, client="b", input_tokens=100, output_cap=1)
    waiting.run(99.0)
    assert "large" in waiting.served
    assert waiting.served.index("large") > 0


def test_line_that_no_clock_ends_is_told_no_instant() -> None:
    waiting = Waiting(concurrency=1)
    waiting.join("one", wait_s=5.0)
    wakes_at = waiting.queue.pump(waiting.now)
    assert wakes_at == waiting.now + 5.0
    waiting.now += 5.0
    waiting.queue.pump(waiting.now)
    assert waiting.refused["one"].retry_at in (math.inf, waiting.now)


async def _two_keys(router: ApiKeyRouter, **limits: float) -> None:
    await router.register_provider("p", Nobody())
    for number in (1, 2):
        facts = {"id": f"k{number}", "scope": "shared", "limits": limits}
        await router.register_key(f"sk-{number}", "p", facts)


class Shared(Waiting):
    """The same with two keys of one account."""

    async def _furnish(self, limits: dict[str, float]) -> None:
        await _two_keys(self.router, **limits)


def test_line_before_an_account_of_several_keys_is_as_long_as_before_one() -> None:
    waiting = Shared()
    for n in range(9):
        assert isinstance(waiting.join(f"r{n}"), Ticket)
    waiting.run(10.5)
    assert len(waiting.served) == 9


def test_clients_share_an_account_whatever_models_they_ask_for() -> None:
    waiting = Waiting()
    for n in range(20):
        waiting.join(f"heavy-{n}", wait_s=60.0, client="heavy")
    waiting.join("light", wait_s=60.0, client="light", model="other")
    waiting.run(3.2)
    assert "light" in waiting.served


def test_newcomer_of_another_model_does_not_take_the_room_of_who_waits() -> None:
    waiting = Waiting()
    waiting.join("waits", wait_s=60.0)
    other = Demand(model="other", request_id="new", input_tokens=1, output_cap=1)
    assert waiting.queue.has_line(waiting.engine.routes.route_for(other))


def test_who_avoids_a_key_holds_nobody_up_who_does_not() -> None:
    waiting = Waiting()
    slot = next(iter(waiting.router.key_manager.slot_by_id.values()))
    waiting.join("picky", wait_s=60.0, avoid=frozenset({slot}))
    assert not waiting.queue.has_line(
        waiting.engine.routes.route_for(Demand(model="m", request_id="new"))
    )
    waiting.join("plain", wait_s=60.0)
    waiting.run(2.0)
    assert waiting.served == ["plain"]


def test_strict_wish_holds_nobody_up_that_has_none() -> None:
    waiting = Waiting()
    slot = next(iter(waiting.router.key_manager.slot_by_id.values()))
    for candidate in slot.candidates:
        candidate.health.note_failure(waiting.now, waiting.now)
    strict = RoutingObjective(constraints={"min_reliability": 0.99})
    waiting.join("strict", wait_s=20.0, objective=strict)
    waiting.join("plain", wait_s=20.0)
    waiting.run(3.0)
    assert waiting.served == ["plain"]
    waiting.join("later", wait_s=100.0, objective=strict)
    waiting.run(99.0)
    assert "later" in waiting.served
