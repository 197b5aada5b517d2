"""An odd answer is believed for seconds, and of nothing but what was refused."""

import asyncio
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, NoEligibleKeysError
from apikeyrouter.domain.cooldown import Cooldown
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.failures.refusals import Refusals
from apikeyrouter.domain.feed.events import Event, Rested
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit
F = FailureClass
ODD = Failure(F.UNEXPLAINED, "no", 403)
NOT_FOUND = Failure(F.MODEL_UNAVAILABLE, "no such model", 404, code="model_not_found")
FORBIDDEN = Failure(F.MODEL_UNAVAILABLE, "must be verified to use the model", 403)
CHAT, EMBEDDINGS = "chat/completions", "embeddings"


class Asking:
    """A router whose providers do what each test says, with the clock in our hand."""

    def __init__(self, keys: dict[str, list[str | None]]) -> None:
        """Take the scopes of the keys of each provider; `None` is an account of its own."""
        self.now = 1000.0
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: self.now)
        self.rests: list[Rested] = []
        self.router.listeners.append(self._note)
        asyncio.run(self._register(keys))

    def _note(self, event: Event) -> None:
        if isinstance(event, Rested):
            self.rests.append(event)

    async def _register(self, keys: dict[str, list[str | None]]) -> None:
        for provider, scopes in keys.items():
            await self.router.register_provider(provider, OpenAIAdapter("http://127.0.0.1:1/v1"))
            for number, scope in enumerate(scopes, 1):
                facts: dict[str, Any] = {"id": f"{provider}{number}", "limits": {"rpm": 1e6}}
                facts |= {"scope": scope} if scope else {}
                await self.router.register_key(f"sk-{provider}-{number}", provider, facts)

    def ask(
        self,
        failure: Failure | None = None,
        *,
        size: int = 1,
        model: str = "m",
        endpoint: str = CHAT,
        on: str = "",
        wait_s: float = 0.0,
    ) -> list[str]:
        """Send one request that fails so, only with keys whose names begin with *on*.

        Returns:
            Keys and models that were tried; at the end `ok`, a failure's class, or what keeps
            every key from it.
        """
        demand = Demand(
            model=model, request_id="r", endpoint=endpoint, input_tokens=size, output_cap=1,
            max_wait=wait_s,
        )  # fmt: skip
        return asyncio.run(asyncio.wait_for(self._ask(demand, failure, on), 5.0))

    async def _ask(self, demand: Demand, failure: Failure | None, on: str) -> list[str]:
        tried: list[str] = []
        attempts = self.router.attempts(demand)
        try:
            async for attempt in attempts:
                tried.append(f"{attempt.slot.id}:{attempt.model}")
                if failure is None or not tried[-1].startswith(on):
                    attempt.settle(1, 1)
                    return [*tried, "ok"]
                attempt.fail(failure)
        except NoEligibleKeysError as error:
            return [*tried, error.cause]
        assert attempts.failure is not None
        return [*tried, attempts.failure.kind.value]


def test_request_that_is_refused_without_a_reason_puts_nobody_aside() -> None:
    asking = Asking({"p": [None]})
    asking.ask()
    for _ in range(5):
        assert asking.ask(ODD, size=500) == ["p1:m", "unexplained"]
    assert asking.ask() == ["p1:m", "ok"]
    assert asking.rests == []


def test_two_different_requests_put_the_model_aside_for_seconds_then_for_longer() -> None:
    asking = Asking({"p": [None]})
    waits = []
    for number in range(6):
        asking.ask(ODD, size=10 * number)
        if number:
            waits.append(asking.rests[-1].seconds)
            asking.now += waits[-1] - 0.001
            assert asking.ask() == ["unexplained"]
            asking.now += 0.001
    assert waits == [5.0, 20.0, 80.0, 300.0, 300.0]
    assert asking.ask() == ["p1:m", "ok"]


@pytest.mark.parametrize(("failure", "needed"), [(ODD, 5), (NOT_FOUND, 2)])
def test_model_that_has_just_worked_is_believed_longer(failure: Failure, needed: int) -> None:
    asking = Asking({"p": [None]})
    for _ in range(3):
        asking.ask()
        for number in range(1, needed):
            asking.ask(failure, size=10 * number)
            asking.ask(failure, size=10 * number)
    assert asking.rests == []
    asking.ask(failure, size=999)
    assert [rest.seconds for rest in asking.rests] == [5.0]


def test_answer_between_two_odd_ones_lifts_the_suspicion() -> None:
    asking = Asking({"p": [None]})
    for number in range(10):
        asking.ask(ODD, size=10 * number)
        assert asking.ask() == ["p1:m", "ok"]
    assert asking.rests == []


def test_rest_is_told_with_all_that_is_known() -> None:
    asking = Asking({"p": [None]})
    asking.ask(NOT_FOUND)
    assert asking.rests == [
        Rested(
            "p",
            "p/p1",
            "m",
            CHAT,
            "p1",
            5.0,
            "model_unavailable",
            404,
            "no such model",
            at=asking.now,
        )
    ]


def test_odd_refusal_is_taken_to_one_other_account_at_most() -> None:
    asking = Asking({"p": [None] * 10})
    for _ in range(40):
        asking.ask()
    assert len(asking.ask(ODD)) == 3


