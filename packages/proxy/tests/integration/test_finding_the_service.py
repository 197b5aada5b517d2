"""How a command finds who answers it, and what it says where that is not who it looks for."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_site import COMMAND, MANAGEMENT_KEY, CommandSite

from apikeyrouter.service import ServiceMark
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
LIST = ("keys", "list")


@pytest.fixture
def site(tmp_path: Path, simulator: RunningSimulator) -> CommandSite:
    return CommandSite(tmp_path, simulator.base_url())


@pytest.fixture
def elsewhere(tmp_path: Path, simulator: RunningSimulator) -> Iterator[tuple[CommandSite, str]]:
    """A service of another store, and its address."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    other = CommandSite(folder, simulator.base_url())
    with other.serving() as url:
        yield other, url


def test_management_key_that_is_wrong_or_missing_is_told(site: CommandSite) -> None:
    with site.serving() as url:
        assert site.run(*LIST, APIKEYROUTER_MANAGEMENT_API_KEY="wrong") == (
            1, "", f"the service at {url} does not take the management key of "
            "APIKEYROUTER_MANAGEMENT_API_KEY: give the one that the service was started with\n",
        )  # fmt: skip
        assert site.run(*LIST, APIKEYROUTER_MANAGEMENT_API_KEY="") == (
            1, "", f"the service at {url} wants its management key: set "
            "APIKEYROUTER_MANAGEMENT_API_KEY, or name a file that has it by --key-file\n",
        )  # fmt: skip
        (site.folder / "key").write_text(f"{MANAGEMENT_KEY}\n")
        ran = site.run(*LIST, "--key-file", "key", APIKEYROUTER_MANAGEMENT_API_KEY="wrong")
        assert ran.status == 0


def test_service_of_several_workers_is_found(site: CommandSite) -> None:
    site.run("keys", "add", "sim", "--id", "one", stdin="sk-sim-1")
    with site.serving("--workers", "2") as url:
        ran = site.run(*LIST, "--json", APIKEYROUTER_MANAGEMENT_API_KEY="wrong")
        assert ran.err.startswith(f"the service at {url} does not take the management key")
        assert [key["id"] for key in site.run(*LIST, "--json").data["items"]] == ["one"]
    assert site.run(*LIST).status == 0


def test_service_that_is_closed_says_so(site: CommandSite) -> None:
    del site.env["APIKEYROUTER_MANAGEMENT_API_KEY"]
    site.env["OPENAI_API_KEY"] = "sk-1"
    with site.serving():
        ran = site.run(*LIST, APIKEYROUTER_MANAGEMENT_API_KEY="any")
    assert ran.status == 1
    assert ran.err.startswith("the management API is closed: set APIKEYROUTER_MANAGEMENT_API_KEY")


def test_mark_of_a_service_that_was_killed_is_not_believed(site: CommandSite) -> None:
    site.run("keys", "add", "sim", "--id", "one", stdin="sk-sim-1")
    with site.serving(kill=True) as url:
        assert site.run("keys", "add", "sim", "--id", "two", stdin="sk-sim-2").status == 0
    assert (site.folder / "site.db.service").read_text() == url
    listed = site.run(*LIST, "--json").data["items"]
    assert [key["id"] for key in listed] == ["one", "two"]


