"""Addresses, layouts, bounds and mistakes of stores that outlive the process."""

import asyncio
import sqlite3
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_contract import a_decision, a_key, a_move

from apikeyrouter.domain.interfaces.state_store import (
    Document,
    StateQuery,
    StateStore,
    StateStoreError,
    cursor_after,
    read_cursor,
)
from apikeyrouter.domain.models.routing_decision import RoutingDecision
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.state_store.group_commit import GroupCommit
from apikeyrouter.infrastructure.state_store.layouts import Step, steps_after, steps_of
from apikeyrouter.infrastructure.state_store.records import Row, record_of, row_of
from apikeyrouter.infrastructure.state_store.stores import STORES, store_at

pytestmark = pytest.mark.unit


def _file(tmp_path: Path, **bounds: int) -> StateStore:
    return store_at(f"sqlite:///{tmp_path}/r.db", **bounds)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("memory://", "InMemoryStateStore"),
        ("sqlite:///r.db", "SqlStateStore"),
        ("postgresql://u:p@h/d", "SqlStateStore"),
        ("postgres://u:p@h/d", "SqlStateStore"),
        ("redis://h:6379/0", "RedisStateStore"),
        ("rediss://h:6379/0", "RedisStateStore"),
        ("mongodb://h", "MongoStateStore"),
        ("mongodb+srv://h", "MongoStateStore"),
    ],
)
def test_address_names_a_store(url: str, name: str) -> None:
    assert type(store_at(url)).__name__ == name


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("mysql://root:pa55@h/d", "store mysql://h/d: should start with one of memory://, sqlite"),
        ("router.db", "should start with one of"),
        ("sqlite://", "names no file: write sqlite:///apikeyrouter.db"),
        ("sqlite:///:memory:", "names no file"),
        ("redis://h:pa55word/x", "store: redis://h:pa55word/x: Port could not be cast"),
    ],
)
def test_address_that_cannot_be_is_refused(url: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        store_at(url)
    assert wrong in str(caught.value)
    assert "pa55@" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("sqlite:///r.db", "sqlalchemy", "sql"),
        ("postgresql://h/d", "asyncpg", "postgres"),
        ("redis://h", "redis.asyncio", "redis"),
        ("mongodb://h", "pymongo", "mongo"),
    ],
)
def test_missing_driver_is_a_sentence_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'apikeyrouter-core\[{extra}\]'"):
        store_at(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://u:pa55@127.0.0.1:1/d", "postgresql://127.0.0.1:1/d: .*onnect"),
        ("redis://:pa55@127.0.0.1:1/0", "redis://127.0.0.1:1/0: .*connecting"),
    ],
)
async def test_server_that_is_not_there_is_named_without_its_password(
    url: str, reason: str
) -> None:
    store = store_at(url)
    with pytest.raises(StateStoreError, match=reason) as caught:
        await store.open()
    assert "pa55" not in str(caught.value)
    await store.close()


async def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = store_at(f"sqlite:///{tmp_path}/none/r.db")
    with pytest.raises(StateStoreError, match=r"none/r\.db: No such file or directory"):
        await store.save_key(a_key())


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.db").write_text("version: 1\n" * 1000)
    with pytest.raises(StateStoreError, match="file is not a database"):
        await _file(tmp_path).open()


async def test_database_files_are_readable_to_their_owner_alone(tmp_path: Path) -> None:
    store = _file(tmp_path)
    await store.save_key(a_key())
    assert _modes_in(tmp_path) == {"r.db": 0o600, "r.db-shm": 0o600, "r.db-wal": 0o600}
    await store.close()


def _modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_layout_of_a_newer_version_is_refused_by_its_name(tmp_path: Path) -> None:
    store = _file(tmp_path)
    await store.save_key(a_key())
    await store.close()
    with sqlite3.connect(tmp_path / "r.db") as database:
        database.execute("INSERT INTO layout_steps VALUES (999, '0999_wonders')")
    database.close()
    with pytest.raises(
        StateStoreError, match=r"its layout is '0999_wonders'.*upgrade apikeyrouter"
    ):
        await _file(tmp_path).open()


def test_layout_takes_the_steps_that_are_missing_in_their_order() -> None:
    steps = tuple(Step(number, f"000{number}_x", "") for number in (1, 2, 3))
    assert steps_after(1, "0001_x", store="s", steps=steps) == steps[1:]
    assert steps_after(3, "0003_x", store="s", steps=steps) == ()


