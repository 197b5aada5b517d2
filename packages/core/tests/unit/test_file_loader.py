"""The configuration file: what it says, and every way to say it wrong."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from apikeyrouter import ApiKeyRouter
from apikeyrouter.domain.components.key_manager import derived_id
from apikeyrouter.errors import ConfigurationError, KeyRegistrationError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.config.file_loader import load_config, parse_config
from apikeyrouter.infrastructure.config.model import (
    BudgetConfig,
    ClientConfig,
    KeyConfig,
    ProviderConfig,
    RouterConfig,
    RoutingConfig,
    ServerConfig,
)
from apikeyrouter.infrastructure.config.values import is_loopback

pytestmark = pytest.mark.unit

CATALOGUE = ("openai", "anthropic", "groq")
EXAMPLE = """\
version: 1
server:
  host: 127.0.0.1            # any other address needs at least one entry under clients
  port: 8000
  max_queue_wait: 30s
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
  - {scope: global, limit_usd: 100, period: daily, mode: hard}
policies: []
"""  # noqa: E501 - as users were shown it


def parse(
    text: str, env: Mapping[str, str] | None = None, name: str = "router.yaml"
) -> RouterConfig:
    return parse_config(text, name=name, env=env or {}, known_providers=CATALOGUE)


def mistakes(text: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of the refusal, without the file's name."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text, env)
    return [line.removeprefix("router.yaml:") for line in str(caught.value).splitlines()]


def key(**fields: object) -> str:
    """Return a file with one key of these fields on line 2."""
    entry = {"provider": "openai", "secret": "sk-1", **fields}
    return f"version: 1\nkeys: [{{{', '.join(f'{name}: {entry[name]}' for name in entry)}}}]\n"


def test_documented_example_is_read_whole() -> None:
    config = parse(EXAMPLE, {"LAB_A_KEY": "sk-a", "SEARCH_TEAM_TOKEN": "token"})
    assert config == RouterConfig(
        version=1,
        server=ServerConfig(host="127.0.0.1", port=8000, max_queue_wait=30, request_timeout=600),
        store="sqlite:///apikeyrouter.db",
        ledger="local",
        routing=RoutingConfig(objective="fairness"),
        providers={
            "openai": ProviderConfig(),
            "lab-a": ProviderConfig(
                kind="openai", base_url="http://127.0.0.1:4101/v1", models=["*"]
            ),
        },
        keys=[
            KeyConfig(
                id="lab-a-1",
                provider="lab-a",
                secret=SecretStr("sk-a"),
                scope="org-a",
                models=["gpt-*"],
                tags={"team": "search"},
                limits={"rpm": 60, "tpm": 100_000},
            )
        ],
        models={"fast": ["openai/gpt-4.1-mini", "lab-a/gpt-4.1-mini"]},
        clients=[
            ClientConfig(
                name="search-team",
                token=SecretStr("token"),
                models=["fast"],
                limits={"rpm": 600},
            )
        ],
        budgets=[BudgetConfig(scope="global", limit_usd=Decimal(100), period="daily", mode="hard")],
    )


def test_smallest_file_is_all_defaults() -> None:
    assert parse("version: 1\n") == RouterConfig()


def test_json_is_read_too() -> None:
    assert parse('{"version": 1, "server": {"port": 9}}').server.port == 9


def test_sections_with_nothing_behind_them_are_absent() -> None:
    text = "version: 1\nserver:\nproviders:\n  openai:\nkeys:\nmodels:\nclients:\nbudgets:\n"
    assert parse(text) == RouterConfig(providers={"openai": ProviderConfig()})


def test_weights_stand_for_an_objective() -> None:
    config = parse("version: 1\nrouting: {weights: {cost: 0.7, reliability: 0.3}}")
    assert config.routing == RoutingConfig(weights={"cost": 0.7, "reliability": 0.3})


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("250ms", 0.25),
        ("10m", 600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("0s", 0),
        ("0", 0),
        ("7", 7),
        ("2.5", 2.5),
        ("'7'", 7),
    ],
)
def test_duration(written: str, seconds: float) -> None:
    assert (
        parse(f"version: 1\nserver: {{max_queue_wait: {written}}}").server.max_queue_wait == seconds
    )


@pytest.mark.parametrize(
    "written",
    ["s", "3 s", "-1s", "-1", "1w", "true", "[]", "9999999d", "1e999", ".inf", "''"],
)
def test_bad_duration(written: str) -> None:
    found = mistakes(f"version: 1\nserver: {{request_timeout: {written}}}")
    assert len(found) == 1
    assert found[0].startswith("2: server.request_timeout: should be a duration such as 30s")


@pytest.mark.parametrize(
    ("written", "size"), [("32MB", 32_000_000), ("32MiB", 2**25), ("1 KiB", 1024), ("100", 100)]
)
def test_size(written: str, size: int) -> None:
    assert parse(f"version: 1\nserver: {{max_body_bytes: {written}}}").server.max_body_bytes == size


# --- secrets and references -----------------------------------------------------


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ("sk-plain", "sk-plain"),
        ("${A}", "sk-a"),
        ("'${A}'", "sk-a"),
        ("x-${A}-${B}", "x-sk-a-7"),
        ("${B}", "7"),
        ("${NONE:-other}", "other"),
        ("${BLANK:-other}", "other"),
        ("$${A}", "${A}"),
        ("$A", "$A"),
        ("no", "no"),
    ],
)
def test_secret_is_filled_in(written: str, secret: str) -> None:
    env = {"A": "sk-a", "B": "7", "BLANK": ""}
    for text in (
        key(secret=written),
        f"version: 1\nkeys:\n- provider: openai\n  secret: {written}",
    ):
        assert parse(text, env).keys[0].secret.get_secret_value() == secret


def test_filled_in_text_may_be_a_number() -> None:
    config = parse("version: 1\nserver: {port: ${PORT}}", {"PORT": "9"})
    assert config.server.port == 9


def test_every_missing_variable_is_named() -> None:
    assert mistakes(EXAMPLE) == [
        "20: keys[0].secret: environment variable LAB_A_KEY is not set: "
        "export it, or put it in .env",
        "30: clients[0].token: environment variable SEARCH_TEAM_TOKEN is not set: "
        "export it, or put it in .env",
    ]


def test_secret_file_is_read_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "openai").write_text("sk-file\n")
    file = tmp_path / "router.yaml"
    for written in ("file:openai", f"file:{tmp_path / 'openai'}"):
        file.write_text(key(secret=written))
        config = load_config(file, {}, known_providers=CATALOGUE)
        assert config.keys[0].secret.get_secret_value() == "sk-file"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("file:/nowhere/at/all", "cannot read the secret's file: there is no such file"),
        ("file:/dev/zero", "cannot read the secret's file: there is no such file"),
        ('"file:\\0"', "cannot read the secret's file: "),
        ("''", "the secret is empty"),
        ("'sk 1'", "the secret holds blanks"),
        ('"sk\\n1"', "the secret holds blanks"),
        ("schlüssel-sk", "the secret holds blanks, line breaks or characters outside ASCII"),
        ("'sk\u00a01'", "the secret holds blanks"),
        ("sk-" + 4094 * "x", "the secret has more than 4,096 characters"),
        ("[sk-1]", "should be text"),
        ("12345", "should be text"),
        ("${}", "${...} should hold the name"),
        ("${a-b}", "${...} should hold the name"),
    ],
)
def test_bad_secret_is_refused_and_not_shown(written: str, reason: str) -> None:
    found = mistakes(key(secret=written))
    assert len(found) == 1
    assert found[0].startswith(f"2: keys[0].secret: {reason}")
    assert "sk" not in found[0]


@pytest.mark.parametrize(
    ("secret", "accepted"),
    [
        ("sk-your-key-1", True),
        ("!~", True),
        ("x" * 4096, True),
        ("x" * 4097, False),
        ("schlüssel", False),
        ("sk 1", False),
        ("sk\t1", False),
        ("sk\x7f1", False),
        ("\ud800", False),
    ],
)
async def test_secret_is_read_exactly_when_it_can_become_a_key(secret: str, accepted: bool) -> None:
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        await router.register_provider("openai", OpenAIAdapter())
        if accepted:
            key = KeyConfig(provider="openai", secret=SecretStr(secret))
            await router.register_key(key.secret.get_secret_value(), key.provider)
            return
        with pytest.raises(ValidationError):
            KeyConfig(provider="openai", secret=SecretStr(secret))
        with pytest.raises(KeyRegistrationError):
            await router.register_key(secret, "openai")


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nkeys: [{provider: openai, secret: *sk-hidden}]",
        "version: 1\nkeys: [{provider: openai, secret: !sk-hidden x}]",
        "version: 1\nkeys: [{provider: openai, secret: &sk-hidden &sk-hidden x}]",
        "version: 1\nkeys: [{provider: openai, secret: {sk-hidden: }}]",
        "version: 1\nkeys: [{provider: openai, secret: 'sk-hidden]",
        "version: 1\nkeys: [{provider: openai, secret: sk-hidden, secret: sk-hidden}]",
        "version: 1\nstore: mysql://user:sk-hidden@host",
        "version: 1\nledger: http://user:sk-hidden@host",
        "version: 1\nproviders: {openai: {base_url: 'ftp://sk-hidden@host'}}",
        "version: 1\nproviders: {openai: {base_url: 'http://u:sk-hidden@host/v1'}}",
        "version: 1\nclients: [{name: 1, token: sk-hidden}, {name: b, token: sk-hidden}]",
    ],
)
def test_no_error_repeats_a_secret(text: str) -> None:
    assert "sk-hidden" not in "\n".join(mistakes(text))


def test_no_repr_shows_a_secret() -> None:
    config = parse(EXAMPLE, {"LAB_A_KEY": "sk-hidden", "SEARCH_TEAM_TOKEN": "sk-hidden"})
    assert "sk-hidden" not in repr(config)
    assert "sk-hidden" not in config.model_dump_json()
    with pytest.raises(ValidationError) as caught:
        KeyConfig(provider="openai", secret="sk-hidden x")  # type: ignore[arg-type]
    assert "sk-hidden" not in str(caught.value)


def test_key_id_is_stable_and_tells_no_secret() -> None:
    config = parse(key(secret="sk-hidden"))
    assert config.keys[0].id == derived_id("openai", "sk-hidden") == "openai-630e472af6"
    assert derived_id("openai", "sk-hidden") != derived_id("groq", "sk-hidden")


def test_all_mistakes_are_reported_together_in_order_of_lines() -> None:
    text = """\
