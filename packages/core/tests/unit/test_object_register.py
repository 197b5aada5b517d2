"""Objects are remembered with the key that made them, in bounds."""

import tracemalloc

import pytest

from apikeyrouter.domain.object_register import MemoryObjectRegister, Owner

pytestmark = pytest.mark.unit
ONE, TWO = Owner("p", "k1", "a"), Owner("p", "k2", "b")


def test_object_is_found_by_client_kind_and_id() -> None:
    register = MemoryObjectRegister()
    register.note("ann", "files", "f-1", ONE)
    register.note("ann", "batches", "f-1", TWO)
    register.note("", "files", "f-1", TWO)
    assert [
        register.find("ann", "files", "f-1"),
        register.find("ann", "batches", "f-1"),
        register.find("", "files", "f-1"),
        register.find("bob", "files", "f-1"),
        register.find("ann", "files", "f-2"),
    ] == [ONE, TWO, TWO, None, None]


def test_deleted_object_is_forgotten() -> None:
    register = MemoryObjectRegister()
    register.note("", "files", "f-1", ONE)
    register.forget("", "files", "f-1")
    register.forget("", "files", "f-1")
    register.forget("x", "files", "f-1")
    assert (register.find("", "files", "f-1"), len(register)) == (None, 0)


def test_home_is_where_the_last_new_object_was_made() -> None:
    register = MemoryObjectRegister()
    assert register.home_of("") is None
    register.note("", "files", "f-1", ONE)
    register.note("", "files", "f-2", TWO)
    register.note("", "files", "f-1", ONE, is_new=False)
    assert (register.home_of(""), register.home_of("x")) == (TWO, None)


def test_who_has_most_loses_what_was_not_used_for_longest() -> None:
    register = MemoryObjectRegister(most=6)
    register.note("small", "files", "s-1", ONE)
    for number in range(5):
        register.note("large", "files", f"l-{number}", ONE)
    register.find("large", "files", "l-0")
    register.note("large", "files", "l-5", ONE)
    assert register.find("large", "files", "l-1") is None
    assert register.find("large", "files", "l-0") == ONE
    assert register.find("small", "files", "s-1") == ONE


def test_hundred_thousand_objects_stay_bounded() -> None:
    register = MemoryObjectRegister(most=1000)
    tracemalloc.start()
    for number in range(100_000):
        register.note(f"c{number % 3}", "files", f"file-{number:024}", Owner("p", f"k{number % 5}"))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(register) == 1000
    assert used < 1_000_000
    assert register.find("c0", "files", f"file-{99_999:024}") is not None


def test_what_a_client_made_is_no_other_clients() -> None:
    register = MemoryObjectRegister()
    register.note("ann", "files", "f-1", ONE)
    register.note("bob", "files", "f-1", ONE, is_new=False)
    assert register.find("bob", "files", "f-1") is None
    asked = [register.is_others(name, "files", "f-1") for name in ("ann", "bob", "")]
    assert asked == [False, True, False]
    register.forget("ann", "files", "f-1")
    assert not register.is_others("bob", "files", "f-1")


def test_what_a_client_saw_is_nobodys() -> None:
    register = MemoryObjectRegister()
    register.note("bob", "files", "f-1", ONE, is_new=False)
    register.note("", "files", "f-2", ONE)
    assert not register.is_others("ann", "files", "f-1")
    assert not register.is_others("ann", "files", "f-2")
    register.note("ann", "files", "f-1", ONE, is_new=False, is_made=True)
    assert register.has_made("ann", "files", "f-1")
    assert register.is_others("bob", "files", "f-1")


def test_equal_names_in_two_accounts_are_of_two_clients() -> None:
    register = MemoryObjectRegister()
    register.note("ann", "files", "report", ONE)
    register.note("bob", "files", "report", TWO)
    assert register.find("ann", "files", "report") == ONE
    assert register.find("bob", "files", "report") == TWO
    assert not register.is_others("bob", "files", "report")
    # Ann's has expired: it could not be made anew otherwise.
    register.note("bob", "files", "report", ONE)
    assert register.is_others("ann", "files", "report")


def test_what_a_provider_makes_up_does_not_fill_the_memory() -> None:
    register = MemoryObjectRegister(most=10)
    for number in range(20_000):
        register.note("", "files", f"file-{number}", Owner("p", "k", f"account-{number}"))
    register.note("", "files", "f" * 100_000, Owner("p", "k"))
    assert len(register) == 10
    assert len(register._known) < 10_000
    assert register.find("", "files", "f" * 100_000) is None
