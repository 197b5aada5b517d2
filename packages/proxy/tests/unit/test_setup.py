"""A router that follows its configuration: what changes, and what is left alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter import ApiKeyRouter, ConfigurationError, KeyState
from apikeyrouter.domain.limits.observation import Provenance
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.errors import StateStoreError, UnknownModelError
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore
from apikeyrouter.service import KeySlot, StateStore
from apikeyrouter_proxy.configuration.setup import RouterSetup

pytestmark = pytest.mark.unit

URL = "http://127.0.0.1:9/v1"
ONE = {"id": "one", "provider": "lab", "secret": "sk-first-secret"}
TWO = {"id": "two", "provider": "lab", "secret": "sk-second-secret"}


def config_of(*keys: dict[str, Any], **more: Any) -> RouterConfig:
    data = {"providers": {"lab": {"base_url": URL}}, "keys": list(keys), **more}
    return RouterConfig.model_validate(data)


@asynccontextmanager
async def following(
    *configs: RouterConfig, store: StateStore | None = None
) -> AsyncIterator[tuple[ApiKeyRouter, RouterSetup]]:
    async with ApiKeyRouter(store, config={"log_level": "CRITICAL"}) as router:
        await router.hydrate(claimed=[str(key.id) for key in configs[0].keys])
        setup = RouterSetup(router)
        for config in configs:
            await setup.apply(config)
        yield router, setup
        await setup.close()


def keys_for(router: ApiKeyRouter, model: str) -> set[str]:
    """Return who may serve *model*."""
    try:
        route = router.routes.route_for(Demand(model=model, request_id="r"))
    except UnknownModelError:
        return set()
    return {slot.id for pool in route.pools() for slot in pool.slots()}


def shape_of(slot: KeySlot, router: ApiKeyRouter, *, is_asked: bool) -> dict[str, Any]:
    book = router.quota_awareness_engine.book
    return {
        "provider": slot.provider_id, "secret": slot.secret, "state": slot.record.state,
        "models": slot.models, "weight": slot.weight, "priority": slot.priority,
        "tags": slot.tags, "account": book.membership(slot).account,
        "limits": sorted(
            (window.dimension.value, window.period_s, window.capacity)
            for scope in book.scopes_of(slot) for window in scope.account.windows
            # Who serves nothing need not have any.
            if is_asked and window.provenance is Provenance.DECLARED
        ),
    }  # fmt: skip


def state_of(router: ApiKeyRouter) -> dict[str, Any]:
    """Return all that a configuration decides."""
    models = ["gpt-1", "gpt-2", "other", "fast", "lab/gpt-1", "openai/gpt-1"]
    serving = {model: keys_for(router, model) for model in models}
    slots = router.key_manager.slot_by_id
    return {
        "serving": serving,
        "keys": {
            id_: shape_of(slot, router, is_asked=any(id_ in ids for ids in serving.values()))
            for id_, slot in slots.items()
        },
        "providers": {
            name: (entry.models, entry.wire.base_url if entry.wire else "", set(entry.slots))
            for name, entry in router.routes.providers.items()
        },
        "aliases": router.routes.aliases,
        "objective": router.routes.scorings.default.objective,
    }  # fmt: skip


KEYS = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["a", "b", "c"]), "secret": st.sampled_from(["sk-1", "sk-2"])},
        optional={
            "models": st.sampled_from([["gpt-*"], ["other"]]),
            "weight": st.sampled_from([1, 3]),
            "priority": st.integers(0, 1),
            "tags": st.just({"team": "x"}),
            "limits": st.sampled_from([{"rpm": 10}, {"rpm": 20, "tpm": 1000}]),
        },
    ),
    unique_by=lambda key: key["id"],
)
CONFIGS = st.builds(
    lambda keys, scopes, lab, is_openai, models, routing: RouterConfig.model_validate(
        {
            "providers": {"lab": lab, **({"openai": {}} if is_openai else {})},
            # Who has no limits of its own shares those of the scope.
            "keys": [
                {**key, "provider": "lab", **({"scope": s, "limits": {"rpm": 5}} if s else {})}
                for key, s in zip(keys, scopes, strict=False)
            ],
            "models": models, "routing": routing,
        }
    ),
    KEYS,
    st.tuples(*[st.sampled_from([None, "org"])] * 3),
    st.sampled_from(
        [{"base_url": URL}, {"base_url": URL, "models": ["gpt-*"]}, {"base_url": URL + "/b"}]
    ),
    st.booleans(),
    st.sampled_from([{}, {"fast": ["lab/gpt-1"]}, {"fast": ["lab/other", "lab/gpt-2"]}]),
    st.sampled_from([{}, {"objective": "cost"}, {"weights": {"cost": 1, "latency": 2}}]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(CONFIGS, min_size=2, max_size=4))
async def test_any_way_to_a_configuration_ends_as_a_start_with_it(
    configs: list[RouterConfig],
) -> None:
    async with following(configs[-1]) as (router, _):
        state_of(router)
        fresh = state_of(router)
    async with following(configs[0]) as (router, setup):
        for config in configs[1:]:
            state_of(router)
            await setup.apply(config)
        state_of(router)
        assert state_of(router) == fresh


async def test_loading_twice_touches_nothing() -> None:
    config = config_of({**ONE, "limits": {"rpm": 60}}, TWO, models={"fast": ["lab/gpt-1"]})
    async with following(config) as (router, setup):
        route = router.routes.route_for(Demand(model="gpt-1", request_id="r"))
        await router.key_manager.update_key_state("two", KeyState.DISABLED)
        slots = dict(router.key_manager.slot_by_id)
        revisions = {key_id: slot.record.revision for key_id, slot in slots.items()}
        entry = router.routes.providers["lab"]
        plan = await setup.apply(
            config_of({**ONE, "limits": {"rpm": 60}}, TWO, models=config.models)
        )
        assert plan.stored == []
        assert router.routes.route_for(Demand(model="gpt-1", request_id="s")) is route
        assert router.routes.providers["lab"] is entry
        assert router.key_manager.slot_by_id == slots
        assert {i: s.record.revision for i, s in slots.items()} == revisions
        assert slots["two"].record.state is KeyState.DISABLED


async def test_what_is_learned_of_other_keys_outlives_any_change() -> None:
    before = config_of({**ONE, "limits": {"rpm": 60}}, TWO)
    after = RouterConfig.model_validate(
        {
            "providers": {"lab": {"base_url": URL, "models": ["gpt-*"]}, "openai": {}},
            "keys": [
                {**ONE, "limits": {"rpm": 60}, "weight": 2},
                {**TWO, "id": "three", "secret": "sk-third-secret"},
            ],
        }
    )
    async with following(before) as (router, setup):
        keys_for(router, "gpt-1")
        book = router.quota_awareness_engine.book
        slot = router.key_manager.slot("one")
        (scope,) = book.scopes_of(slot)
        (window,) = scope.account.windows
        window.take(40, router.now())
        router.key_manager.sleep(slot, router.now() + 100, "told to wait")
        await setup.apply(after)
        assert keys_for(router, "gpt-1") == {"one", "three"}
        assert router.key_manager.slot("one") is slot
        assert book.scopes_of(slot) == [scope]
        assert scope.account.windows == [window]
        assert window.used >= 39
        assert slot.cooldown.until > router.now() + 90


async def test_key_that_comes_back_is_as_it_was() -> None:
    async with following(config_of(ONE, TWO)) as (router, setup):
        slot = router.key_manager.slot("two")
        await router.key_manager.update_key_state("two", KeyState.THROTTLED, cooldown_seconds=900)
        await setup.apply(config_of(ONE))
        assert not slot.is_in_use
        assert keys_for(router, "gpt-1") == {"one"}
        await setup.apply(config_of(ONE, TWO))
        assert router.key_manager.slot("two").record.state is KeyState.THROTTLED
        assert router.key_manager.slot("two").cooldown.until > router.now() + 800
        assert keys_for(router, "gpt-1") == {"one", "two"}


async def test_key_added_by_hand_stays_until_the_file_names_it_too() -> None:
    async with following(config_of(ONE)) as (router, setup):
        await router.register_key("sk-by-hand", "lab", {"id": "two", "weight": 5})
        await setup.apply(config_of(ONE, models={"fast": ["lab/gpt-1"]}))
        assert router.key_manager.slot("two").weight == 5
        await setup.apply(config_of(ONE, TWO))
        slot = router.key_manager.slot("two")
        assert (slot.weight, slot.secret) == (1, TWO["secret"])
        await setup.apply(config_of(ONE))
        assert set(router.key_manager.slot_by_id) == {"one"}


async def test_keys_by_hand_wait_for_a_provider_that_went() -> None:
    nobody = RouterConfig.model_validate({"providers": {"openai": {}}})
    async with following(config_of(ONE)) as (router, setup):
        await router.register_key("sk-by-hand", "lab", {"id": "two"})
        await setup.apply(nobody)
        assert router.key_manager.slot_by_id == {}
        assert set(router.routes.providers) == {"openai"}
        await setup.apply(config_of())
        assert keys_for(router, "gpt-1") == {"two"}


SECRETS = [
    ("the file's is new", "sk-rotated-secret", "sk-third-secret", "sk-third-secret"),
    ("rotated since", "sk-rotated-secret", "sk-first-secret", "sk-rotated-secret"),
    ("rotated to the file's", "sk-third-secret", "sk-third-secret", "sk-third-secret"),
]


@pytest.mark.parametrize("is_restart", [False, True], ids=["reload", "restart"])
@pytest.mark.parametrize(("by_hand", "by_file", "expected"), [row[1:] for row in SECRETS],
                         ids=[row[0] for row in SECRETS])  # fmt: skip
async def test_secret_of_the_file_counts_when_it_is_another_one_there(
    by_hand: str, by_file: str, expected: str, is_restart: bool
) -> None:
    store = InMemoryStateStore()
    encryption = {"log_level": "CRITICAL", "encryption_key": "A" * 43 + "="}
    router = ApiKeyRouter(store, config=encryption)
    setup = RouterSetup(router)
    await setup.apply(config_of(ONE))
    await router.rotate_key("one", by_hand)
    if is_restart:
        router = ApiKeyRouter(store, config=encryption)
        await router.hydrate(claimed=["one"])
        setup = RouterSetup(router)
    await setup.apply(config_of({**ONE, "secret": by_file}))
    assert router.key_manager.slot("one").secret == expected
    await setup.apply(config_of({**ONE, "secret": by_file, "weight": 2}))
    assert router.key_manager.slot("one").secret == expected
    await router.close()


class FailingStore(InMemoryStateStore):
    """Takes so many orders of keys."""

    left = 1000

    async def swap_key(self, key: Any, *, expect: int | None) -> None:
        if not self.left:
            raise StateStoreError("the disk is full")
        self.left -= 1
        await super().swap_key(key, expect=expect)


@pytest.mark.parametrize("left", [0, 1, 2])
async def test_store_that_fails_midway_leaves_all_as_it_was(left: int) -> None:
    store = FailingStore()
    async with following(config_of(ONE, TWO), store=store) as (router, setup):
        before = state_of(router)
        store.left = left
        changed = config_of(
            {**ONE, "weight": 2}, {**TWO, "secret": "sk-other"}, {**TWO, "id": "x", "secret": "y"}
        )
        with pytest.raises(StateStoreError, match="full"):
            await setup.apply(changed)
        assert state_of(router) == before
        store.left = 1000
        await setup.apply(changed)
        assert router.key_manager.slot("one").weight == 2
        assert set(router.key_manager.slot_by_id) == {"one", "two", "x"}


REFUSED = {
    "the same id twice": config_of(ONE, {**ONE, "secret": "sk-other"}),
    "authorities that are not there": config_of(
        ONE, providers={"lab": {"base_url": URL, "ca_file": "/nowhere.pem"}}
    ),
    "another provider's id": config_of(
        {**ONE, "provider": "b"}, providers={"lab": {"base_url": URL}, "b": {"base_url": URL}}
    ),
}


@pytest.mark.parametrize("config", REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_is_found_before_anything_changes(config: RouterConfig) -> None:
    async with following(config_of(ONE, TWO)) as (router, setup):
        before = state_of(router)
        with pytest.raises(ConfigurationError):
            await setup.apply(config)
        assert state_of(router) == before
