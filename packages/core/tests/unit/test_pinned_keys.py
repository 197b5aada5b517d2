"""What belongs to one key is asked of that key, or of its account, and of nobody else."""

import pytest

from apikeyrouter import (
    ApiKeyRouter,
    Demand,
    NoEligibleKeysError,
    PinnedKeyError,
    UnknownModelError,
)
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.routing import pinned_pools
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit


async def router_of(**scopes: str | None) -> ApiKeyRouter:
    """Return a router with a key of each name, of provider `p`, in these scopes."""
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
    for name, scope in scopes.items():
        facts = {"id": name, "scope": scope} if scope else {"id": name}
        await router.register_key(f"sk-{name}", "p", facts)
    return router


async def served_by(router: ApiKeyRouter, **demand: object) -> list[str]:
    """Return who serves six requests."""
    keys = []
    for number in range(6):
        asked = {"model": "m", "request_id": f"r{number}", "max_wait": 0.0, **demand}
        async for attempt in router.attempts(Demand(**asked)):  # type: ignore[arg-type]
            keys.append(attempt.slot.id)
            attempt.settle()
    return keys


async def first_attempt(router: ApiKeyRouter, demand: Demand) -> Attempt:
    return await anext(router.attempts(demand))


@pytest.mark.parametrize("model", ["m", "", "p/m"])
async def test_key_serves_all_that_belongs_to_it(model: str) -> None:
    router = await router_of(k1="a", k2="a", k3=None)
    assert await served_by(router, model=model, key_id="k2") == ["k2"] * 6
    assert set(await served_by(router, model=model)) == {"k1", "k2", "k3"}


async def test_account_serves_what_belongs_to_a_key_that_is_gone() -> None:
    router = await router_of(k1="a", k2="a", k3="b")
    assert await served_by(router, key_id="k1") == ["k1"] * 6
    await router.revoke_key("k1")
    assert await served_by(router, key_id="k1") == ["k2"] * 6


async def test_key_that_is_refused_midway_is_followed_by_its_account() -> None:
    router = await router_of(k1="a", k2="a", k3="b")
    attempts = router.attempts(Demand(model="", request_id="r", key_id="k1"))
    for key in ("k1", "k2"):
        attempt = await anext(attempts)
        assert attempt.slot.id == key
        attempt.fail(Failure(FailureClass.KEY_INVALID, "no", 401))
    with pytest.raises(PinnedKeyError, match="key 'k1' is invalid"):
        await anext(attempts)


async def test_key_without_siblings_that_is_gone_is_named() -> None:
    router = await router_of(k1="a", k3="b")
    await router.revoke_key("k1")
    with pytest.raises(PinnedKeyError, match="key 'k1' is disabled, and its account has no other"):
        await served_by(router, key_id="k1")


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        ({"key_id": "k9"}, "key 'k9' is not registered any more"),
        ({"key_id": "k1", "model": "q/m"}, "its provider 'p' does not serve model 'q/m'"),
        ({"key_id": "k1", "model": "other"}, "key 'k1' may not be used for model 'other'"),
        (
            {"key_id": "k1", "model": "", "endpoint": "nothing"},
            "its provider 'p' does not serve nothing",
        ),
    ],
)
async def test_what_the_key_cannot_serve_is_told(demand: dict[str, str], words: str) -> None:
    class Choosy(OpenAIAdapter):
        def serving(self, endpoint: str) -> object:  # type: ignore[override]
            return (
                super().serving("x") if endpoint != "nothing" else type(super().serving("x")).NONE
            )

    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("p", Choosy("http://127.0.0.1:1/v1"))
    await router.register_provider("q", OpenAIAdapter("http://127.0.0.1:1/v1"))
    await router.register_key("sk-k1", "p", {"id": "k1", "models": ["m"]})
    await router.register_key("sk-k2", "q", {"id": "k2"})
    await router.register_key("sk-k3", "p", {"id": "k3", "models": ["other"]})
    with pytest.raises(PinnedKeyError, match=words):
        await served_by(router, **demand)


async def test_key_is_waited_for_though_another_has_room() -> None:
    router = await router_of(k1="a", k2="b")
    await router.configure_quota("k1", {"rpm": 1})
    assert (await first_attempt(router, Demand(model="m", request_id="1", key_id="k1"))).slot
    with pytest.raises(NoEligibleKeysError) as told:
        await served_by(router, key_id="k1")
    assert told.value.retry_after is not None


async def test_key_that_may_be_left_is_asked_first() -> None:
    router = await router_of(k1="a", k2="b")
    assert await served_by(router, key_id="k2", may_leave_key=True) == ["k2"] * 6
    await router.configure_quota("k2", {"rpm": 1})
    assert await served_by(router, key_id="k2", may_leave_key=True) == ["k2", *["k1"] * 5]
    assert set(await served_by(router, key_id="gone", may_leave_key=True)) == {"k1"}


async def test_nobody_who_speaks_it_is_told() -> None:
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    with pytest.raises(UnknownModelError, match="no key serves files"):
        await served_by(router, model="", endpoint="files")


async def test_pools_of_single_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pinned_pools, "_POOLS_KEPT", 3)
    router = await router_of(k1="a", k2="b")
    for number in range(10):
        assert await served_by(router, model=f"m{number}", key_id="k1") == ["k1"] * 6
    assert len(router.routes.pools()) == 3
