"""Whose objects are is written behind, in bounds, and known again by the next register."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from apikeyrouter.domain.interfaces.state_store import Document, StateStoreError, StoredRecord
from apikeyrouter.domain.models.api_key import utc_now
from apikeyrouter.domain.object_register import Owner
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore
from apikeyrouter.infrastructure.state_store.stores import store_at
from apikeyrouter.object_keeping import KIND, KeptObjectRegister

pytestmark = pytest.mark.unit
ONE, TWO = Owner("p", "k1", "a"), Owner("p", "k2", "b")


class OddStore(InMemoryStateStore):
    """Fails as long as it is told to, and counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.batches: list[int] = []
        self.is_asked = asyncio.Event()

    async def save_batch(self, records: Sequence[StoredRecord]) -> None:
        if self.is_down:
            raise StateStoreError("down")
        self.batches.append(len(records))
        await super().save_batch(records)
        self.is_asked.set()


def register_on(store: InMemoryStateStore, most: int = 100) -> KeptObjectRegister:
    return KeptObjectRegister(store, on_error=lambda _: None, most=most)


async def test_register_knows_what_the_one_before_knew() -> None:
    store = InMemoryStateStore()
    first = register_on(store)
    first.note("ann", "files", "f-1", ONE)
    first.note("bob", "files", "f-2", TWO)
    first.note("bob", "files", "seen", ONE, is_new=False)
    first.note("ann", "files", "gone", ONE)
    first.forget("ann", "files", "gone")
    first.note("bob", "files", "f-1", TWO)
    await first.close()
    second = register_on(store)
    await second.load()
    found = [second.find("ann", "files", "f-1"), second.find("bob", "files", "f-1"),
             second.find("bob", "files", "seen"), second.find("ann", "files", "gone")]  # fmt: skip
    assert found == [ONE, TWO, ONE, None]
    assert (second.home_of("ann"), second.home_of("bob")) == (ONE, TWO)
    assert [second.is_others("ann", "files", name) for name in ("f-2", "seen")] == [True, False]
    assert second.waiting == 0


async def test_changes_of_one_object_are_written_once_and_none_if_nothing_changed() -> None:
    store = OddStore()
    register = register_on(store)
    for owner in (ONE, TWO, ONE):
        register.note("ann", "files", "f-1", owner)
    register.note("ann", "files", "f-2", ONE)
    await register.close()
    for _ in range(5):
        register.note("ann", "files", "f-1", ONE, is_new=False)
        register.find("ann", "files", "f-1")
    assert register.waiting == 0
    await register.close()
    assert store.batches == [2]


async def test_store_never_has_more_than_the_register() -> None:
    store = InMemoryStateStore()
    register = register_on(store, most=10)
    for number in range(300):
        register.note(f"c{number % 3}", "files", f"f-{number}", ONE)
        assert register.waiting <= 20
    await register.close()
    kept = await store.list_documents(KIND)
    assert len(kept) <= 10
    smaller = register_on(store, most=4)
    await smaller.load()
    assert len(smaller) == 4
    assert smaller.find("c2", "files", "f-299") == ONE
    await smaller.close()
    assert len(await store.list_documents(KIND)) == 4


async def test_what_a_store_did_not_take_is_written_later() -> None:
    store, errors = OddStore(), list[Exception]()
    register = KeptObjectRegister(store, on_error=errors.append)
    store.is_down = True
    register.note("ann", "files", "f-1", ONE)
    register.note("ann", "files", "f-2", ONE)
    await register.close()
    assert [str(error) for error in errors] == ["down"]
    register.forget("ann", "files", "f-2")
    store.is_down = False
    await register.close()
    kept = await store.list_documents(KIND)
    assert [document.body["id"] for document in kept] == ["f-1"]


async def test_changes_are_written_without_being_asked_for() -> None:
    store = OddStore()
    register = register_on(store)
    register.note("ann", "files", "f-1", ONE)
    await asyncio.wait_for(store.is_asked.wait(), 5)
    assert len(await store.list_documents(KIND)) == 1
    await register.close()


async def test_record_that_cannot_be_read_is_told_and_passed_over() -> None:
    store, errors = InMemoryStateStore(), list[Exception]()
    await store.save_document(Document(KIND, "x", {"client": 5}, utc_now()))
    first = register_on(store)
    first.note("ann", "files", "f-1", ONE)
    first.note("ann", "files", "x" * 1000, ONE)
    await first.close()
    second = KeptObjectRegister(store, on_error=errors.append)
    await second.load()
    assert (len(second), len(errors)) == (1, 1)


async def test_any_names_are_kept_in_a_file(tmp_path: Path) -> None:
    names = [
        ("a/b", "files", "c"),
        ("a", "files", "b/c"),
        ("", "files", "é \"\n'"),
        ("ü", "x", "0"),
    ]
    url = f"sqlite:///{tmp_path}/objects.db"
    store = store_at(url)
    await store.open()
    first = KeptObjectRegister(store, on_error=lambda _: None)
    for number, name in enumerate(names):
        first.note(*name, Owner("p", f"k{number}"))
    await first.close()
    await store.close()
    store = store_at(url)
    await store.open()
    second = KeptObjectRegister(store, on_error=lambda _: None)
    await second.load()
    await store.close()
    found = [second.find(*name) for name in names]
    assert found == [Owner("p", f"k{number}") for number in range(len(names))]