def test_refused_model_is_refused_at_its_endpoint_alone() -> None:
    asking = Asking({"p": [None]})
    assert asking.ask(NOT_FOUND, endpoint=EMBEDDINGS) == ["p1:m", "model_unavailable"]
    assert asking.ask(endpoint=EMBEDDINGS) == ["model_unavailable"]
    assert asking.ask(endpoint=CHAT) == ["p1:m", "ok"]


def test_model_that_is_not_found_is_asked_of_one_key_of_an_account() -> None:
    asking = Asking({"p": ["org"] * 40})
    assert len(asking.ask(NOT_FOUND)) == 2
    assert asking.ask() == ["model_unavailable"]
    asking.now += 5.0
    assert asking.ask()[1:] == ["ok"]
    assert asking.ask()[1:] == ["ok"]


def test_model_that_is_forbidden_to_a_key_is_asked_of_the_others() -> None:
    asking = Asking({"p": ["org"] * 3})
    tried = asking.ask(FORBIDDEN, on="p1")
    assert tried[-1] == "ok"
    later = {asking.ask()[0] for _ in range(9)}
    assert later == {"p2:m", "p3:m"}
    asking.now += 5.0
    assert {asking.ask()[0] for _ in range(9)} == {"p1:m", "p2:m", "p3:m"}


@pytest.mark.parametrize("failure", [NOT_FOUND, FORBIDDEN], ids=["not found", "forbidden"])
def test_rotated_key_is_asked_at_once(failure: Failure) -> None:
    asking = Asking({"p": [None]})
    asking.ask(failure)
    assert asking.ask() == ["model_unavailable"]
    asyncio.run(asking.router.rotate_key("p1", "sk-new"))
    assert asking.ask() == ["p1:m", "ok"]


def test_name_that_exists_nowhere_costs_two_calls_and_no_waiting() -> None:
    asking = Asking({"p": [None] * 60})
    for number in range(40):
        tried = asking.ask(NOT_FOUND, model="bogus", wait_s=30.0)
        assert tried[-1] == "model_unavailable"
        assert len(tried) == (3 if number < 30 else 1)


@pytest.mark.parametrize("kind", [F.CONTEXT_LENGTH, F.UNFIT_MODEL])
def test_what_a_model_cannot_do_is_asked_of_the_next_target(kind: FailureClass) -> None:
    asking = Asking({"p": [None, None], "q": [None]})
    asking.router.routes.set_aliases({"fast": (("p", "small"), ("p", "large"), ("q", "x"))})
    failure = Failure(kind, "too long", 400)
    tried = asking.ask(failure, model="fast", on="")
    assert [name.partition(":")[2] for name in tried] == ["small", "large", "x", ""]
    assert tried[-1] == kind.value
    assert asking.ask(failure, model="m", on="p")[0:1] != []
    assert asking.rests == []


def test_what_a_model_cannot_do_is_asked_of_no_other_key() -> None:
    asking = Asking({"p": [None, None]})
    assert len(asking.ask(Failure(F.CONTEXT_LENGTH, "too long", 400))) == 2


def test_size_that_cannot_be_paid_for_is_refused_alone() -> None:
    asking = Asking({"p": ["org", "org"]})
    assert len(asking.ask(Failure(F.TOO_BIG_FOR_LIMIT, "can only afford 4000", 402))) == 2
    assert asking.ask()[-1] == "ok"


@pytest.mark.parametrize("failure", [NOT_FOUND, FORBIDDEN], ids=["not found", "forbidden"])
@pytest.mark.parametrize("was_refused", [False, True], ids=["first", "later"])
def test_request_does_not_wait_for_who_has_refused_it(failure: Failure, was_refused: bool) -> None:
    asking = Asking({"p": [None, None]})
    for _ in range(4):
        asking.ask()
    if was_refused:
        asking.ask(failure, on="p1")
        asking.now += 5.0
    assert len(asking.ask(failure, wait_s=30.0)) == 3


def test_answer_to_one_key_leaves_what_another_one_is_refused() -> None:
    asking = Asking({"p": ["org", "org"]})
    first, second = asking.router.key_manager.slot_by_id.values()
    refusals = Refusals(Cooldown(9.0), rests=3, suspects=[1])
    for slot in (first, second):
        refusals.rest(9.0, "forbidden", slot)
    refusals.forget(first)
    assert refusals == Refusals(cooldown_by_key={second: Cooldown(9.0, "forbidden")})


def test_refusals_of_single_keys_are_bounded() -> None:
    refusals = Refusals()
    asking = Asking({"p": ["org"] * 300})
    for slot in asking.router.key_manager.slot_by_id.values():
        refusals.rest(2000.0, "forbidden", slot)
    assert len(refusals.cooldown_by_key) == 256
    for number in range(100):
        refusals.is_borne_out_by(Demand(model="m", request_id="r", input_tokens=number), 2)
    assert len(refusals.suspects) == 8


def test_refusals_that_come_together_count_once() -> None:
    asking = Asking({"p": ["org"]})
    demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)

    async def together() -> None:
        running = [await anext(aiter(asking.router.attempts(demand))) for _ in range(20)]
        for attempt in running:
            asking.now += 0.01
            attempt.fail(NOT_FOUND)

    asyncio.run(together())
    assert {rest.seconds for rest in asking.rests} == {5.0}
