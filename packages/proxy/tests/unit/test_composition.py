"""A router furnished as a configuration says."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from apikeyrouter import ApiKeyRouter, ConfigurationError, RouterSettings
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import HttpAdapter
from apikeyrouter_proxy.app import create_app
from apikeyrouter_proxy.composition import read_config
from apikeyrouter_proxy.configuration.setup import register_all

pytestmark = pytest.mark.unit

LATER = """\
version: 1
store: sqlite:///apikeyrouter.db
ledger: redis://user:sk-hidden@host:6379/0
budgets:
  - {limit_usd: 5, period: daily, mode: soft, when_over: {model: small}}
policies:
  - {name: a}
"""


def test_part_that_this_version_lacks_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    file.write_text(LATER)
    with pytest.raises(ConfigurationError) as caught:
        read_config(file, {})
    assert str(caught.value).replace(str(file), "router.yaml").splitlines() == [
        "router.yaml:5: budgets[0].when_over: should be {objective: …}, one of cost, reliability, "
        "fairness, quality, latency",
        "router.yaml:6: policies: this version applies none; remove them to start without",
    ]


def test_part_that_this_version_lacks_is_refused_without_a_file() -> None:
    config = RouterConfig.model_validate({"policies": [{"name": "a"}]})
    with pytest.raises(ConfigurationError, match=r"^policies: this version applies none"):
        create_app(config)


@pytest.mark.parametrize("first", [0, 1], ids=["by the first", "by the second"])
async def test_limits_named_by_one_key_bind_its_scope(first: int) -> None:
    keys: list[dict[str, Any]] = [
        {"provider": "openai", "secret": secret, "scope": "org"} for secret in ("a", "b")
    ]
    keys[first]["limits"] = {"rpm": 60}
    config = RouterConfig.model_validate({"providers": {"openai": {}}, "keys": keys})
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await register_all(router, config)
        router.routes.route_for(Demand(model="gpt-4o", request_id="r"))
        (scope,) = router.get_state_summary()["scopes"]
    assert [(w["dimension"], w["capacity"]) for w in scope["windows"]] == [("requests", 60.0)]


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


PLACED = {"GROQ_API_KEY": "gsk-a", "GROQ_BASE_URL": "http://127.0.0.1:9/v1"}


@pytest.mark.usefixtures("_elsewhere")
def test_base_url_of_the_environment_places_keys_of_the_environment() -> None:
    config = read_config(None, PLACED)
    assert config.providers["groq"].base_url == "http://127.0.0.1:9/v1"
    assert config.providers["groq"].models == ["*"]


@pytest.mark.usefixtures("_elsewhere")
def test_base_url_may_stand_in_dotenv() -> None:
    Path(".env").write_text("\n".join(f"{name}={value}" for name, value in PLACED.items()))
    assert read_config(None, {}).providers["groq"].base_url == "http://127.0.0.1:9/v1"


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize(
    ("entry", "placed"),
    [("{models: [a]}", "http://127.0.0.1:9/v1"), ("{base_url: 'http://own/v1'}", "http://own/v1")],
)
def test_address_in_a_file_without_keys_wins_over_the_environments(entry: str, placed: str) -> None:
    Path("router.yaml").write_text(f"version: 1\nproviders: {{groq: {entry}}}\n")
    assert read_config("router.yaml", PLACED).providers["groq"].base_url == placed


@pytest.mark.usefixtures("_elsewhere")
def test_base_url_beside_keys_of_a_file_is_told_to_be_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    Path("router.yaml").write_text("version: 1\nkeys: [{provider: groq, secret: a}]\n")
    assert read_config("router.yaml", PLACED).providers == {}
    assert "GROQ_BASE_URL is ignored" in caplog.text


UNPLACED = """\
version: 1
providers:
  bedrock: {models: ["*"]}
keys:
  - {provider: groq, secret: a}
  - {provider: azure, secret: b}
