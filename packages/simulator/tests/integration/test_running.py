"""Starting, stopping and the command."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import openai
import pytest
from openai import OpenAI

from apikeyrouter_simulator import RunningSimulator, Scenario, create_app

pytestmark = pytest.mark.integration

HELLO = [{"role": "user", "content": "Hello!"}]
TEXT = "providers: {p: {keys: {k: {scope: s}}, scopes: {s: {}}}}"


def ask(url: str, key: str = "k"):
    with OpenAI(api_key=key, base_url=url, max_retries=0) as client:
        return client.chat.completions.create(model="m", messages=HELLO)


def test_stop_and_start_keep_port_and_counts() -> None:
    with RunningSimulator(Scenario.parse(TEXT)) as simulator:
        url = simulator.base_url()
        ask(url)
        simulator.stop()
        with pytest.raises(openai.APIConnectionError):
            ask(url)
        simulator.start()
        ask(url)
        assert (url, 2) == (simulator.base_url(), simulator.stats()["totals"]["accepted"])


def test_stop_drops_a_running_stream_at_once() -> None:
    with RunningSimulator(Scenario.parse(TEXT)) as simulator:
        simulator.condition(kind="stall", chunks=2)
        with OpenAI(api_key="k", base_url=simulator.base_url(), max_retries=0) as client:
            stream = client.chat.completions.create(model="m", messages=HELLO, stream=True)
            next(stream)
            began = time.monotonic()
            simulator.stop()
            assert time.monotonic() - began < 1.5
            with pytest.raises(Exception):  # noqa: B017 - differs by HTTP client
                list(stream)


def test_start_is_quick() -> None:
    began = time.monotonic()
    with RunningSimulator(Scenario.parse(TEXT)):
        assert time.monotonic() - began < 1.0


def test_scenario_may_be_a_path(tmp_path) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text(TEXT)
    with RunningSimulator(path) as simulator:
        assert ask(simulator.base_url()).choices


def test_app_is_built_from_a_scenario() -> None:
    assert callable(create_app(Scenario.parse(TEXT)))


def test_command_says_where_it_listens(tmp_path) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text(TEXT)
    command = [sys.executable, "-c", "from apikeyrouter_simulator.cli import app; app()"]
    with subprocess.Popen(
        [*command, "--scenario", str(path), "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline()
            match = re.fullmatch(r"simulator listening on (http://127\.0\.0\.1:\d+)\n", line)
            assert match
            with urllib.request.urlopen(f"{match[1]}/_control/stats", timeout=5) as answer:
                assert answer.status == 200
        finally:
            os.kill(process.pid, signal.SIGINT)
            process.wait(timeout=5)


def test_command_tells_a_mistake_in_one_sentence(tmp_path) -> None:
    path = tmp_path / "scene.yaml"
    path.write_text(TEXT.replace("scope: s", "scope: x"))
    command = [sys.executable, "-c", "from apikeyrouter_simulator.cli import app; app()"]
    done = subprocess.run(
        [*command, "--scenario", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"{path}:1: " in done.stderr
    assert "'x'" in done.stderr


def test_scenario_may_be_a_name() -> None:
    with RunningSimulator("calls-at-once") as simulator:
        assert ask(simulator.base_url(), "sk-sim-a").choices


def test_goodput_is_told_by_scope() -> None:
    with RunningSimulator("full-headers") as simulator:
        ask(simulator.base_url(), "sk-sim-f")
        goodput = simulator.goodput(clients=4)
    assert goodput["served"] == 1
    assert goodput["scopes"]["lab/f"]["bound_by"] == "rpm"
    assert goodput["scopes"]["lab/f"]["ideal"] == pytest.approx(90, abs=2)
    assert goodput["share"] == pytest.approx(1 / goodput["ideal"])


def test_command_lists_the_scenarios() -> None:
    command = [sys.executable, "-c", "from apikeyrouter_simulator.cli import app; app()"]
    done = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True)
    assert "remaining-only" in done.stdout


def test_command_names_the_nearest_scenario() -> None:
    command = [sys.executable, "-c", "from apikeyrouter_simulator.cli import app; app()"]
    done = subprocess.run(
        [*command, "--scenario", "remaining"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "did you mean 'remaining-only'?" in done.stderr
