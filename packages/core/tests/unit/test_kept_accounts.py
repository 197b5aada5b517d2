"""What traffic taught survives a restart: levels, learned limits, waits, guesses, circuits."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, NoEligibleKeysError
from apikeyrouter.domain.accounts.scope_record import restore_scope, scope_data
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.interfaces.state_store import Document
from apikeyrouter.domain.ledger.ledger import Ledger
from apikeyrouter.domain.limits.observation import (
    MINUTE_S,
    Algorithm,
    Dimension,
    ObservedLimit,
)
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.quota_scope import Membership, QuotaScope
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.state_store.stores import store_at
from apikeyrouter.infrastructure.utils.encryption import EncryptionService

pytestmark = pytest.mark.unit
SECRET = EncryptionService.generate_key()


class Site:
    """Routers that come and go over one database file, and a clock in our hand."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/r.db"
        self.now = 1_800_000_000.0
        self.router: ApiKeyRouter

    async def start(self, **facts: Any) -> None:
        config = {"log_level": "CRITICAL", "encryption_key": SECRET, "max_queue_wait_seconds": 0.0}
        self.router = ApiKeyRouter(store_at(self.url), config=config, clock=lambda: self.now)
        await self.router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
        await self.router.hydrate(claimed=("k1", "k2"))
        for name in ("k1", "k2"):
            await self.router.register_key(f"sk-{name}", "p", {"id": name, **facts})

    async def restart(self, **facts: Any) -> None:
        await self.router.close()
        await self.start(**facts)

    async def attempt(self) -> Attempt:
        demand = Demand(model="m", request_id="r", input_tokens=5, output_cap=5)
        return await anext(aiter(self.router.attempts(demand)))

    async def serve_until_refused(self, most: int = 100) -> int:
        """Serve requests one after the other until one is refused; return how many."""
        for served in range(most):
            try:
                attempt = await self.attempt()
            except NoEligibleKeysError:
                return served
            attempt.settle(5, 5)
            self.router._parts.context.end_request(attempt.record, "ok")
        return most

    async def fail(self, failure: Failure) -> None:
        attempt = await self.attempt()
        attempt.fail(failure)
        self.router._parts.context.end_request(attempt.record, failure.kind.value)

    def scopes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.router.get_state_summary()["scopes"]
        return found


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    await made.router.close()


LIMITS = {"limits": {"rpm": 20}, "scope": "one"}


async def test_bucket_that_was_empty_is_empty_after_a_restart(site: Site) -> None:
    await site.start(**LIMITS)
    full = await site.serve_until_refused()
    assert full >= 19
    await site.restart(**LIMITS)
    assert await site.serve_until_refused() == 0
    site.now += 15.0
    assert await site.serve_until_refused() == 5
    await site.restart(**LIMITS)
    assert await site.serve_until_refused() == 0
    site.now += 61.0
    assert await site.serve_until_refused() == full


async def test_what_calls_under_way_have_taken_is_taken_after_a_crash(site: Site) -> None:
    await site.start(**LIMITS)
    running = [await site.attempt() for _ in range(15)]
    # Once a second, and written a moment later.
    store = store_at(site.url)
    async with asyncio.timeout(10):
        while not await store.list_documents("Account"):
            pass
    await store.close()
    crashed = site.router
    await site.start(**LIMITS)
    assert await site.serve_until_refused() in (4, 5)
    for attempt in running:
        attempt.cancel()
    await crashed.close()


async def test_level_goes_over_to_a_limit_that_is_declared_anew(site: Site) -> None:
    await site.start(**LIMITS)
    full = await site.serve_until_refused()
    await site.restart(limits={"rpm": 30}, scope="one")
    assert await site.serve_until_refused() in (29 - full, 30 - full)


async def test_limit_that_is_no_longer_declared_is_gone(site: Site) -> None:
    await site.start(**LIMITS)
    await site.serve_until_refused()
    await site.restart(limits={}, scope="one")
    assert await site.serve_until_refused(40) == 40


async def test_limit_that_was_told_is_known_after_a_restart(site: Site) -> None:
    await site.start(scope="one")
    told = ObservedLimit(Dimension.REQUESTS, limit=10.0, remaining=0.0, period_s=MINUTE_S)
    attempt = await site.attempt()
    attempt.answered((told,))
    attempt.settle(5, 5)
    site.router._parts.context.end_request(attempt.record, "ok")
    before = site.scopes()
    assert before[0]["windows"]
    await site.restart(scope="one")
    with pytest.raises(NoEligibleKeysError):
        await site.attempt()
    [window] = [w for w in site.scopes()[0]["windows"] if w["provenance"] != "inferred"]
    assert (window["capacity"], window["provenance"]) == (10.0, "header")


