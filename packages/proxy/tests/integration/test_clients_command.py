"""`apikeyrouter clients …`, `accounts …` and `audit …` as processes, both ways."""

import asyncio
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from command_site import CommandSite

from apikeyrouter.service import store_at
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def site(tmp_path: Path, simulator: RunningSimulator) -> CommandSite:
    return CommandSite(tmp_path, simulator.base_url())


@pytest.fixture(params=["store", "service"])
def managed(request: pytest.FixtureRequest, site: CommandSite) -> Iterator[CommandSite]:
    """A site whose commands work on the store, or on the service that runs over it."""
    with site.serving() if request.param == "service" else nullcontext():
        yield site


def limits_of(accounts: list[dict[str, Any]]) -> set[tuple[str, float, float]]:
    windows = [window for account in accounts for window in account["windows"]]
    return {(one["dimension"], one["period_s"], one["capacity"]) for one in windows}


def ask(url: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx2.post(f"{url}/v1/chat/completions", json=CHAT, headers=headers, timeout=20)
    return answer.status_code


def test_client_is_added_changed_rotated_and_revoked(managed: CommandSite) -> None:
    ran = managed.run("clients", "add", "team", "--model", "small", "--limit", "rpm=6")
    token = ran.out.strip()
    assert token.startswith("akr-")
    assert (ran.status, ran.out) == (0, f"{token}\n")
    assert ran.err.endswith("client team added; its token is shown here and never again\n")
    assert managed.run("clients", "add", "team") == (1, "", "name: 'team' is taken\n")
    assert managed.run("clients", "set", "team", "--weight", "3", "--all-models").status == 0
    shown = managed.run("clients", "show", "team", "--json").data
    told = {name: shown[name] for name in ("weight", "models", "limits", "token_hints")}
    hint = f"…{token[-4:]}"
    assert told == {"weight": 3, "models": None, "limits": {"rpm": 6}, "token_hints": [hint]}
    fresh = managed.run("clients", "rotate", "team", "--overlap", "60", "--json").data["token"]
    listed = managed.run("clients", "list").out.splitlines()
    assert listed[1].split()[:4] == ["team", "management", f"{hint},", f"…{fresh[-4:]}"]
    assert managed.run("clients", "revoke", "team").out == "client team revoked\n"
    assert managed.run("clients", "list", "--json").data["items"] == []


def test_token_that_the_store_gave_out_is_good_at_the_service(site: CommandSite) -> None:
    site.run("keys", "add", "sim", stdin="sk-sim-1")
    before = site.run("clients", "add", "team").out.strip()
    with site.serving() as url:
        assert [ask(url, before), ask(url, "akr-other")] == [200, 401]
        late = site.run("clients", "add", "late").out.strip()
        assert ask(url, late) == 200
        site.run("clients", "revoke", "late")
        assert ask(url, late) == 401
    files = b"".join(file.read_bytes() for file in site.folder.iterdir())
    assert before.encode() not in files


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("add", "a/b"), 1, "name: should have up to 200 characters, without / ? # % and \\"),
        (("add", "team", "--limit", "rpm=-1"), 1, "limits.rpm: "),
        (("add", "team", "--expires", "soon"), 1, "expires_at: "),
        (("add", "team", "--expires", "2020-01-01T00:00Z"), 1, "expires_at: should be in the fut"),
        (("set", "team"), 2, "say what is to be changed"),
        (("rotate", "team", "--overlap", "-1"), 2, "'--overlap'"),
    ],
)
def test_mistake_about_a_client_is_told(
    site: CommandSite, arguments: tuple[str, ...], status: int, told: str
) -> None:
    ran = site.run("clients", *arguments, TERM="dumb", COLUMNS="300")
    assert (ran.status, ran.out) == (status, "")
    assert told in ran.err


def test_account_is_shown_with_what_is_left_after_the_service_ended_too(site: CommandSite) -> None:
    site.run("keys", "add", "sim", "--id", "one", "--scope", "org", stdin="sk-sim-1")
    token = site.run("clients", "add", "team").out.strip()
    with site.serving() as url:
        assert ask(url, token) == 200
        live = site.run("accounts", "list", "--json").data["items"]
        assert [(one["id"], one["keys"]) for one in live] == [("sim/org", ["one"])]
    kept = site.run("accounts", "list", "--provider", "sim", "--json").data["items"]
    learned = {("requests", 60, 60000), ("tokens", 60, 100000000)}
    assert limits_of(live) & limits_of(kept) >= learned
    lines = site.run("accounts", "show", "sim/org").out.splitlines()
    assert lines[0].split() == ["id", "sim/org"]
    assert any("60,000 requests / 60 s" in line for line in lines)
    assert site.run("accounts", "show", "sim/no").err.startswith("no account 'sim/no'")


def test_accounts_are_merged_split_and_overruled(managed: CommandSite) -> None:
    for name, secret in (("one", "sk-sim-1"), ("two", "sk-sim-2")):
        managed.run("keys", "add", "sim", "--id", name, stdin=secret)
    ran = managed.run("accounts", "merge", "sim/one", "sim/two")
    assert ran == (0, "account sim/one has the keys one, two\n", "")
    account = managed.run("accounts", "set", "sim/one", "--limit", "rpm=7", "--json").data
    assert ("requests", 60, 7) in limits_of([account])
    # The next command has what this one said, whether that was kept by a service or stored.
    account = managed.run("accounts", "show", "sim/one", "--json").data
    assert (account["keys"], limits_of([account])) == (["one", "two"], {("requests", 60, 7)})
    account = managed.run("accounts", "set", "sim/one", "--learned", "rpm", "--json").data
    assert ("requests", 60, 7) not in limits_of([account])
    ran = managed.run("accounts", "split", "sim/one", "two")
    assert ran == (0, "account sim/two has the keys two\n", "")
    ran = managed.run("accounts", "topped-up", "sim/two")
    assert ran == (0, "account sim/two is called again\n", "")
    ran = managed.run("accounts", "split", "sim/one", "two")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("keys.0: 'two' is no key of this account; its keys are one")
    for more in ((), ("--limit", "rpm=1", "--learned", "rpm"), ("--limit", "rpm")):
        assert managed.run("accounts", "set", "sim/one", *more).status == 2


def test_audit_log_is_told_and_proven_here_and_from_afar(site: CommandSite) -> None:
    site.run("keys", "add", "sim", "--id", "one", stdin="sk-sim-1")
    with site.serving() as url:
        site.run("keys", "set", "one", "--weight", "2")
        near = site.run("audit", "verify", "--json").data
        assert near == site.run("audit", "verify", "--url", url, "--json").data
        assert (near["rows"], near["problems"]) == (2, [])
        lines = site.run("audit", "list", "--action", "key.change").out.splitlines()
        assert lines[1].split()[-3:] == ["127.0.0.1", "key.change", "one"]
        asyncio.run(_spoil(site.folder / "site.db"))
        for more in ((), ("--url", url)):
            ran = site.run("audit", "verify", *more)
            assert ran.status == 1
            assert ran.out.startswith("row 1 was changed after it was written\n")


async def _spoil(database: Path) -> None:
    """Change what the first change is said to have been."""
    store = store_at(f"sqlite:///{database}")
    row = (await store.list_documents("Audit"))[0]
    await store.save_document(replace(row, body={**row.body, "actor": "somebody else"}))
    await store.close()
