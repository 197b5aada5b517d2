"""A key of which something else is said while it is used."""

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.errors import KeyRegistrationError, StateConflictError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore
from apikeyrouter.infrastructure.utils.encryption import EncryptionService

pytestmark = pytest.mark.unit


@pytest.fixture
async def router() -> ApiKeyRouter:
    router = ApiKeyRouter(InMemoryStateStore())
    await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
    await router.register_key("sk-1", "p", {"id": "one"})
    await router.register_key("sk-2", "p", {"id": "two", "limits": {"rpm": 60}})
    return router


async def chosen(router: ApiKeyRouter, model: str) -> str:
    """Return the key that a request for *model* goes to."""
    async for attempt in router.attempts(Demand(model=model, request_id="r")):
        with attempt:
            return attempt.slot.id
    raise AssertionError("nobody")


async def test_models_and_priority_hold_for_the_next_request(router: ApiKeyRouter) -> None:
    amend = router.key_manager.amend_key
    for winner, loser in (("one", "two"), ("two", "one")):
        await amend(winner, {"priority": 1})
        await amend(loser, {"priority": 0})
        assert [await chosen(router, "m") for _ in range(3)] == [winner] * 3
    await amend("two", {"models": ["other*"]})
    assert (await chosen(router, "m"), await chosen(router, "other-1")) == ("one", "two")
    await amend("two", {"models": None})
    assert await chosen(router, "m") == "two"


async def test_an_amended_key_keeps_what_was_not_named(router: ApiKeyRouter) -> None:
    await router.key_manager.amend_key("two", {"weight": 2.0, "limits": {"tpm": 100}})
    slot = await router.key_manager.amend_key("two", {"tags": {"a": "b"}})
    kept = await router.state_store.get_key("two")
    assert kept is not None
    for facts in (slot.record.metadata, kept.metadata):
        assert facts["limits"] == {"rpm": 60, "tpm": 100}
        assert (facts["weight"], facts["tags"]) == (2.0, {"a": "b"})
    assert (slot.weight, slot.tags, kept.revision) == (2.0, {"a": "b"}, slot.record.revision)


async def test_what_is_said_of_an_older_revision_is_refused(router: ApiKeyRouter) -> None:
    slot = await router.key_manager.amend_key("two", {"weight": 2.0}, expect=0)
    with pytest.raises(StateConflictError):
        await router.key_manager.amend_key("two", {"weight": 3.0}, expect=0)
    assert slot.weight == 2.0


@pytest.mark.parametrize("facts", [{"weight": 0}, {"limits": {"rqm": 1}}, {"limits": {"rpm": -1}}])
async def test_nonsense_changes_nothing(router: ApiKeyRouter, facts: dict[str, object]) -> None:
    before = dict(router.key_manager.slot("two").record.metadata)
    with pytest.raises(KeyRegistrationError):
        await router.key_manager.amend_key("two", facts)
    assert router.key_manager.slot("two").record.metadata == before


async def test_what_another_process_said_holds_here_once_it_is_noticed() -> None:
    store, routers = InMemoryStateStore(), []
    secret = EncryptionService.generate_key()
    for _ in range(2):
        router = ApiKeyRouter(store, config={"encryption_key": secret})
        await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
        await router.register_key("sk-1", "p", {"id": "one"})
        routers.append(router)
    first, second = routers
    await first.key_manager.amend_key("one", {"priority": 7})
    with pytest.raises(StateConflictError):
        await second.key_manager.amend_key("one", {"priority": 1})
    assert second.key_manager.slot("one").priority == 7