@pytest.mark.parametrize("family", ["sql", "redis", "mongo"])
def test_steps_are_numbered_without_gaps(family: str) -> None:
    numbers = [step.number for step in steps_of(family)]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_processes_that_open_a_new_file_together_make_it_once(tmp_path: Path) -> None:
    stores = [_file(tmp_path) for _ in range(8)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(s.save_key(a_key(f"k{n}", n)) for n, s in enumerate(stores)))
    for store in stores:
        assert len(await store.list_keys()) == 8
        await store.close()


async def test_oldest_decisions_and_moves_go_beyond_the_bound(tmp_path: Path) -> None:
    store = _file(tmp_path, max_decisions=10, max_transitions=5)
    for first in range(0, 60, 20):
        await store.save_batch([a_decision(f"d{n:02}", n) for n in range(first, first + 20)])
        await store.save_batch([a_move(n) for n in range(first, first + 20)])
    found = await store.query_state(StateQuery("RoutingDecision"))
    assert [d.id for d in found] == [f"d{n}" for n in range(59, 49, -1)]
    assert len(await store.query_state(StateQuery("StateTransition"))) == 5
    await store.close()


async def test_record_that_cannot_be_kept_is_named_and_blocks_nobody(tmp_path: Path) -> None:
    store = _file(tmp_path)
    ends = await asyncio.gather(
        *(store.save_key(a_key(f"k{number}", number)) for number in range(5)),
        store.save_key(a_key("odd", metadata={"it": object()})),
        store.save_key(a_key("huge", revision=2**64)),
        return_exceptions=True,
    )
    odd, huge = (str(end) for end in ends if end is not None)
    assert odd.startswith("APIKey 'odd' holds what cannot be stored")
    assert huge.startswith("APIKey 'huge' holds what cannot be stored")
    assert len(await store.list_keys()) == 5
    await store.close()


@pytest.mark.parametrize(
    ("error", "ends"),
    [(ValueError("bad"), [0, "bad", 2]), (OSError("gone"), ["gone", "gone", "gone"])],
    ids=["its own", "everybody's"],
)
async def test_write_that_fails_takes_others_with_it_only_in_an_outage(
    error: Exception, ends: list[Any]
) -> None:
    async def transact(work: Callable[[None], list[Any]]) -> list[Any]:
        await asyncio.sleep(0)
        return work(None)

    def write(number: int) -> Callable[[None], int]:
        def run(_: None) -> int:
            if number == 1:
                raise error
            return number

        return run

    commits = GroupCommit[None](transact, is_shared=lambda found: isinstance(found, OSError))
    found = await asyncio.gather(*(commits.run(write(n)) for n in range(3)), return_exceptions=True)
    assert ends == [str(end) if isinstance(end, Exception) else end for end in found]


async def test_caller_who_gives_up_harms_nobody(tmp_path: Path) -> None:
    store = _file(tmp_path)
    await store.open()
    impatient = asyncio.create_task(store.save_key(a_key("k1", 1)))
    patient = asyncio.create_task(store.save_key(a_key("k2", 2)))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert "k2" in [key.id for key in await store.list_keys()]
    await store.close()


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"version": 2}, "'k1' was stored by a newer version .layout 2; this one reads up to 1."),
        ({"body": b"\xff"}, "APIKey 'k1' in the store is damaged"),
        ({"body": b"\x80"}, "'k1' in the store is damaged: id: Field required"),
    ],
)
def test_row_that_cannot_be_read_is_named(change: dict[str, Any], wrong: str) -> None:
    row = row_of(a_key())
    fields = {name: getattr(row, name) for name in Row.__slots__}
    with pytest.raises(StateStoreError, match=wrong):
        record_of(Row(**{**fields, **change}))


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=100)
@given(name=st.text(min_size=1), body=st.dictionaries(st.text(), _PLAIN, max_size=4))
def test_any_plain_data_comes_back_as_it_went(name: str, body: dict[str, Any]) -> None:
    document = Document("Account", name, body, datetime(2026, 1, 1, tzinfo=UTC))
    assert document == record_of(row_of(document))


@settings(max_examples=100)
@given(name=st.text(), at=st.datetimes())
def test_any_record_ends_a_page(name: str, at: datetime) -> None:
    decision: RoutingDecision = a_decision(name).model_copy(update={"decision_timestamp": at})
    moment, found = read_cursor(cursor_after(decision))
    assert found == name
    assert timedelta(microseconds=moment) == at - datetime(1970, 1, 1)


@settings(max_examples=200)
@given(st.text())
def test_whatever_comes_as_a_cursor_is_read_or_refused(cursor: str) -> None:
    with suppress(StateStoreError):
        moment, name = read_cursor(cursor)
        assert (type(moment), type(name)) == (int, str)


def test_each_scheme_has_a_store() -> None:
    assert set(STORES) == {"memory", "sqlite", "postgresql", "mongodb", "redis"}
