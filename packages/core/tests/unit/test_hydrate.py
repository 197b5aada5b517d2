"""A router takes up what its store has: after a restart, a crash, beside others."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, KeyState, NoEligibleKeysError
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.state_store import StateQuery, StateStore
from apikeyrouter.errors import (
    EncryptionError,
    KeyRegistrationError,
    StateConflictError,
    StateStoreError,
)
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.state_store.stores import store_at
from apikeyrouter.infrastructure.utils.encryption import EncryptionService

pytestmark = pytest.mark.unit

SECRET = EncryptionService.generate_key()
S = KeyState
Start = Callable[..., Awaitable[ApiKeyRouter]]


class Site:
    """A database file, and routers that come and go over it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/r.db"
        self.running: list[ApiKeyRouter] = []

    async def start(
        self, *, providers: tuple[str, ...] = ("p",), secret: str = SECRET,
        claimed: tuple[str, ...] | None = None,
    ) -> ApiKeyRouter:  # fmt: skip
        config = {"log_level": "CRITICAL", "encryption_key": secret, "max_queue_wait_seconds": 0.0}
        router = ApiKeyRouter(store_at(self.url), config=config)
        self.running.append(router)
        for provider in providers:
            await router.register_provider(provider, OpenAIAdapter("http://127.0.0.1:1/v1"))
        await router.hydrate(claimed=claimed)
        return router

    async def restart(self, **options: Any) -> ApiKeyRouter:
        await self.close()
        return await self.start(**options)

    async def close(self) -> None:
        while self.running:
            await self.running.pop().close()

    def store(self) -> StateStore:
        return store_at(self.url)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    yield made
    await made.close()


async def _fail(router: ApiKeyRouter, failure: FailureClass, **facts: Any) -> None:
    attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r"))))
    attempt.fail(Failure(failure, "no", **facts))


async def test_key_is_used_after_a_restart_as_it_was(site: Site) -> None:
    router = await site.start()
    facts = {"id": "k", "weight": 2, "priority": 3, "tags": {"a": "b"}, "models": ["m*"], "mine": 1}
    await router.register_key("sk-1", "p", facts)
    attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r"))))
    attempt.settle(3, 4)
    before = (await router.key_manager.rotate_key("k", "sk-2")).model_copy()
    router = await site.restart()
    slot = router.key_manager.slot("k")
    assert (slot.secret, slot.weight, slot.priority, slot.tags) == ("sk-2", 2, 3, {"a": "b"})
    assert (slot.models, slot.served, slot.record.metadata["mine"]) == (("m*",), 1, 1)
    assert slot.snapshot().model_dump() == before.model_dump()
    assert slot.record.reveal() == "sk-2"
    attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r"))))
    assert attempt.slot is slot
    attempt.cancel()


@pytest.mark.parametrize(
    ("failure", "facts", "state"),
    [
        (FailureClass.KEY_INVALID, {"status": 401}, S.INVALID),
        (FailureClass.RATE_LIMITED, {"status": 429, "retry_after_s": 600.0}, None),
        (FailureClass.KEY_BUDGET, {"status": 402}, None),
    ],
    ids=lambda value: getattr(value, "value", None),
)
async def test_what_traffic_found_out_survives(
    site: Site, failure: FailureClass, facts: dict[str, Any], state: KeyState | None
) -> None:
    router = await site.start()
    await router.register_key("sk-1", "p", {"id": "k"})
    await _fail(router, failure, **facts)
    slot = router.key_manager.slot("k")
    before = slot.record.state, slot.record.cooldown_until, slot.failed
    router = await site.restart()
    slot = router.key_manager.slot("k")
    assert before == (slot.record.state, slot.record.cooldown_until, slot.failed)
    assert state in (None, slot.record.state)