"""


@pytest.mark.usefixtures("_elsewhere")
def test_provider_whose_address_only_its_operator_knows_is_asked_for_one() -> None:
    Path("router.yaml").write_text(UNPLACED)
    with pytest.raises(ConfigurationError) as caught:
        read_config("router.yaml", {})
    asked = "base_url is missing: it should be like https://"
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"router.yaml:3: providers.bedrock: {asked}bedrock-runtime.{{region}}.")
    assert second.startswith(f"router.yaml:6: keys[1].provider: add azure under providers: {asked}")


@pytest.mark.usefixtures("_elsewhere")
def test_key_of_the_environment_without_an_address_is_left_out_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = {**PLACED, "AZURE_API_KEY": "b", "VLLM_API_KEY": "c", "VLLM_BASE_URL": "http://a:1/v1"}
    config = read_config(None, env)
    assert [key.provider for key in config.keys] == ["groq", "vllm"]
    assert "keys of 'azure' are left out: base_url is missing: it should be like" in caplog.text
    assert "set AZURE_BASE_URL" in caplog.text


AZURE = {"base_url": "https://r.openai.azure.com", "api_version": "2024-10-21"}


@pytest.mark.parametrize(
    ("name", "entry"),
    [("azure", AZURE), ("mine", {"kind": "azure", **AZURE})],
    ids=["row", "kind"],
)
async def test_azure_is_configured_by_its_row_or_its_kind(name: str, entry: dict[str, str]) -> None:
    config = RouterConfig.model_validate({"providers": {name: entry}})
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await register_all(router, config)
        adapter = router.routes.providers[name].adapter
    assert isinstance(adapter, HttpAdapter)
    assert (adapter.kind, adapter.layout.api_version) == ("azure", "2024-10-21")
    assert adapter.base_url == "https://r.openai.azure.com/openai/v1"


ADMINISTERED = """\
version: 1
providers:
  openai: {admin_secret: "${ADMIN}"}
  groq: {admin_secret: sk-hidden}
  mine: {kind: azure, base_url: "http://host/v1", admin_secret: sk-hidden}
  claude: {kind: anthropic, base_url: "http://host", admin_secret: file:admin}
"""


@pytest.mark.usefixtures("_elsewhere")
def test_secret_of_an_administrator_is_refused_where_no_admin_api_is_known() -> None:
    Path("router.yaml").write_text(ADMINISTERED)
    Path("admin").write_text("sk-admin-2\n")
    with pytest.raises(ConfigurationError) as caught:
        read_config("router.yaml", {"ADMIN": "sk-admin-1"})
    reason = "no admin API is known here: remove it; anthropic, openai, openrouter have one"
    assert str(caught.value).splitlines() == [
        f"router.yaml:4: providers.groq.admin_secret: {reason}",
        f"router.yaml:5: providers.mine.admin_secret: {reason}",
    ]


async def test_administrators_are_asked_from_the_start_on() -> None:
    asked: list[tuple[str, str | None]] = []
    came = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if "organization" in request.path:
            asked.append((request.path, request.headers.get("authorization")))
            came.set()
        return web.json_response({"data": []})

    web_app = web.Application()
    web_app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(web_app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    entry = {"base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1", "admin_secret": "sk-adm"}
    keys = [{"provider": "openai", "secret": "sk-key-1"}]
    app = create_app(RouterConfig.model_validate({"providers": {"openai": entry}, "keys": keys}))
    await app.start()
    async with asyncio.timeout(10):
        await came.wait()
    await app.stop()
    await runner.cleanup()
    assert asked == [("/v1/organization/projects", "Bearer sk-adm")]
    assert "sk-adm" not in repr(app.config)


WHOLE = """\
version: 1
server:
  host: 127.0.0.1            # any other address needs at least one entry under clients
  port: 8000
  max_queue_wait: 30s        # longest wait for capacity before a 429; 0s turns waiting off
  request_timeout: 600s
store: sqlite:///apikeyrouter.db
ledger: local
routing:
  objective: fairness
providers:
  openai: {}
  lab-a:
    kind: openai
    base_url: http://127.0.0.1:4101/v1
    models: ["*"]
keys:
  - id: lab-a-1
    provider: lab-a
    secret: ${LAB_A_KEY}
    scope: org-a
    models: ["gpt-*"]
    weight: 1
    priority: 0
    tags: {team: search}
    limits: {rpm: 60, tpm: 100000}
models:
  fast: [openai/gpt-4.1-mini, lab-a/gpt-4.1-mini]
clients:
  - {name: search-team, token: ${SEARCH_TEAM_TOKEN}, models: ["fast"], limits: {rpm: 600}, weight: 1, priority: 0}