async def test_wait_that_a_provider_told_holds_after_a_restart(site: Site) -> None:
    await site.start(scope="one")
    await site.fail(Failure(FailureClass.RATE_LIMITED, "slow", 429, retry_after_s=300.0))
    await site.restart(scope="one")
    assert await site.serve_until_refused() == 0
    site.now += 301.0
    assert await site.serve_until_refused(1) == 1


async def test_guesses_about_undisclosed_limits_hold_after_a_restart(site: Site) -> None:
    await site.start(scope="one")
    for _ in range(30):
        await site.serve_until_refused(1)
        site.now += 0.5
    for _ in range(3):
        await site.fail(Failure(FailureClass.RATE_LIMITED, "slow", 429))
        site.now += 5.0
    before = [w for scope in site.scopes() for w in scope["windows"]]
    assert before
    await site.restart(scope="one")
    await site.serve_until_refused(1)
    after = [w for scope in site.scopes() for w in scope["windows"]]
    names = [(w["dimension"], w["algorithm"], round(w["capacity"], 3)) for w in before]
    assert names == [(w["dimension"], w["algorithm"], round(w["capacity"], 3)) for w in after]


async def test_open_circuit_is_open_after_a_restart(site: Site) -> None:
    await site.start(scope="one")
    for _ in range(5):
        await site.fail(Failure(FailureClass.SERVER_ERROR, "down", 500))
    assert site.router.get_state_summary()["circuits"]
    await site.restart(scope="one")
    with pytest.raises(NoEligibleKeysError):
        await site.attempt()
    site.now += 10.0
    assert await site.serve_until_refused(1) == 1


async def test_keys_that_were_found_to_share_an_account_share_it_still(site: Site) -> None:
    await site.start()
    registry = site.router._parts.registry
    slots = site.router.key_manager.slot_by_id
    attempt = await site.attempt()
    registry.join(slots["k1"], "org-1", basis="told", confidence=1.0)
    registry.join(slots["k2"], "org-1", basis="told", confidence=1.0)
    attempt.settle(5, 5)
    site.router._parts.context.end_request(attempt.record, "ok")
    await site.restart()
    keys = site.router.get_state_summary()["keys"]
    assert [(key["account"], key["account_basis"]) for key in keys] == [("org-1", "told")] * 2


async def test_counts_of_a_key_survive(site: Site) -> None:
    await site.start(scope="one")
    assert await site.serve_until_refused(7) == 7
    await site.restart(scope="one")
    assert sum(slot.served for slot in site.router.key_manager.slot_by_id.values()) == 7


@pytest.mark.parametrize(
    "damage", [{"windows": [{"kind": "none"}]}, {"wait": None}, {"search": {}}, {"counts": {}}]
)
async def test_account_that_cannot_be_read_is_learned_again(
    site: Site, damage: dict[str, Any]
) -> None:
    await site.start(**LIMITS)
    full = await site.serve_until_refused()
    await site.router.close()
    store = store_at(site.url)
    [kept] = await store.list_documents("Account")
    await store.save_document(
        Document("Account", kept.id, {**kept.body, **damage}, instant(site.now))
    )
    await store.close()
    await site.start(**LIMITS)
    assert await site.serve_until_refused() == full


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_window_of_any_kind_comes_back_at_its_level(algorithm: Algorithm) -> None:
    from apikeyrouter.domain.accounts.window_record import window_data, window_of
    from apikeyrouter.domain.ledger.algorithms import make_window

    window = make_window(algorithm, Dimension.REQUESTS, 10.0, 60.0, 1000.0)
    window.take(4.0, 1001.0)
    again = window_of(window_data(window, 1002.0), None, 0.0)
    assert type(again) is type(window)
    gone = algorithm is Algorithm.CONCURRENT
    for now in (1002.0, 1010.0, 1200.0):
        assert again.room(now) == pytest.approx(10.0 if gone else window.room(now))


def test_scope_that_nobody_knows_anything_of_comes_back() -> None:
    search = LimitSearch(Ledger(), emit=lambda _: None)
    scope = QuotaScope("p/k", "p", Membership("k"))
    search.begin(scope, 1000.0)
    data = scope_data(scope, search, 1001.0)
    again = QuotaScope("p/k", "p", Membership("k"))
    other = LimitSearch(Ledger(), emit=lambda _: None)
    restore_scope(again, data, other, calendars={}, wall_ahead_s=0.0, prior=Admission())
    assert again.is_searched
    assert data == scope_data(again, other, 1001.0)