@pytest.mark.parametrize("reason", ["leaked", "left"])
async def test_revoked_key_stays_revoked(site: Site, reason: str) -> None:
    router = await site.start()
    await router.register_key("sk-1", "p", {"id": "k"})
    await router.revoke_key("k", reason)
    router = await site.restart()
    assert router.key_manager.slot("k").record.state is S.DISABLED
    with pytest.raises(NoEligibleKeysError):
        await anext(aiter(router.attempts(Demand(model="m", request_id="r"))))
    await router.key_manager.update_key_state("k", "available", "found")
    router = await site.restart()
    assert router.key_manager.slot("k").record.state is S.AVAILABLE


async def test_key_of_a_provider_that_comes_later_waits_for_it(site: Site) -> None:
    router = await site.start()
    await router.register_key("sk-1", "p", {"id": "k"})
    router = await site.restart(providers=())
    assert router.count_keys() == (0, 0)
    await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
    assert router.count_keys() == (1, 1)


@pytest.mark.parametrize(
    ("secret", "state"), [("sk-1", S.DISABLED), ("sk-2", S.AVAILABLE)], ids=["same", "new secret"]
)
@pytest.mark.parametrize("is_hydrated", [True, False])
async def test_declared_key_is_merged_with_what_is_kept_of_it(
    site: Site, secret: str, state: KeyState, is_hydrated: bool
) -> None:
    router = await site.start()
    await router.register_key("sk-1", "p", {"id": "k", "weight": 2, "note": "by hand"})
    await router.revoke_key("k")
    await site.close()
    router = (
        await site.start(claimed=("k",), providers=("p",)) if is_hydrated else site_router(site)
    )
    if not is_hydrated:
        await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
    key = await router.register_key(secret, "p", {"id": "k", "weight": 5})
    assert (key.state, key.metadata) == (state, {"weight": 5, "note": "by hand"})
    assert router.key_manager.slot("k").secret == secret
    router = await site.restart()
    slot = router.key_manager.slot("k")
    assert (slot.record.state, slot.secret, slot.weight) == (state, secret, 5)


def site_router(site: Site) -> ApiKeyRouter:
    """Start one that has not read its store."""
    config = {"log_level": "CRITICAL", "encryption_key": SECRET}
    site.running.append(ApiKeyRouter(site.store(), config=config))
    return site.running[-1]


async def test_key_that_the_configuration_no_longer_names_is_out_of_use(site: Site) -> None:
    router = await site.start(claimed=("old", "new"))
    for name in ("old", "new"):
        await router.register_key(f"sk-{name}", "p", {"id": name, "origin": "configuration"})
    await router.register_key("sk-3", "p", {"id": "by-hand"})
    router = await site.restart(claimed=("new",))
    await router.register_key("sk-new", "p", {"id": "new", "origin": "configuration"})
    assert sorted(router.key_manager.slot_by_id) == ["by-hand", "new"]


async def test_id_that_is_another_providers_is_refused(site: Site) -> None:
    router = await site.start(providers=("p",))
    await router.register_key("sk-1", "p", {"id": "k"})
    router = await site.restart(providers=("q",))
    with pytest.raises(KeyRegistrationError, match="kept as one of provider 'p'"):
        await router.register_key("sk-1", "q", {"id": "k"})


async def test_keys_that_another_encryption_key_sealed_are_named(site: Site) -> None:
    router = await site.start()
    await router.register_key("sk-1", "p", {"id": "k"})
    with pytest.raises(EncryptionError, match="cannot open 1 stored keys of 'p', such as 'k'"):
        await site.restart(secret=EncryptionService.generate_key())


async def test_revoked_key_does_not_come_back_when_it_cannot_be_opened(site: Site) -> None:
    router = await site.start()
    await router.register_key("sk-1", "p", {"id": "k"})
    await router.revoke_key("k")
    router = await site.restart(secret=EncryptionService.generate_key(), claimed=("k",))
    key = await router.register_key("sk-1", "p", {"id": "k"})
    assert (key.state, key.reveal()) == (S.DISABLED, "sk-1")


