"""`apikeyrouter demo`, as a user starts it."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

COMMAND = [sys.executable, "-c", "from apikeyrouter_proxy.cli import app; app()", "demo"]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("scenario", [[], ["--scenario", "remaining-only"]], ids=["mixed", "named"])
def test_demo_answers_every_request_and_prints_the_sums(scenario) -> None:
    done = demo("--seconds", "2", "--json", *scenario)
    assert done.returncode == 0, done.stderr
    sums = json.loads(done.stdout)
    assert list(sums) == [
        "sent", "ok", "client_errors", "upstream_calls", "upstream_429", "by_key", "p50_ms",
        "p95_ms",
    ]  # fmt: skip
    assert sums["sent"] == sums["ok"] == sum(sums["by_key"].values()) > 0
    assert sums["client_errors"] == 0


def test_demo_uses_every_key_that_it_has() -> None:
    sums = json.loads(demo("--seconds", "2", "--json").stdout)
    assert set(sums["by_key"]) == {
        "acorn-1", "acorn-2", "birch-1", "birch-2", "cedar-1", "cedar-2", "dogwood-1",
    }  # fmt: skip


def test_demo_names_the_nearest_scenario() -> None:
    done = demo("--scenario", "remaining")
    assert done.returncode == 1
    assert done.stderr == "unknown scenario 'remaining'; did you mean 'remaining-only'?\n"
