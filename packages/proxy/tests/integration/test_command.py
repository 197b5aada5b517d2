"""The command as a process: what it says, and the status it ends with."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from apikeyrouter import ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import create_app
from apikeyrouter_proxy.serving import bind, server_for

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
KEYS = "keys:\n  - {provider: openai, secret: sk-1}\n"
ENV = {
    name: value
    for name, value in os.environ.items()
    if "API_KEY" not in name and name not in ("PORT", "SHUTDOWN_TIMEOUT_SECONDS")
}


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "router.yaml"
        file.write_text(f"version: 1\n{text}")
        return file

    return write


def run(*arguments: object, cwd: Path, **env: str) -> tuple[int, str, str]:
    """Run the command to its end; return its status and what it printed."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        cwd=cwd, env={**ENV, **env}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("command", [("check-config",), ("serve", "--config")])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "keys:\n  - {provider: openai, secret: schlüssel}\n",
            "3: keys[0].secret: the secret holds blanks, line breaks or characters outside ASCII: "
            "copy it again",
        ),
        (
            f"providers:\n  lab: {{kind: openai, base_url: 'http://u:pw@h/v1'}}\n{KEYS}",
            "3: providers.lab.base_url: should be an http:// or https:// address such as "
            "https://host/v1, without credentials: they belong to keys",
        ),
        (
            f"{KEYS}server: {{host: 0.0.0.0}}\n",
            "4: server.host: 0.0.0.0 can be reached from other machines: add at least one entry "
            "under clients, or listen on 127.0.0.1",
        ),
    ],
    ids=["secret", "base_url", "open"],
)
def test_mistake_is_one_sentence_and_status_1(
    command: tuple[str, ...], text: str, told: str, config: Callable[[str], Path]
) -> None:
    file = config(text)
    assert run(*command, file, cwd=file.parent) == (1, "", f"{file}:{told}\n")


def test_port_in_use_is_one_sentence_and_status_1(
    config: Callable[[str], Path], taken_port: int
) -> None:
    file = config(KEYS)
    status, out, err = run("serve", "--config", file, "--port", taken_port, cwd=file.parent)
    assert (status, out) == (1, "")
    assert err == (
        f"port {taken_port} of 127.0.0.1 is in use: stop what listens there, "
        "or choose another by --port or PORT\n"
    )


def test_nothing_listens_when_the_start_fails() -> None:
    keys = [{"id": "same", "provider": "openai", "secret": secret} for secret in ("a", "b")]
    config = RouterConfig.model_validate({"providers": {"openai": {}}, "keys": keys})
    service = create_app(config, settings=RouterSettings(log_level="CRITICAL"))
    with bind("127.0.0.1", 0) as listener:
        host, port = listener.getsockname()
        server = server_for(service, host=host, port=port, patience_s=1)
        with pytest.raises(ConfigurationError, match="registered already"):
            server.run(sockets=[listener])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port))


@pytest.mark.parametrize(
    ("arguments", "env", "told"),
    [
        (("serve",), {"PORT": "abc"}, "port (PORT): should be a whole number\n"),
        (
            ("check-config",),
            {"SHUTDOWN_TIMEOUT_SECONDS": "abc"},
            "shutdown_timeout_seconds (SHUTDOWN_TIMEOUT_SECONDS): should be a number\n",
        ),
        (
            ("serve", "--host", "no.such.host.invalid"),
            {"OPENAI_API_KEY": "sk-1"},
            "server.host: no.such.host.invalid can be reached from other machines: add at least "
            "one entry under clients, or listen on 127.0.0.1\n",
        ),
        (
            ("serve",),
            {"OPENAI_API_KEY": "schlüssel"},
            "OPENAI_API_KEY: the secret holds blanks, line breaks or characters outside ASCII: "
            "copy it again\n",
        ),
    ],
)
def test_wrong_environment_is_one_sentence_and_status_1(
    arguments: tuple[str, ...], env: dict[str, str], told: str, tmp_path: Path
) -> None:
    assert run(*arguments, cwd=tmp_path, **env) == (1, "", told)


def test_valid_configuration_is_shown_without_secrets(config: Callable[[str], Path]) -> None:
    file = config(KEYS)
    status, out, err = run("check-config", file, "--json", cwd=file.parent)
    shown: dict[str, Any] = json.loads(out)
    assert (status, err) == (0, "")
    assert [key["secret"] for key in shown["keys"]] == ["****"]


def test_service_says_where_it_listens_once_it_does(config: Callable[[str], Path]) -> None:
    file = config(KEYS)
    process = subprocess.Popen(
        [COMMAND, "serve", "--config", file, "--port", "0"],
        cwd=file.parent, env=ENV, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        said = process.stdout.readline()
        url = said.split("listening on ")[1].split()[0]
        assert httpx2.get(f"{url}/health").status_code == 200
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


def test_service_without_a_file_ends_normally_when_its_terminal_does(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0"],
        cwd=tmp_path, env={**ENV, "OPENAI_API_KEY": "sk-1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert "listening on" in process.stdout.readline()
        process.send_signal(signal.SIGHUP)
    assert process.returncode == 0
