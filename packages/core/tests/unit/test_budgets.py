"""Hard caps and budgets of a router: what is held, what is charged, who is refused."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, OwnLimitError
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.components.cost_controller import BudgetExceededError
from apikeyrouter.domain.costs.prices import Price, nanos_of
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.models.budget import Budget
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.errors import NoEligibleKeysError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit

NOON = 1_795_694_400.0
#: A dollar a million tokens in, ten a million out.
PRICE = Price("p", ("*",), nanos_of(1), nanos_of(10), most_output=1000)
#: 10 tokens in at most 36, 100 out: at most $0.001036, and $0.00051 if half of it is used.
ASKED, WORST = {"input_tokens": 10, "output_cap": 100}, Decimal("0.001036")


class Bench:
    """A router of one provider with a clock in our hand, and what it spends."""

    def __init__(self, keys: int = 1, prices: tuple[Price, ...] = (PRICE,), **facts: Any) -> None:
        self.now = NOON
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: self.now)
        self.costs = self.router.cost_controller
        self.costs.set_prices(prices)
        self._keys, self._facts = keys, facts
        #: Calls that nobody has ended: they are under way as long as they are known.
        self.running: list[Attempt] = []

    def over(self, store: StateStore) -> "Bench":
        """Put another router of the same kind over *store*."""
        self.router = ApiKeyRouter(store, config={"log_level": "CRITICAL"}, clock=lambda: self.now)
        self.costs = self.router.cost_controller
        return self

    async def furnish(self) -> "Bench":
        for name in ("p", "q"):
            await self.router.register_provider(name, OpenAIAdapter("http://127.0.0.1:1/v1"))
        for number in range(1, self._keys + 1):
            facts = {"id": f"k{number}", **self._facts}
            await self.router.register_key(f"sk-{number}", "p", facts)
        return self

    async def call(self, accounts: Any = (), **facts: Any) -> Attempt:
        demand = Demand(**{"model": "m", "request_id": "r", "max_wait": 0.0, **ASKED, **facts})
        attempt = await anext(aiter(self.router.attempts(demand, accounts=accounts)))
        self.running.append(attempt)
        return attempt

    async def calls(self, most: int = 50, **facts: Any) -> int:
        """Make calls until one is refused; return how many were made."""
        for number in range(most):
            try:
                await self.call(**facts)
            except NoEligibleKeysError:
                return number
        return most


@pytest.fixture
async def bench() -> Bench:
    return await Bench().furnish()


@pytest.fixture
async def bench_of() -> Callable[..., Any]:
    async def make(**facts: Any) -> Bench:
        return await Bench(**facts).furnish()

    return make


def a_budget(usd: Any = "0.005", **facts: Any) -> Budget:
    return Budget(**{"id": "b", "limit_amount": Decimal(str(usd)), **facts})


async def test_most_that_a_call_can_cost_is_held_and_what_it_cost_is_charged(bench: Bench) -> None:
    await bench.costs.create_budget(a_budget())
    attempt = await bench.call()
    held = bench.costs.budget("b")
    assert (held.current_spend, held.held) == (0, WORST)
    attempt.settle(10, 50)
    spent = bench.costs.budget("b")
    assert (spent.current_spend, spent.held) == (Decimal("0.00051"), 0)


@pytest.mark.parametrize(
    ("end", "spent"),
    [
        (lambda a: a.settle(usage=Usage(10, 50, cost_usd=0.002)), "0.002"),
        (lambda a: a.settle(usage=Usage(10, 50, cached_tokens=10)), "0.00051"),
        (lambda a: a.settle(), str(WORST)),
        (lambda a: a.cancel(), str(WORST)),
        (lambda a: a.cancel(sent=False), "0"),
        (lambda a: a.fail(Failure(FailureClass.RATE_LIMITED, "no", status=429)), "0"),
        (lambda a: a.fail(Failure(FailureClass.TIMEOUT, "gone")), str(WORST)),
    ],
    ids=["told", "cached", "untold", "left", "unsent", "refused", "broken"],
)
async def test_what_is_charged_depends_on_how_a_call_ends(
    bench: Bench, end: Callable[[Attempt], Any], spent: str
) -> None:
    await bench.costs.create_budget(a_budget())
    end(await bench.call())
    assert Decimal(spent) == bench.costs.budget("b").current_spend


@pytest.mark.parametrize(
    ("scope", "scope_id", "facts", "is_bound"),
    [
        ("global", None, {}, True),
        ("per_client", "c", {"client": "c"}, True),
        ("per_client", "c", {"client": "d"}, False),
        ("per_tag", "team=red", {"tags": {"team": "red"}}, True),
        ("per_tag", "team=red", {"tags": {"team": "blue"}}, False),
        ("per_provider", "p", {}, True),
        ("per_provider", "q", {}, False),
        ("per_key", "k1", {}, True),
        ("per_key", "k2", {}, False),
        ("per_route", "m", {}, True),
        ("per_route", "p/m", {}, True),
        ("per_route", "n", {}, False),
    ],
)
async def test_budget_bounds_its_scope_alone(
    bench: Bench, scope: str, scope_id: str | None, facts: dict[str, Any], is_bound: bool
) -> None:
    await bench.costs.create_budget(a_budget(scope=scope, scope_id=scope_id))
    assert await bench.calls(10, **facts) == (4 if is_bound else 10)


async def test_over_a_hard_budget_the_refusal_says_which_and_when(bench: Bench) -> None:
    await bench.costs.create_budget(a_budget(id="day"))
    assert await bench.calls() == 4
    with pytest.raises(BudgetExceededError) as caught:
        await bench.call()
    assert str(caught.value) == (
        "budget 'day' has $0.000856 of $0.005000 left, and this may need $0.001036; "
        "it begins anew in 43200.0 s"
    )
    assert caught.value.retry_after == 43_200.0
    bench.now += 43_200.0
    assert await bench.calls() == 4


async def test_soft_budget_refuses_nobody_and_counts(bench: Bench) -> None:
    await bench.costs.create_budget(a_budget(enforcement_mode="soft"))
    assert await bench.calls(10) == 10
    assert bench.costs.budget("b").held == 10 * WORST


async def test_spent_soft_budget_changes_what_its_requests_are_served_by(bench: Bench) -> None:
    facts = {"enforcement_mode": "soft", "when_over": {"objective": "cost"}}
    await bench.costs.create_budget(a_budget(**facts))
    attempts = [await bench.call() for _ in range(6)]
    objectives = [a.demand.objective and a.demand.objective.primary.value for a in attempts]
    assert objectives == [None] * 5 + ["cost"]


async def test_call_without_a_cap_holds_the_longest_answer(bench: Bench) -> None:
    await bench.costs.create_budget(a_budget(1))
    await bench.call(output_cap=None)
    assert bench.costs.budget("b").held == Decimal("0.010036")


@pytest.mark.parametrize(("policy", "made"), [("allow", 5), ("refuse", 0)])
async def test_unknown_price_passes_a_hard_budget_only_if_allowed(policy: str, made: int) -> None:
    bench = await Bench(prices=()).furnish()
    bench.costs.set_prices([], unknown_price=policy)
    await bench.costs.create_budget(a_budget())
    await bench.costs.create_budget(a_budget(id="soft", enforcement_mode="soft"))
    assert await bench.calls(5) == made
    if policy == "refuse":
        with pytest.raises(BudgetExceededError, match="nobody has told what this model costs"):
            await bench.call()


async def test_told_cost_is_charged_where_no_price_is_known() -> None:
    bench = await Bench(prices=()).furnish()
    await bench.costs.create_budget(a_budget())
    (await bench.call()).settle(usage=Usage(1, 1, cost_usd=0.0045))
    assert bench.costs.budget("b").current_spend == Decimal("0.0045")
    (await bench.call()).settle(usage=Usage(1, 1, cost_usd=0.001))
    # What nobody could foresee is booked: the budget is over, and told so.
    assert bench.costs.budget("b").current_spend == Decimal("0.0055")


async def test_clients_hard_limits_hold_in_the_turns_of_the_clock(bench: Bench) -> None:
    account = bench.costs.open_account("client 'c'", {"rpm": 3, "concurrency": 5})
    assert await bench.calls(accounts=(account,)) == 3
    with pytest.raises(OwnLimitError, match=r"client 'c' has 0 of 3 left.* anew in 60.0 s"):
        await bench.call(accounts=(account,))
    bench.now += 60.0
    assert await bench.calls(accounts=(account,)) == 2
    with pytest.raises(OwnLimitError, match="calls at once"):
        await bench.call(accounts=(account,))


async def test_keys_of_a_hard_scope_share_its_cap(bench_of: Callable[..., Any]) -> None:
    bench = await bench_of(keys=3, scope="org", limits={"rpd": 5}, hard=True)
    for _ in range(3):
        await bench.call()
    again = Bench(keys=3, scope="org", limits={"rpd": 5}, hard=True)
    await again.over(bench.router.state_store).furnish()
    # The first may have borrowed one call more than it has made.
    assert 3 + await again.calls() + await bench.calls() == 5


async def test_other_keys_serve_what_one_keys_budget_refuses(bench_of: Callable[..., Any]) -> None:
    bench = await bench_of(keys=3, scope="org")
    await bench.costs.create_budget(a_budget(scope="per_key", scope_id="k1"))
    served = []
    for _ in range(30):
        served.append((await bench.call()).slot.id)
        for _ in range(5):
            await asyncio.sleep(0)
    assert {name: served.count(name) for name in ("k1", "k2", "k3")} == {
        "k1": 4, "k2": 13, "k3": 13,
    }  # fmt: skip


async def test_changed_budget_keeps_what_it_spent(bench: Bench) -> None:
    await bench.costs.create_budget(a_budget())
    assert await bench.calls() == 4
    await bench.costs.create_budget(a_budget("0.0072520"))
    assert await bench.calls() == 3
    await bench.costs.create_budget(a_budget("0.001"))
    assert await bench.calls() == 0
    await bench.costs.delete_budget("b")
    assert await bench.calls(10) == 10


async def test_budget_is_waited_for_when_calls_may_give_it_back(bench: Bench) -> None:
    await bench.costs.create_budget(a_budget())
    running = [await bench.call() for _ in range(4)]
    waiting = asyncio.ensure_future(bench.call(max_wait=30.0))
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.router.get_state_summary()["waiting"] == 1
    running[0].settle(1, 1)
    assert (await waiting).slot.id == "k1"


async def test_created_budgets_are_there_after_a_restart(bench: Bench) -> None:
    await bench.costs.create_budget(a_budget())
    (await bench.call()).settle(10, 50)
    await bench.router._hydration.close()
    again = Bench().over(bench.router.state_store)
    await again.router.hydrate()
    [budget] = await again.costs.list_budgets()
    assert (budget.id, budget.current_spend) == ("b", Decimal("0.00051"))
