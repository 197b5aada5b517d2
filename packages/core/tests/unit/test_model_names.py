"""Who is asked for a model: patterns decide, lists are evidence, `provider/model` picks."""

import asyncio
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.routing.route import Route
from apikeyrouter.errors import UnknownModelError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit

#: Provider -> its patterns, the list that its key is told, the patterns of its key.
Providers = dict[str, tuple[tuple[str, ...] | None, tuple[str, ...], list[str] | None]]
ANY: Any = (None, (), None)


def listing(*models: str) -> Any:
    return (None, models, None)


def routes_of(providers: Providers) -> ApiKeyRouter:
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})

    async def build() -> None:
        for name, (patterns, listed, key_patterns) in providers.items():
            adapter = OpenAIAdapter("http://127.0.0.1:1/v1")
            await router.register_provider(name, adapter, models=patterns)
            facts = {"id": f"{name}-1"} | ({"models": key_patterns} if key_patterns else {})
            await router.register_key(f"sk-{name}", name, facts)
            entry = router.routes.providers[name]
            router.routes.note_list(entry, entry.slots[f"{name}-1"], listed)

    asyncio.run(build())
    return router


def levels(route: Route) -> list[list[str]]:
    return [[f"{pool.provider_id}:{pool.model}" for pool in level.pools] for level in route.levels]


def ask(router: ApiKeyRouter, model: str, provider_id: str | None = None) -> list[list[str]]:
    demand = Demand(model=model, request_id="r", provider_id=provider_id)
    return levels(router.routes.route_for(demand))


@pytest.mark.parametrize(
    ("providers", "model", "expected"),
    [
        pytest.param(
            {"a": listing("x"), "b": listing("m"), "c": ANY}, "m", [["b:m"], ["c:m"]],
            id="who lists it first, then who has told nothing, never who lists others",
        ),
        pytest.param(
            {"a": listing("x"), "b": listing("y")}, "m", [["a:m", "b:m"]],
            id="what nobody lists goes to all that may serve it",
        ),
        pytest.param(
            {"a": (("gpt-*",), (), None), "b": listing("x"), "c": (("z",), (), None)},
            "gpt-9", [["a:gpt-9"]],
            id="a pattern for it counts like a list",
        ),
        pytest.param(
            {"a": listing("a/b"), "b": listing("x")}, "a/b:online", [["a:a/b:online"]],
            id="a variant is listed by its base name",
        ),
        pytest.param(
            {"a": listing("x")}, "@preset/mine", [["a:@preset/mine"]], id="presets pass",
        ),
        pytest.param(
            {"or": listing("or/auto"), "b": ANY}, "or/auto", [["or:or/auto"]],
            id="a listed name may begin like its provider",
        ),
        pytest.param(
            {"a": ANY, "b": ANY}, "a/m", [["a:m"]], id="a prefix picks the provider",
        ),
        pytest.param(
            {"a": (("*",), (), ["m*"]), "b": ANY}, "a/m1", [["a:m1"]],
            id="patterns of keys are for the bare name",
        ),
        pytest.param(
            {"a": (("gpt-*",), (), None), "or": listing("a/gpt-1")}, "a/gpt-1", [["a:gpt-1"]],
            id="a prefix picks the provider though another lists the whole name",
        ),
        pytest.param(
            {"a": listing("x"), "or": listing("a/m")}, "a/m", [["or:a/m"]],
            id="a prefix whose provider lacks it yields to who lists the whole name",
        ),
        pytest.param(
            {"a": (("gpt-*",), (), None), "or": ANY}, "a/m", [["or:a/m"]],
            id="a prefix whose provider excludes it is part of the name",
        ),
    ],
)  # fmt: skip
def test_providers_are_asked_in_order_of_evidence(
    providers: Providers, model: str, expected: list[list[str]]
) -> None:
    assert ask(routes_of(providers), model) == expected


@pytest.mark.parametrize("model", ["m", "a/m", "a/x"])
def test_model_that_patterns_exclude_everywhere_is_unknown(model: str) -> None:
    router = routes_of({"a": (("gpt-*",), (), None), "b": (("*",), (), ["gpt-*"])})
    with pytest.raises(UnknownModelError):
        ask(router, model)


def test_provider_that_is_named_apart_is_asked_whatever_it_lists() -> None:
    router = routes_of({"a": listing("x"), "b": listing("m")})
    assert ask(router, "m", "a") == [["a:m"]]


def keys_for(router: ApiKeyRouter, model: str) -> set[str]:
    demand = Demand(model=model, request_id="r")
    pools = [pool for level in router.routes.route_for(demand).levels for pool in level.pools]
    return {slot.id for pool in pools for slot in pool.slots()}


def test_key_that_lacks_what_another_key_lists_is_not_asked_for_it() -> None:
    router = routes_of({"a": listing("both", "first")})
    entry = router.routes.providers["a"]

    async def more() -> None:
        for name in ("a-2", "a-3"):
            await router.register_key(f"sk-{name}", "a", {"id": name})

    asyncio.run(more())
    assert keys_for(router, "first") == {"a-1", "a-2", "a-3"}
    router.routes.note_list(entry, entry.slots["a-2"], ("both", "second"))
    assert keys_for(router, "both") == {"a-1", "a-2", "a-3"}
    assert keys_for(router, "first") == {"a-1", "a-3"}
    assert keys_for(router, "second") == {"a-2", "a-3"}
    assert keys_for(router, "nobody's") == {"a-1", "a-2", "a-3"}
    assert [model for model, _ in router.routes.known_models()] == ["both", "first", "second"]


def test_rotated_key_is_asked_for_what_its_old_secret_did_not_list() -> None:
    router = routes_of({"a": listing("first")})
    entry = router.routes.providers["a"]
    asyncio.run(router.register_key("sk-2", "a", {"id": "a-2"}))
    router.routes.note_list(entry, entry.slots["a-2"], ("second",))
    assert keys_for(router, "first") == {"a-1"}
    asyncio.run(router.rotate_key("a-2", "sk-3"))
    assert keys_for(router, "first") == {"a-1", "a-2"}
    assert {model for model, _ in router.routes.known_models()} == {"first", "second"}


def test_lists_that_say_the_same_are_kept_once() -> None:
    router = routes_of({"a": listing("m")})
    entry = router.routes.providers["a"]
    slot = entry.slots["a-1"]
    for number in range(50):
        entry.note_list(f"k{number}", ("m",))
    assert len({id(names) for names in entry.listed_by_key.values()}) == 1
    router.routes.note_list(entry, slot, ())
    assert entry.lists("m")
