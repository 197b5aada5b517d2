"""Real processes on one ledger against a provider that counts: as one, and after a `kill -9`."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from store_servers import valkey

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
_PROGRAM = Path(__file__).parents[1] / "helpers" / "fleet_process.py"


def provider(limits: dict[str, float], *, tells: str, **reply: float) -> dict[str, Any]:
    scope = {"limits": limits, "algorithm": "token_bucket"}
    facts = {"headers": tells, "reply": reply, "scopes": {"s": scope}}
    return {"providers": {"p": {**facts, "keys": {"sk-sim-1": {"scope": "s"}}}}}


@contextmanager
def processes(
    count: int, base_url: str, ledger: str, *, seconds: float, clients: int, **limits: float
) -> Iterator[list["subprocess.Popen[str]"]]:
    """Start so many, and let them begin together."""
    order = [base_url, ledger, str(seconds), str(clients), json.dumps(limits)]
    running = [
        subprocess.Popen(
            [sys.executable, str(_PROGRAM), *order],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        yield running
    finally:
        for process in running:
            process.kill()
            process.communicate()


def told_by(process: "subprocess.Popen[str]") -> dict[str, float]:
    output, _ = process.communicate(timeout=60)
    told: dict[str, float] = json.loads(output.strip().splitlines()[-1])
    return told


def admitted(simulator: RunningSimulator) -> tuple[int, int]:
    totals = simulator.app.world.stats(time.time())["totals"]
    return int(totals["accepted"]), int(totals["refused"])


def calls_under_way(simulator: RunningSimulator) -> int:
    return int(simulator.app.world.stats(time.time())["totals"]["in_flight"])


@pytest.mark.parametrize("tells", ["openai", "none"])
def test_processes_take_what_one_would_where_nothing_is_declared(
    tmp_path: Path, tells: str
) -> None:
    taken = []
    with valkey(tmp_path) as url:
        for count, ledger in ((1, "local"), (4, url)):
            with RunningSimulator(
                provider({"rpm": 600}, tells=tells, first_token_s=0.1)
            ) as simulator:
                with processes(
                    count, simulator.base_url(), ledger, seconds=8, clients=16 // count
                ) as running:
                    told = [told_by(process) for process in running]
                assert sum(one["error"] for one in told) == 0
                taken.append(admitted(simulator))
    (alone, _), (together, refused) = taken
    # They begin and end a moment apart, and the account refills ten a second.
    assert 0.97 * alone <= together <= alone + 15, taken
    # Where nothing is told, a limit is found when the calls under way, 16 of them, are refused;
    # few are afterwards.
    assert refused <= (0.005 * together if tells == "openai" else 16 + 12), taken


def test_calls_of_a_killed_process_are_given_back(tmp_path: Path) -> None:
    with (
        valkey(tmp_path) as url,
        RunningSimulator(provider({"rpm": 60_000}, tells="none", first_token_s=60.0)) as simulator,
    ):
        base_url = simulator.base_url()
        with processes(1, base_url, url, seconds=60, clients=4, concurrency=4) as (dead,):
            _until(lambda: calls_under_way(simulator) == 4)
            with processes(1, base_url, url, seconds=60, clients=4, concurrency=4):
                dead.kill()
                dead.wait()
                killed_at = time.monotonic()
                _until(lambda: calls_under_way(simulator) == 0)
                _until(lambda: calls_under_way(simulator) == 4)
                # Holds live for two seconds in this program.
                assert time.monotonic() - killed_at < 5.0


def _until(is_so: Any) -> None:
    deadline = time.monotonic() + 20.0
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