budgets:
  - {id: day, scope: global, limit_usd: 100, period: daily, mode: hard, timezone: UTC}
  - {id: search, scope: per_client, scope_id: search-team, limit_usd: 5, period: daily, mode: soft, alert_at: [0.5, 0.8], when_over: {objective: cost}}
prices:
  - {provider: lab-a, models: ["*"], input_usd: 0.20, output_usd: 0.60}
unknown_price: allow
policies:
  - id: eu-only
    when: {clients: [search-team], models: ["gpt-*"], hours: "08-18 Europe/Berlin"}
    then: {only: {tags: {region: eu}}, never: {providers: [lab-a]}, max_wait: 5s, fallback: fast}
    priority: 10
translation: strict
alerts:
  - {webhook: "https://host", secret: ${HOOK_SECRET}, on: [key_invalid, budget]}
observability: {log_format: json, log_level: info, log_bodies: false}
"""  # noqa: E501 - as users are shown it
ENV = {"LAB_A_KEY": "sk-a", "SEARCH_TEAM_TOKEN": "token-a", "HOOK_SECRET": "hook"}


def test_whole_documented_example_is_accepted_but_for_what_is_not_there_yet(tmp_path: Path) -> None:
    file = tmp_path / "router.yaml"
    sections = WHOLE
    removed = []
    for _ in range(2):
        file.write_text(sections)
        with pytest.raises(ConfigurationError) as caught:
            read_config(file, ENV)
        lines = str(caught.value).splitlines()
        assert all("this version" in line for line in lines)
        names = [line.removeprefix(f"{file}:").split(":")[1].strip() for line in lines]
        removed += names
        sections = _without(sections, names)
    assert removed == [
        "alerts", "observability", "policies",
    ]  # fmt: skip
    file.write_text(sections)
    assert read_config(file, ENV).keys[0].limits == {"rpm": 60, "tpm": 100000}


def _without(text: str, names: list[str]) -> str:
    """Return the file without these sections."""
    kept, section = [], ""
    for line in text.splitlines():
        if line[:1] not in " ":
            section = line.partition(":")[0]
        if section not in names:
            kept.append(line)
    return "\n".join(kept)


async def test_provider_is_reached_and_waited_for_as_its_entry_says() -> None:
    entry = {
        "base_url": "http://host/v1", "kind": "openai", "stream_usage": False,
        "first_token_timeout": "20s", "stall_timeout": "500ms", "proxy": "direct",
    }  # fmt: skip
    config = RouterConfig.model_validate({"providers": {"lab": entry, "openai": {}}})
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await register_all(router, config)
        lab, usual = (router.routes.providers[name].adapter for name in ("lab", "openai"))
    for adapter, expected in ((lab, (False, 20.0, 0.5)), (usual, (True, None, 120.0))):
        assert isinstance(adapter, OpenAIAdapter)
        told = (adapter.stream_options, adapter.first_token_timeout_s, adapter.stall_timeout_s)
        assert told == expected


@pytest.mark.parametrize("name", ["lab", "openai"])
@pytest.mark.parametrize(
    ("field", "value"), [("proxy", "socks5://u:hidden@host:1"), ("ca_file", "/nowhere.pem")]
)
async def test_way_to_a_provider_that_cannot_be_is_told_with_its_name(
    name: str, field: str, value: str
) -> None:
    entry = {"kind": "openai", "base_url": "https://host/v1", field: value}
    config = RouterConfig.model_validate({"providers": {name: entry}})
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        with pytest.raises(ConfigurationError, match=f"provider '{name}': {field} ") as caught:
            await register_all(router, config)
    assert "hidden" not in str(caught.value) + repr(config)


@pytest.mark.parametrize(
    ("server", "patience"),
    [
        ({}, (5.0, 90.0)),
        ({"max_queue_wait": "2s"}, (2.0, 90.0)),
        ({"request_timeout": "60s"}, (5.0, 60.0)),
        ({"max_queue_wait": "30s", "request_timeout": "600s"}, (30.0, 600.0)),
    ],
)
def test_patience_is_the_files_or_else_the_environments(
    server: dict[str, str], patience: tuple[float, float]
) -> None:
    config = RouterConfig.model_validate({"server": server})
    settings = RouterSettings(max_queue_wait_seconds=5, request_timeout_seconds=90)
    found = create_app(config, settings=settings).router.settings
    assert (found.max_queue_wait_seconds, found.request_timeout_seconds) == patience