def test_service_that_does_not_tell_where_it_is_is_found_as_configured(site: CommandSite) -> None:
    site.run("keys", "add", "sim", "--id", "one", stdin="sk-sim-1")
    with site.serving(kill=True):
        pass
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    uvicorn = Path(COMMAND).with_name("uvicorn")
    service = subprocess.Popen(
        [uvicorn, "apikeyrouter_proxy.main:app", "--port", port], cwd=site.folder, env=site.env,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with service:
        assert service.stderr is not None
        assert any("Uvicorn running" in line for line in service.stderr)
        listed = site.run(*LIST, "--json", PORT=port).data["items"]
        service.terminate()
        service.stderr.read()
    assert [key["id"] for key in listed] == ["one"]


def test_service_of_another_store_at_the_configured_address_is_told_apart(
    site: CommandSite, elsewhere: tuple[CommandSite, str]
) -> None:
    _, url = elsewhere
    port = url.rpartition(":")[2]
    place = site.folder / "site.db"
    told = (
        f"the service at {url} works on another store than {place}: name its own configuration by "
        f"--config or its address by --url; say --offline to work on {place} all the same\n"
    )
    assert site.run(*LIST, PORT=port) == (1, "", told)
    ran = site.run("keys", "add", "sim", PORT=port, stdin="sk-sim-1")
    assert ran == (1, "", told)
    assert not place.exists()
    assert site.run("keys", "add", "sim", "--offline", PORT=port, stdin="sk-sim-1").status == 0
    # Who holds a store that is there can be seen; the neighbour is no question then.
    assert site.run(*LIST, PORT=port).status == 0


def test_mark_that_names_a_service_of_another_store_is_told(
    site: CommandSite, elsewhere: tuple[CommandSite, str]
) -> None:
    _, url = elsewhere
    site.run("keys", "add", "sim", stdin="sk-sim-1")
    mark = ServiceMark(f"sqlite:///{site.folder}/site.db")
    assert mark.share()
    mark.tell(url)
    ran = site.run(*LIST)
    mark.release()
    assert ran == (
        3, "", f"a service holds the store {site.folder}/site.db and was at {url}, where one of "
        "another store answers: name its address by --url\n",
    )  # fmt: skip


def test_url_goes_before_everything(site: CommandSite, elsewhere: tuple[CommandSite, str]) -> None:
    other, url = elsewhere
    assert site.run("keys", "add", "sim", "--id", "far", "--url", url, stdin="sk-sim-1").status == 0
    assert not (site.folder / "site.db").exists()
    listed = site.run(*LIST, "--json", APIKEYROUTER_URL=url).data["items"]
    assert [key["id"] for key in listed] == ["far"]
    assert other.run(*LIST, "--json").data["items"] == listed


@pytest.mark.parametrize(
    ("url", "status", "told"),
    [
        ("http://127.0.0.1:{free}", 3, "does not answer: nobody listens there"),
        ("http://no.such.host.invalid", 3, "does not answer: the name cannot be resolved"),
        ("127.0.0.1:8000", 1, "should be like http://127.0.0.1:8000, without credentials"),
        ("http://u:pw@127.0.0.1:8000", 1, "should be like http://127.0.0.1:8000, without"),
        ("{simulator}", 1, "answered 401, and not as ApiKeyRouter does"),
    ],
)
def test_address_without_the_service_is_told(
    site: CommandSite, simulator: RunningSimulator, url: str, status: int, told: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    ran = site.run(*LIST, "--url", url.format(free=free, simulator=simulator.base_url()))
    assert (ran.status, ran.out) == (status, "")
    assert told in ran.err
    assert "pw" not in ran.err


def test_offline_does_not_go_past_a_service(site: CommandSite) -> None:
    with site.serving():
        assert site.run(*LIST, "--offline") == (
            3, "", f"the store {site.folder}/site.db is in use: stop the service that runs, or "
            "leave --offline\n",
        )  # fmt: skip


def test_store_that_is_not_there_is_begun_by_adding_alone(site: CommandSite) -> None:
    ran = site.run(*LIST)
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith(f"there is no store {site.folder}/site.db, and no service answers at")
    assert [file.name for file in site.folder.iterdir()] == ["site.yaml"]
    assert site.run("keys", "add", "sim", stdin="sk-sim-1").status == 0


def test_store_without_its_encryption_key_gets_no_second_one(site: CommandSite) -> None:
    site.run("keys", "add", "sim", stdin="sk-sim-1")
    (site.folder / "site.db.key").unlink()
    ran = site.run("keys", "add", "sim", stdin="sk-sim-2")
    assert (ran.status, ran.out) == (3, "")
    assert "its encryption key is not here: set APIKEYROUTER_ENCRYPTION_KEY" in ran.err
    assert not (site.folder / "site.db.key").exists()


def test_store_that_nobody_can_see_held_is_left_alone(site: CommandSite) -> None:
    site.configure("store: redis://127.0.0.1:1/0\nserver: {port: 0}\n")
    ran = site.run(*LIST)
    assert (ran.status, ran.out) == (3, "")
    assert "but one elsewhere may work on the store redis://127.0.0.1:1/0: name it by" in ran.err
    ran = site.run(*LIST, "--offline", APIKEYROUTER_ENCRYPTION_KEY="passphrase:" + 12 * "a")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("the store redis://127.0.0.1:1/0 cannot be used: ")


def test_service_over_memory_is_found_at_its_address(
    simulator: RunningSimulator, tmp_path: Path, manage: Callable[..., Any]
) -> None:
    client = manage(MANAGEMENT_KEY, config={"store": "memory://"})
    site = CommandSite(tmp_path, simulator.base_url(), store="memory://")
    port = str(client.base_url.port)
    listed = site.run(*LIST, "--json", PORT=port).data["items"]
    assert [key["id"] for key in listed] == ["key-1"]
    ran = site.run(*LIST)
    assert ran.status == 3
    assert "and memory:// keeps nothing without one: start it" in ran.err


def test_service_waits_for_a_command_that_works_on_its_store(site: CommandSite) -> None:
    mark = ServiceMark(f"sqlite:///{site.folder}/site.db")
    assert mark.take_alone()
    begun = time.monotonic()
    ran = site.run("serve")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith(
        "store: an `apikeyrouter` command is at work on it: let that end, or stop it\n"
    )
    assert time.monotonic() - begun > 5
    mark.release()
    with site.serving():
        assert not mark.take_alone()
