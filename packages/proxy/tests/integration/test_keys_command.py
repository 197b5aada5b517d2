"""`apikeyrouter keys …` as a process, on the running service and on the store."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from command_site import CommandSite

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
GOOD, OTHER, WRONG = "sk-sim-1", "sk-sim-2", "sk-wrong-and-long-enough-9876"


@pytest.fixture
def site(tmp_path: Path, simulator: RunningSimulator) -> CommandSite:
    return CommandSite(tmp_path, simulator.base_url())


@pytest.fixture(params=["store", "service"])
def managed(request: pytest.FixtureRequest, site: CommandSite) -> Iterator[CommandSite]:
    """A site whose commands work on the store, or on the service that runs over it."""
    with site.serving() if request.param == "service" else nullcontext():
        yield site


def test_key_is_added_changed_rotated_tested_and_revoked(managed: CommandSite) -> None:
    ran = managed.run(
        "keys", "add", "sim", "--id", "one", "--tag", "team=a", "--limit", "rpm=60",
        "--model", "small", "--weight", "2", "--json", stdin=f"{WRONG}\n",
    )  # fmt: skip
    added = json.loads(ran.out)
    said = {"id": "one", "tags": {"team": "a"}, "limits": {"rpm": 60}, "models": ["small"]}
    assert said | {"weight": 2, "secret_hint": "…9876"} == {
        name: added[name] for name in (*said, "weight", "secret_hint")
    }
    assert managed.run("keys", "test", "one") == (
        1, "key one: the provider refuses the key as a credential\n", "",
    )  # fmt: skip
    assert managed.run("keys", "rotate", "one", "--secret-env", "FRESH", FRESH=GOOD).status == 0
    assert managed.run("keys", "test", "one", "--json").data["ok"] is True
    changed = managed.run(
        "keys", "set", "one", "--state", "disabled", "--tag", "team=b", "--limit", "tpm=9",
        "--all-models", "--json",
    ).data  # fmt: skip
    told = (changed["state"], changed["tags"], changed["limits"], changed["models"])
    assert told == ("disabled", {"team": "b"}, {"rpm": 60, "tpm": 9}, None)
    assert managed.run("keys", "revoke", "one", "--reason", "leaked") == (
        0, "key one of sim revoked: disabled\n", "",
    )  # fmt: skip
    assert changed.keys() == managed.run("keys", "show", "one", "--json").data.keys()
    for secret in (GOOD, WRONG):
        assert secret not in managed.said


def test_keys_are_imported_and_listed(managed: CommandSite) -> None:
    rows = ("provider,secret,id,tags", f"sim,{GOOD},first,team=a", f"sim,{OTHER},second,")
    (managed.folder / "keys.csv").write_text("\n".join(rows))
    ran = managed.run("keys", "import", "keys.csv")
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "2 added, 0 skipped")
    again = json.dumps([{"provider": "sim", "secret": GOOD}, {"provider": "sim", "secret": WRONG}])
    ran = managed.run("keys", "import", "-", stdin=again)
    assert ran.out.splitlines()[1:] == [
        "entry 1 skipped: secret: key 'first' has it already", "1 added, 1 skipped"
    ]  # fmt: skip
    tagged = managed.run("keys", "list", "--tag", "team:a", "--json").data["items"]
    assert [key["id"] for key in tagged] == ["first"]
    page = managed.run("keys", "list", "--first", "2", "--json").data
    assert [key["id"] for key in page["items"]] == ["first", "second"]
    assert page["next_cursor"] is not None
    lines = managed.run("keys", "list").out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["ID", "first", "second"]
    assert managed.run("keys", "delete", "second").out == "key second deleted\n"
    assert managed.run("keys", "show", "none") == (1, "", "no key 'none'\n")


def test_what_the_store_was_told_the_next_service_has(site: CommandSite) -> None:
    site.run("keys", "add", "sim", "--id", "kept", stdin=GOOD)
    with site.serving():
        listed = site.run("keys", "list", "--json").data["items"]
        assert [(key["id"], key["secret_hint"]) for key in listed] == [("kept", "…")]
        site.run("keys", "add", "sim", "--id", "late", stdin=OTHER)
    listed = site.run("keys", "list", "--json").data["items"]
    assert [key["id"] for key in listed] == ["kept", "late"]
    rows = json.loads(site.run("audit", "list", "--json").out)["items"]
    assert [row["actor"].partition(" (")[0] for row in rows] == ["management key", "command line"]


@pytest.mark.parametrize(
    ("arguments", "stdin", "status", "told"),
    [
        (("show", "none"), "", 3, "there is no store"),
        (("add", "nobody"), GOOD, 1, "provider: 'nobody' is not known; configured are sim, and "),
        (("add", "sim"), "", 1, "there is no secret: standard input is empty; pipe it in, or "),
        (("add", "sim"), "zwei Wörter", 1, "secret: "),
        (("add", "sim", "--limit", "rpm=x"), GOOD, 1, "limits.rpm: "),
        (("add", "sim", "--limit", "rpm"), GOOD, 2, "should be NAME=VALUE"),
        (("add", "sim", "--secret-env", "NONE"), "", 1, "the environment variable NONE is empty"),
        (("add", "sim", "--secret-file", "none"), "", 1, "none: No such file or directory"),
        (("set", "one"), "", 2, "say what is to be changed"),
        (("set", "one", "--state", "broken"), "", 2, "'broken' is not one of"),
        (("import", "none.csv"), "", 1, "none.csv: No such file or directory"),
        (("import", "-"), "[", 1, "body: should be JSON"),
    ],
)
def test_mistake_is_told_with_its_status(
    site: CommandSite, arguments: tuple[str, ...], stdin: str, status: int, told: str
) -> None:
    ran = site.run("keys", *arguments, stdin=stdin, TERM="dumb", COLUMNS="300")
    assert (ran.status, ran.out) == (status, "")
    assert told in ran.err
    assert "Traceback" not in ran.err