async def test_secrets_move_under_the_first_key_while_they_are_used(site: Site) -> None:
    router = await site.start()
    for name in ("k1", "k2"):
        await router.register_key(f"sk-{name}", "p", {"id": name})
    await router.register_provider("q", OpenAIAdapter("http://127.0.0.1:1/v1"))
    await router.register_key("sk-k3", "q", {"id": "k3"})
    new = EncryptionService.generate_key()
    router = await site.restart(secret=f"{new},{SECRET}")
    attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r"))))
    assert await router.key_manager.rewrap_keys() == 3
    assert await router.key_manager.rewrap_keys() == 0
    attempt.settle(1, 1)
    await router.revoke_key("k1")
    router = await site.restart(secret=new, providers=("p", "q"))
    slots = router.key_manager.slot_by_id
    assert {name: slot.secret for name, slot in slots.items()} == {
        "k1": "sk-k1", "k2": "sk-k2", "k3": "sk-k3",
    }  # fmt: skip
    assert slots["k1"].record.state is S.DISABLED


async def test_passphrase_opens_what_it_sealed_before_the_restart(site: Site) -> None:
    phrase = "passphrase:correct horse battery"
    router = await site.start(secret=phrase)
    await router.register_key("sk-1", "p", {"id": "k"})
    router = await site.restart(secret=phrase)
    assert router.key_manager.slot("k").secret == "sk-1"
    with pytest.raises(EncryptionError, match="sealed under another key"):
        await site.restart(secret="passphrase:another horse's battery")


async def test_of_two_orders_in_two_processes_the_second_is_told(site: Site) -> None:
    one = await site.start()
    await one.register_key("sk-1", "p", {"id": "k"})
    two = await site.start()
    await one.revoke_key("k", "leaked")
    with pytest.raises(StateConflictError, match="'k' was changed by another process"):
        await two.rotate_key("k", "sk-2")
    slot = two.key_manager.slot("k")
    assert (slot.record.state, slot.secret) == (S.DISABLED, "sk-1")
    await two.rotate_key("k", "sk-2")
    with pytest.raises(StateConflictError):
        await one.key_manager.update_key_state("k", "available")
    assert one.key_manager.slot("k").secret == "sk-2"
    await site.close()
    store = site.store()
    moves = await store.query_state(StateQuery("StateTransition", key_id="k"))
    # Each move is recorded by the process that ordered it, and by no other.
    assert [m.trigger for m in moves] == ["not stored", "by hand", "rotated", "leaked"]
    await store.close()


async def test_traffic_of_one_process_does_not_undo_anothers_order(site: Site) -> None:
    one = await site.start()
    await one.register_key("sk-1", "p", {"id": "k"})
    two = await site.start()
    await one.revoke_key("k", "leaked")
    await _fail(two, FailureClass.RATE_LIMITED, status=429, retry_after_s=1.0)
    router = await site.restart()
    assert router.key_manager.slot("k").record.state is S.DISABLED


async def test_wait_that_is_over_keeps_nobody(site: Site) -> None:
    router = await site.start()
    key = await router.register_key("sk-1", "p", {"id": "k"})
    store = site.store()
    past = datetime.now(UTC) - timedelta(minutes=1)
    waited = {"state": S.THROTTLED, "cooldown_until": past}
    await store.save_key(key.model_copy(update=waited))
    await store.close()
    router = await site.restart()
    attempt = await anext(aiter(router.attempts(Demand(model="m", request_id="r"))))
    attempt.settle(1, 1)
    assert router.key_manager.slot("k").record.state is S.AVAILABLE


async def test_store_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    router = ApiKeyRouter(store_at(f"sqlite:///{tmp_path}/none/r.db"))
    with pytest.raises(StateStoreError, match="No such file or directory"):
        await router.hydrate()
    await router.close()


async def test_router_over_memory_hydrates_to_nothing() -> None:
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await router.hydrate()
        assert router.count_keys() == (0, 0)
