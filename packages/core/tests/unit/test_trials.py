"""A key that was refused by mistake is tried again, by one request now and then."""

import asyncio
from collections import Counter

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    Demand,
    KeyState,
    NoEligibleKeysError,
    ProviderAdapter,
    RequestIntent,
)
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.system_response import SystemResponse
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.keys import prober

pytestmark = pytest.mark.unit
F = FailureClass
NOT_KNOWN = Failure(F.KEY_INVALID, "who are you", 401)
DISABLED = Failure(F.ACCOUNT_DISABLED, "on hold", 403)


class Silent(OpenAIAdapter):
    """Says nothing of a key by a probe: once each time that the test lets it."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/v1")
        self.turn = asyncio.Event()
        self.answer: bool | None = None

    async def probe(self, secret: str) -> bool | None:
        await self.turn.wait()
        self.turn.clear()
        return self.answer

    async def round(self, answer: bool | None = None) -> None:
        self.answer = answer
        self.turn.set()
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "FIRST_PROBE_S", 0.0)


async def router_of(adapter: Silent, keys: int) -> ApiKeyRouter:
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("p", adapter)
    for number in range(1, keys + 1):
        facts = {"id": f"k{number}", "limits": {"rpm": 1e6}}
        await router.register_key(f"sk-{number}", "p", facts)
    return router


async def attempt(router: ApiKeyRouter) -> Attempt:
    demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
    return await anext(aiter(router.attempts(demand)))


async def is_refused(router: ApiKeyRouter) -> bool:
    try:
        (await attempt(router)).cancel()
    except NoEligibleKeysError:
        return True
    return False


@pytest.mark.parametrize("failure", [NOT_KNOWN, DISABLED], ids=lambda failure: failure.kind)
async def test_one_request_tries_it_and_an_answer_brings_it_back(failure: Failure) -> None:
    adapter = Silent()
    async with await router_of(adapter, 1) as router:
        (await attempt(router)).fail(failure)
        assert await is_refused(router)
        await adapter.round()
        trial = await attempt(router)
        assert await is_refused(router)
        trial.settle(1, 1)
        assert router.key_manager.slot("k1").record.state is KeyState.AVAILABLE
        assert not await is_refused(router)


@pytest.mark.parametrize("end", ["refused", "cancelled", "broken"])
async def test_trial_that_fails_waits_for_the_next_round(end: str) -> None:
    adapter = Silent()
    async with await router_of(adapter, 1) as router:
        (await attempt(router)).fail(NOT_KNOWN)
        for _ in range(3):
            await adapter.round()
            trial = await attempt(router)
            if end == "cancelled":
                trial.cancel()
            else:
                trial.fail(NOT_KNOWN if end == "refused" else Failure(F.CONFLICT, "busy", 409))
            assert await is_refused(router)
            assert router.key_manager.slot("k1").record.state is KeyState.INVALID


async def test_request_whose_trial_is_refused_walks_on() -> None:
    adapter = Silent()
    async with await router_of(adapter, 2) as router:
        while (first := await attempt(router)).slot.id != "k1":
            first.settle(1, 1)
        first.fail(NOT_KNOWN)
        await adapter.round()
        calls: Counter[str] = Counter()
        for _ in range(20):
            demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
            async for each in router.attempts(demand):
                calls[each.slot.id] += 1
                if each.slot.id == "k2":
                    each.settle(1, 1)
                    break
                each.fail(NOT_KNOWN)
        assert calls == {"k1": 1, "k2": 20}


async def test_key_that_a_probe_finds_refused_is_not_tried() -> None:
    adapter = Silent()
    async with await router_of(adapter, 1) as router:
        (await attempt(router)).fail(NOT_KNOWN)
        await adapter.round(False)
        assert await is_refused(router)


@pytest.mark.parametrize("what", ["revoked", "rotated"])
async def test_offer_of_a_trial_is_over_when_an_operator_has_a_say(what: str) -> None:
    adapter = Silent()
    async with await router_of(adapter, 1) as router:
        (await attempt(router)).fail(NOT_KNOWN)
        await adapter.round()
        if what == "revoked":
            await router.revoke_key("k1")
            assert await is_refused(router)
        else:
            await router.rotate_key("k1", "sk-new")
            assert not router.key_manager.slot("k1").may_try


async def test_answer_to_a_call_from_before_the_refusal_brings_nothing_back() -> None:
    adapter = Silent()
    now = 1000.0
    router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: now)
    async with router:
        await router.register_provider("p", adapter)
        await router.register_key("sk-1", "p", {"id": "k1"})
        running, refused = await attempt(router), await attempt(router)
        now += 1.0
        refused.fail(NOT_KNOWN)
        running.settle(1, 1)
        assert router.key_manager.slot("k1").record.state is KeyState.INVALID


class Own(ProviderAdapter):
    """An adapter of a user's own: it offers no call that costs nothing."""

    async def execute_request(self, intent: RequestIntent, key: APIKey) -> object:
        raise NotImplementedError

    async def normalize_response(self, raw: object) -> SystemResponse:
        raise NotImplementedError


async def test_key_of_an_adapter_that_cannot_probe_is_tried_too() -> None:
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await router.register_provider("p", Own())
        await router.register_key("sk-1", "p", {"id": "k1"})
        (await attempt(router)).fail(NOT_KNOWN)
        assert await is_refused(router)
        for _ in range(5):
            await asyncio.sleep(0)
        (await attempt(router)).settle(1, 1)
        assert not await is_refused(router)
