"""Providers' lists of models: whom they are asked of, and when again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from apikeyrouter import ApiKeyRouter
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.keys import model_lists
from apikeyrouter.keys.model_lists import ModelLists

pytestmark = pytest.mark.unit


class Listing(OpenAIAdapter):
    """Lists models for some secrets, nothing for others, and never answers `stalls`."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/v1")
        self.models_by_secret: dict[str, tuple[str, ...]] = {}
        self.asked: list[str] = []
        self.asked_thrice = asyncio.Event()

    async def list_models(self, secret: str) -> tuple[str, ...]:
        self.asked.append(secret)
        if len(self.asked) == 3:
            self.asked_thrice.set()
        if secret == "stalls":
            await asyncio.Event().wait()
        return self.models_by_secret.get(secret, ())


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def adapter() -> Listing:
    return Listing()


@pytest.fixture
async def router(clock: Clock, adapter: Listing) -> AsyncIterator[ApiKeyRouter]:
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=clock) as router:
        await router.register_provider("lab", adapter)
        yield router


async def known_after(lists: ModelLists, router: ApiKeyRouter) -> list[str]:
    await lists.settle()
    return [model for model, _ in router.routes.known_models()]


async def test_what_any_key_is_told_counts(router: ApiKeyRouter, adapter: Listing) -> None:
    for secret in "abcde":
        await router.register_key(secret, "lab", {"id": secret})
    await router.revoke_key("a")
    adapter.models_by_secret = {"a": ("gone",), "d": ("m",), "e": ("other", "m")}
    lists = ModelLists(router.routes, router.now)
    lists.start()
    assert await known_after(lists, router) == ["m", "other"]
    assert sorted(adapter.asked) == ["b", "c", "d", "e"]


@pytest.mark.parametrize(("named", "known"), [(None, ["m-1"]), (("m-1*",), [])], ids=["row", "own"])
async def test_patterns_of_the_operator_are_not_filled_in_and_those_of_a_row_are(
    clock: Clock, adapter: Listing, named: tuple[str, ...] | None, known: list[str]
) -> None:
    adapter.models = ("m-*",)
    adapter.models_by_secret = {"a": ("m-1", "other")}
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=clock) as router:
        await router.register_provider("lab", adapter, models=named)
        await router.register_key("a", "lab")
        lists = ModelLists(router.routes, router.now)
        lists.start()
        assert await known_after(lists, router) == known


async def test_one_key_of_an_account_is_asked(router: ApiKeyRouter, adapter: Listing) -> None:
    for secret in "abcde":
        await router.register_key(secret, "lab", {"id": secret, "scope": "one"})
    await router.register_key("f", "lab", {"id": "f", "scope": "two"})
    lists = ModelLists(router.routes, router.now)
    lists.start()
    await lists.settle()
    assert adapter.asked == ["a", "f"]


async def test_other_keys_are_asked_later_where_there_are_many(
    router: ApiKeyRouter, adapter: Listing, clock: Clock
) -> None:
    names = [f"k{number:02}" for number in range(40)]
    for name in names:
        await router.register_key(name, "lab", {"id": name})
    adapter.models_by_secret = {names[39]: ("m",)}
    lists = ModelLists(router.routes, router.now)
    lists.start()
    assert await known_after(lists, router) == []
    assert await known_after(lists, router) == []
    assert sorted(adapter.asked) == names[:16]
    for _ in range(2):
        clock.now += 31.0
        known = await known_after(lists, router)
    assert known == ["m"]
    assert sorted(set(adapter.asked)) == names
    assert len(adapter.asked) == 48


async def test_list_that_is_known_is_asked_for_again_only_on_demand(
    router: ApiKeyRouter, adapter: Listing, clock: Clock
) -> None:
    await router.register_key("a", "lab")
    adapter.models_by_secret = {"a": ("m",)}
    lists = ModelLists(router.routes, router.now)
    lists.start()
    assert await known_after(lists, router) == ["m"]
    adapter.models_by_secret = {"a": ("m", "new")}
    lists.refresh()
    clock.now += 31.0
    assert await known_after(lists, router) == ["m"]
    lists.refresh()
    assert await known_after(lists, router) == ["m", "new"]


async def test_lists_are_asked_for_again_after_a_while(
    router: ApiKeyRouter, adapter: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_lists, "_ASKED_AGAIN_S", 0.0)
    await router.register_key("a", "lab")
    lists = ModelLists(router.routes, router.now)
    lists.start()
    async with asyncio.timeout(2.0):
        await adapter.asked_thrice.wait()
    await lists.stop()
    asked = len(adapter.asked)
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(adapter.asked) == asked


async def test_stalled_provider_keeps_nobody_waiting(
    router: ApiKeyRouter, adapter: Listing
) -> None:
    await router.register_key("stalls", "lab")
    lists = ModelLists(router.routes, router.now)
    lists.start()
    async with asyncio.timeout(2.5):
        assert await known_after(lists, router) == []
    async with asyncio.timeout(0.5):
        await lists.settle()
    await lists.stop()


async def test_key_that_stalls_keeps_no_other_from_being_asked(
    router: ApiKeyRouter, adapter: Listing
) -> None:
    adapter.models_by_secret = {"b": ("m",)}
    for secret in ("stalls", "b"):
        await router.register_key(secret, "lab")
    lists = ModelLists(router.routes, router.now)
    lists.start()
    assert await known_after(lists, router) == ["m"]
    await lists.stop()