version: 1
server: {host: 0.0.0.0, prt: 1}
keys:
  - {provider: nobody, secret: "${NONE}"}
  - {provider: openai, secret: a, limits: {rpm: 0}}
models: {fast: [groq/x]}
"""
    fields = [line.split(":")[:2] for line in mistakes(text)]
    assert fields == [
        ["2", " server.prt"],
        ["2", " server.host"],
        ["4", " keys[0].secret"],
        ["4", " keys[0].provider"],
        ["5", " keys[1].limits.rpm"],
        ["6", " models.fast[0]"],
    ]


def test_a_flood_of_mistakes_is_cut() -> None:
    found = mistakes("version: 1\n" + "".join(f"name{index}: 1\n" for index in range(100)))
    assert len(found) == 41
    assert found[-1] == " and 60 more"


def test_client_may_name_models_that_nobody_serves_yet() -> None:
    parse("version: 1\nclients: [{name: a, token: b, models: ['gpt-*', later]}]")


def test_service_with_clients_may_listen_everywhere() -> None:
    parse("version: 1\nserver: {host: 0.0.0.0}\nclients: [{name: a, token: b}]")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("router.example.com", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# --- reading ------------------------------------------------------------------------


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"version: 1 # \xff")
    for name, reason in [
        ("none.yaml", "cannot be read: No such file"),
        (".", "cannot be read: Is a directory"),
        ("latin.yaml", "should be UTF-8 text"),
        ("a\0b", "cannot be read: the path is not valid"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            load_config(tmp_path / name, {}, known_providers=CATALOGUE)
        assert str(caught.value).startswith(f"{tmp_path / name}: {reason}")


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "router.yaml").write_bytes(b"\xef\xbb\xbfversion: 1\n")
    assert load_config(tmp_path / "router.yaml", {}, known_providers=()) == RouterConfig()
