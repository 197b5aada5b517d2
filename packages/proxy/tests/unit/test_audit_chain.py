"""Several processes add to one audit log."""

import asyncio
from typing import Any

import pytest

from apikeyrouter.service import store_at
from apikeyrouter_proxy.api.audit import RELOAD, AuditLog, verify

ADDED: dict[str, Any] = {"keys": {"added": ["k"]}}
REMOVED: dict[str, Any] = {"keys": {"removed": ["k"]}}


async def rows_of(log: AuditLog) -> list[tuple[str, Any]]:
    rows = await log.rows()
    assert verify(rows).problems == ()
    return [(row["action"], row["after"]) for row in rows]


def logs(count: int) -> list[AuditLog]:
    store = store_at("memory://")
    return [AuditLog(store) for _ in range(count)]


async def test_no_row_is_lost_however_many_others_have_added() -> None:
    one, other = logs(2)
    await one.note("key.add", "first", {}, {})
    for number in range(1200):
        await other.note("key.add", f"k{number}", {}, {})
    await one.note("key.add", "last", {}, {})
    rows = await one.rows()
    assert (rows[-1]["target"], len(rows), verify(rows).problems) == ("last", 1202, ())


async def test_rows_of_processes_that_write_at_once_make_one_chain() -> None:
    several = logs(4)
    await asyncio.gather(
        *(log.note("key.add", str(n), {}, {}) for n in range(25) for log in several)
    )
    assert len(await rows_of(several[0])) == 100


async def test_a_reload_that_all_make_is_noted_once() -> None:
    several = logs(3)
    for change in (ADDED, REMOVED, ADDED):
        await asyncio.gather(*(log.note(RELOAD, "r.yaml", {}, change) for log in several))
    expected = [(RELOAD, change) for change in (ADDED, REMOVED, ADDED)]
    assert await rows_of(several[0]) == expected


@pytest.mark.parametrize("first", [0, 1], ids=["same first", "other first"])
async def test_the_same_reload_made_again_is_noted_again(first: int) -> None:
    """As of a secret's file that changes twice: what is told of it is the same."""
    several = logs(2)
    for number in range(4):
        order = several if number * first % 2 else several[::-1]
        for log in order:
            await log.note(RELOAD, "r.yaml", {}, ADDED)
            await log.note("key.add", "k", {}, {})
    rows = [action for action, _ in await rows_of(several[0])]
    assert rows.count(RELOAD) == 4


async def test_reloads_of_before_a_process_began_are_not_its_own() -> None:
    [one] = logs(1)
    await one.note(RELOAD, "r.yaml", {}, ADDED)
    later = AuditLog(one._store)
    await later.note(RELOAD, "r.yaml", {}, ADDED)
    assert len(await rows_of(one)) == 2


async def test_only_reloads_are_told_by_one_for_all() -> None:
    for log in (several := logs(2)):
        await log.note("client.add", "team", {}, ADDED)
        await log.note(RELOAD, f"{several.index(log)}.yaml", {}, ADDED)
    assert len(await rows_of(several[0])) == 4
