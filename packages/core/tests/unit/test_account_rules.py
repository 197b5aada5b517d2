"""What operators order of accounts holds against traffic, and is told apart when two collide."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.limits.account_rules import ProviderRules
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension, ObservedLimit, Provenance
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.domain.quota_scope import Membership, QuotaScope
from apikeyrouter.errors import ConfigurationError, StateConflictError, UnreadableRecordError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.state_store.stores import store_at
from apikeyrouter.infrastructure.utils.encryption import EncryptionService

pytestmark = pytest.mark.unit
SECRET = EncryptionService.generate_key()


class Site:
    """Routers over one database file, and a clock in our hand."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/r.db"
        self.now = 1_800_000_000.0
        self.routers: list[ApiKeyRouter] = []

    async def start(self) -> ApiKeyRouter:
        config = {"log_level": "CRITICAL", "encryption_key": SECRET, "max_queue_wait_seconds": 0.0}
        router = ApiKeyRouter(store_at(self.url), config=config, clock=lambda: self.now)
        await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
        await router.hydrate(claimed=("k1", "k2"))
        for name in ("k1", "k2"):
            await router.register_key(f"sk-{name}", "p", {"id": name, "models": [name]})
        self.routers.append(router)
        return router


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    for router in made.routers:
        await router.close()


async def attempt(router: ApiKeyRouter, model: str = "k1") -> Attempt:
    demand = Demand(model=model, request_id="r", input_tokens=5, output_cap=5)
    return await anext(aiter(router.attempts(demand)))


def scope_of(router: ApiKeyRouter, key_id: str = "k1") -> QuotaScope:
    return router.parts.registry.scope_for(router.key_manager.slot(key_id), "*")


def told(router: ApiKeyRouter, limit: float | None, remaining: float) -> None:
    observed = ObservedLimit(Dimension.REQUESTS, limit, remaining, period_s=MINUTE_S)
    router.quota_awareness_engine.learn(scope_of(router), (observed,), router.now())


@pytest.mark.parametrize("limit", [500.0, None])
async def test_figures_of_another_limit_do_not_move_an_overruled_one(
    site: Site, limit: float | None
) -> None:
    router = await site.start()
    told(router, limit, 400)
    orders = router.parts.account_orders
    await orders.overrule("p", ("k1", "*"), {"rpm": 10})
    told(router, limit, 499)
    account = scope_of(router).account
    (window,) = (w for w in account.windows if w.dimension is Dimension.REQUESTS)
    assert (window.capacity, window.provenance) == (10, Provenance.OPERATOR)
    # Its own figures do: so much of it is left.
    told(router, 10, 2)
    assert 7 <= window.used <= 8
    assert window.capacity == 10


async def test_what_a_provider_tells_moves_no_key_that_an_operator_has_placed(site: Site) -> None:
    router = await site.start()
    await router.parts.account_orders.merge("p", "k1", ["k2"])
    slot, book = router.key_manager.slot("k2"), router.parts.registry
    router.quota_awareness_engine.note_account(slot, "org")
    assert book.membership(slot) == Membership("k1", "configured")
    await router.parts.account_orders.split("p", ["k2"])
    assert not book.join(slot, "k1", basis="inferred", confidence=0.9)
    assert book.membership(slot) == Membership("k2", "alone")


async def test_of_two_orders_that_collide_the_second_is_refused_and_looks_again(
    site: Site,
) -> None:
    one, two = await site.start(), await site.start()
    await one.parts.account_orders.overrule("p", ("k1", "*"), {"rpm": 10})
    with pytest.raises(StateConflictError, match="another process"):
        await two.parts.account_orders.overrule("p", ("k1", "*"), {"rpm": 20})
    window = scope_of(two).account.window(Dimension.REQUESTS, MINUTE_S)
    assert window is not None
    assert window.capacity == 10
    await two.parts.account_orders.merge("p", "k1", ["k2"])
    await one.parts.account_orders.reread("p")
    assert one.parts.registry.membership(one.key_manager.slot("k2")).account == "k1"


@pytest.mark.parametrize("restarts", [False, True])
async def test_money_ends_the_waits_that_wait_for_it(site: Site, restarts: bool) -> None:
    router = await site.start()
    failed = await attempt(router)
    failed.fail(Failure(FailureClass.QUOTA_BILLING, "no money", 429))
    router.parts.context.end_request(failed.record, "quota")
    slot = router.key_manager.slot("k1")
    assert slot.record.state is KeyState.EXHAUSTED
    assert scope_of(router).cooldown.until > router.now()
    if restarts:
        await router.close()
        router = await site.start()
        slot = router.key_manager.slot("k1")
        assert slot.record.state is KeyState.EXHAUSTED
    site.now += 5.0
    await router.parts.account_orders.top_up("p", "k1")
    assert slot.record.state is KeyState.AVAILABLE
    assert scope_of(router).cooldown.until == 0.0
    (await attempt(router)).cancel()


async def test_money_ends_no_wait_for_a_limit(site: Site) -> None:
    router = await site.start()
    failed = await attempt(router)
    failed.fail(Failure(FailureClass.RATE_LIMITED, "slow down", 429, retry_after_s=30.0))
    until = scope_of(router).cooldown.until
    await router.parts.account_orders.top_up("p", "k1")
    assert scope_of(router).cooldown.until == until > router.now()
    assert router.key_manager.slot("k1").record.state is KeyState.THROTTLED


async def test_a_wait_that_began_after_the_money_came_goes_on(site: Site) -> None:
    router = await site.start()
    await router.parts.account_orders.top_up("p", "k1")
    site.now += 5.0
    (await attempt(router)).fail(Failure(FailureClass.QUOTA_BILLING, "no money", 429))
    await router.parts.account_orders.overrule("p", ("k1", "*"), {"rpm": 10})
    assert scope_of(router).cooldown.until > router.now()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"members": {}, "limits": [{"account": "a"}], "topped_up": {}},
        {"members": {}, "limits": [{"account": "a", "group": "*", "limits": {"x": 1}}],
         "topped_up": {}},
        {"members": 3, "limits": [], "topped_up": {}},
    ],
)  # fmt: skip
async def test_rules_of_another_version_are_refused_by_name(
    site: Site, body: dict[str, object]
) -> None:
    router = await site.start()
    await router.parts.account_orders.split("p", ["k1"])
    (document,) = await router.state_store.list_documents("AccountRules")
    odd = replace(document, body=body, revision=document.revision + 1)
    await router.state_store.save_document(odd)
    with pytest.raises(UnreadableRecordError, match="accounts of 'p'"):
        await router.parts.account_orders.load()


def test_rules_are_read_as_they_were_written() -> None:
    rules = ProviderRules(
        {"a": "org", "b": None}, {("org", "m"): {"rpm": 3.0}}, {"org": 12.5}, revision=4
    )
    assert ProviderRules.of(rules.data(), 4) == rules
    with pytest.raises(ConfigurationError):
        ProviderRules.of({**rules.data(), "limits": [
            {"account": "a", "group": "*", "limits": {"rpm": -1}},
        ]}, 0)  # fmt: skip
