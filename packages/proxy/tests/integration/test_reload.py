"""The configuration file changes while the service runs: it is taken up whole, or not at all."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
MANAGEMENT = "manage-me-4711"
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
ONE, TWO = (
    "{id: one, provider: sim, secret: sk-sim-1}",
    "{id: two, provider: sim, secret: sk-sim-2}",
)
TEAM, OTHERS = "{name: team, token: token-of-team}", "{name: others, token: token-of-others}"


class Service:
    """A running service, and the file that it runs by."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.file = folder / "router.yaml"
        self.base_url = base_url
        self.write(ONE)
        env = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
        env["APIKEYROUTER_MANAGEMENT_API_KEY"] = MANAGEMENT
        self.process = subprocess.Popen(
            [COMMAND, "serve", "--config", self.file.name, "--port", "0"], cwd=folder, env=env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert "listening on " in first, self.process.communicate()[1]
        self.client = httpx2.Client(base_url=first.split("listening on ")[1].split()[0], timeout=20)
        self.client.headers["X-API-Key"] = MANAGEMENT

    def text(self, *keys: str, clients: tuple[str, ...] = (TEAM,), more: str = "") -> str:
        lines = "".join(f"  - {key}\n" for key in keys)
        return (
            "version: 1\nstore: memory://\n"
            f"providers:\n  sim: {{kind: openai, base_url: '{self.base_url}'}}\n"
            f"clients: [{', '.join(clients)}]\nkeys:\n{lines}{more}"
        )

    def write(self, *keys: str, clients: tuple[str, ...] = (TEAM,), more: str = "") -> None:
        self.replace(self.text(*keys, clients=clients, more=more))

    def replace(self, text: str) -> None:
        """Put another file in the place of the old one, as editors do."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.file)

    def chat(self, token: str = "token-of-team") -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}", "X-API-Key": ""}
        return self.client.post("/v1/chat/completions", json=CHAT, headers=headers)

    def key_states(self) -> dict[str, str]:
        items = self.client.get("/api/v1/keys").json()["items"]
        return {item["id"]: item["state"] for item in items}

    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get("/ready").json()
        return found

    def reload(self) -> httpx2.Response:
        return self.client.post("/api/v1/config/reload")


@pytest.fixture
def service(tmp_path: Path, simulator: RunningSimulator) -> Iterator[Service]:
    running = Service(tmp_path, simulator.base_url())
    yield running
    running.client.close()
    running.process.send_signal(signal.SIGTERM)
    running.process.communicate(timeout=20)


def _until(condition: Callable[[], Any], patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _in_place(service: Service, text: str) -> None:
    service.file.write_text(text)


def _by_another_file(service: Service, text: str) -> None:
    service.replace(text)


def _by_a_moved_link(service: Service, text: str) -> None:
    """As a mounted configuration map is changed: the file is a link through one that moves."""
    folder = service.file.parent
    for number, content in enumerate((service.file.read_text(), text)):
        (folder / f"..{number}").mkdir()
        (folder / f"..{number}" / service.file.name).write_text(content)
    (folder / "..data").symlink_to("..0")
    link = folder / "link"
    link.symlink_to(Path("..data") / service.file.name)
    link.replace(service.file)
    fresh = folder / "..fresh"
    fresh.symlink_to("..1")
    fresh.replace(folder / "..data")


@pytest.mark.parametrize(
    "change", [_in_place, _by_another_file, _by_a_moved_link], ids=lambda f: f.__name__[1:]
)
def test_changed_file_is_taken_up(service: Service, change: Callable[[Service, str], None]) -> None:
    change(service, service.text(TWO, clients=(OTHERS,)))
    _until(lambda: service.chat("token-of-others").status_code == 200)
    assert service.chat("token-of-others").headers["X-Key-Used"] == "two"
    assert service.chat().status_code == 401
    rows = service.client.get("/api/v1/audit").json()["items"]
    if rows:  # A store in memory keeps none.
        assert rows[0]["action"] == "config.reload"


def test_no_request_fails_while_keys_come_and_go(service: Service) -> None:
    answers: list[int] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            answers.append(service.chat().status_code)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for keys in ((ONE, TWO), (TWO,), (ONE,), (ONE, TWO), (TWO,)):
        service.write(*keys)
        assert service.reload().status_code == 200
    is_over.set()
    for asker in askers:
        asker.join()
    assert set(answers) == {200}
    assert service.chat().headers["X-Key-Used"] == "two"


def test_reload_tells_what_it_changed_and_a_second_one_changes_nothing(service: Service) -> None:
    service.write(ONE, TWO, clients=(TEAM, OTHERS), more="models: {fast: [sim/small]}\n")
    assert service.reload().json() == {
        "changes": {
            "keys": {"added": ["two"], "changed": [], "removed": []},
            "models": {"added": ["fast"], "changed": [], "removed": []},
            "clients": {"added": ["others"], "changed": [], "removed": []},
        }
    }
    assert service.reload().json() == {"changes": {}}


@pytest.mark.parametrize("text", ["keys: [", "version: 1\nkeyz: []\n", ""], ids=repr)
def test_bad_file_leaves_what_runs_and_is_told(service: Service, text: str) -> None:
    good = service.file.read_text()
    service.replace(text or service.text(ONE, more="server: {max_queue_wait: 1s}\n"))
    _until(lambda: service.ready()["status"] == "degraded")
    refused = service.reload()
    assert refused.status_code == 422
    assert refused.json()["detail"] == service.ready()["config"]
    assert "sk-sim" not in refused.text
    assert service.chat().status_code == 200
    assert service.key_states() == {"one": "available"}
    service.replace(good)
    _until(lambda: service.ready()["status"] == "ready")
    assert "config" not in service.ready()


def test_what_takes_a_restart_is_named(service: Service) -> None:
    service.write(ONE, TWO, more="server: {max_queue_wait: 1s}\n")
    refused = service.reload().json()
    assert [mistake["field"] for mistake in refused["errors"]] == ["server.max_queue_wait"]
    assert "restart" in refused["detail"]
    assert service.key_states() == {"one": "available"}


def test_signal_reads_the_file_again(service: Service) -> None:
    service.write(ONE, TWO)
    service.process.send_signal(signal.SIGHUP)
    _until(lambda: "two" in service.key_states())
    assert service.process.poll() is None


def test_validation_tells_what_would_change(service: Service) -> None:
    verdict = service.client.post(
        "/api/v1/config/validate", content=service.text(TWO),
        headers={"Content-Type": "application/yaml"},
    ).json()  # fmt: skip
    assert verdict["changes"] == {"keys": {"added": ["two"], "changed": [], "removed": ["one"]}}
    assert service.key_states() == {"one": "available"}


def test_without_clients_strangers_are_refused_again(service: Service) -> None:
    service.write(ONE, clients=())
    assert service.reload().status_code == 200
    assert service.chat("any").status_code == 200
    foreign = {"Origin": "https://example.org", "X-API-Key": ""}
    answer = service.client.post("/v1/chat/completions", json=CHAT, headers=foreign)
    assert answer.status_code == 403
