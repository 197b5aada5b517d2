"""Settings from arguments, environment and `.env`, each refused by name when wrong."""

from pathlib import Path

import pytest

from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.config.settings import RouterSettings, variable_for
from apikeyrouter.infrastructure.utils.encryption import EncryptionService

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start every test without settings of the machine it runs on."""
    for field in RouterSettings.model_fields:
        monkeypatch.delenv(variable_for(field), raising=False)
    monkeypatch.chdir(tmp_path)


def test_nothing_is_needed() -> None:
    settings = RouterSettings()
    assert settings.model_dump() == {
        "encryption_key": None,
        "management_api_key": None,
        "management_read_key": None,
        "config_file": None,
        "max_decisions": 10_000,
        "max_transitions": 10_000,
        "default_cooldown_seconds": 1.0,
        "quota_default_cooldown_seconds": 900.0,
        "max_queue_wait_seconds": 30.0,
        "request_timeout_seconds": 600.0,
        "translation": "strict",
        "log_level": "INFO",
        "mongodb_url": None,
        "mongodb_database": "apikeyrouter",
        "redis_url": None,
        "environment": "development",
    }


@pytest.mark.parametrize(
    ("variable", "text", "field", "expected"),
    [
        ("APIKEYROUTER_MAX_DECISIONS", "5", "max_decisions", 5),
        ("APIKEYROUTER_MAX_TRANSITIONS", "0", "max_transitions", 0),
        ("APIKEYROUTER_DEFAULT_COOLDOWN_SECONDS", "2.5", "default_cooldown_seconds", 2.5),
        ("APIKEYROUTER_QUOTA_DEFAULT_COOLDOWN_SECONDS", "7", "quota_default_cooldown_seconds", 7),
        ("APIKEYROUTER_MAX_QUEUE_WAIT_SECONDS", "0", "max_queue_wait_seconds", 0),
        ("APIKEYROUTER_REQUEST_TIMEOUT_SECONDS", "9", "request_timeout_seconds", 9),
        ("APIKEYROUTER_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("APIKEYROUTER_CONFIG_FILE", "router.yaml", "config_file", "router.yaml"),
        ("MONGODB_DATABASE", "router", "mongodb_database", "router"),
        ("ENVIRONMENT", "production", "environment", "production"),
        # A blank variable is an unset one: copied examples leave them blank.
        ("APIKEYROUTER_ENCRYPTION_KEY", "", "encryption_key", None),
        ("APIKEYROUTER_MAX_DECISIONS", "", "max_decisions", 10_000),
    ],
)
def test_variable_sets_its_field(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(RouterSettings(), field) == expected


def test_arguments_win_over_environment_and_environment_over_dotenv(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(
        "APIKEYROUTER_MAX_DECISIONS=1\nAPIKEYROUTER_MAX_TRANSITIONS=1\nENVIRONMENT=dotenv\n"
        "OPENAI_API_KEY=sk-1\nAPIKEYROUTER_OF_ANOTHER_VERSION=1\n"
    )
    monkeypatch.setenv("APIKEYROUTER_MAX_DECISIONS", "2")
    monkeypatch.setenv("APIKEYROUTER_MAX_TRANSITIONS", "2")
    settings = RouterSettings(max_decisions=3)
    assert (settings.max_decisions, settings.max_transitions) == (3, 2)
    assert settings.environment == "dotenv"


def test_load_takes_settings_dict_or_nothing() -> None:
    settings = RouterSettings(max_decisions=3)
    assert RouterSettings.load(settings) is settings
    assert RouterSettings.load({"max_decisions": 3}) == settings
    assert RouterSettings.load(None) == RouterSettings()
    with pytest.raises(ConfigurationError, match="not list"):
        RouterSettings.load([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"max_decisions": -1}, "max_decisions (APIKEYROUTER_MAX_DECISIONS): should be 0 or more"),
        ({"max_decisions": "x"}, "max_decisions (APIKEYROUTER_MAX_DECISIONS): should be a whole"),
        ({"default_cooldown_seconds": 0}, "should be above 0"),
        ({"max_queue_wait_seconds": float("nan")}, "should be"),
        ({"log_level": "loud"}, "should be one of 'DEBUG', 'INFO'"),
        ({"encryption_key": "short"}, "(APIKEYROUTER_ENCRYPTION_KEY): an encryption key should be"),
        ({"management_api_key": ""}, "should not be empty"),
        ({"management_api_key": "one,,two"}, "none of them empty"),
        ({"management_read_key": "one, "}, "none of them empty"),
        (
            {"management_api_key": "a,b", "management_read_key": "c, b"},
            "has a key of management_api_key",
        ),
        ({"environment": 3}, "environment (ENVIRONMENT): should be text"),
        ({"redis_url": 3}, "redis_url (REDIS_URL): should be text"),
        ({"max_decison": 3}, "unknown setting 'max_decison'; did you mean 'max_decisions'?"),
    ],
)
def test_wrong_value_is_refused_by_name(config: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RouterSettings.load(config)
    assert reason in str(caught.value)


def test_all_mistakes_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APIKEYROUTER_MAX_DECISIONS", "many")
    monkeypatch.setenv("APIKEYROUTER_LOG_LEVEL", "loud")
    with pytest.raises(ConfigurationError) as caught:
        RouterSettings()
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "max_decisions (APIKEYROUTER_MAX_DECISIONS)",
        "log_level (APIKEYROUTER_LOG_LEVEL)",
    ]


def test_secrets_are_in_no_repr_and_no_error() -> None:
    key = EncryptionService.generate_key()
    config = {
        "encryption_key": key,
        "management_api_key": "sk-management",
        "mongodb_url": "mongodb://user:sk-password@host",
        "redis_url": "redis://:sk-password@host",
    }
    shown = repr(RouterSettings.load(config))
    with pytest.raises(ConfigurationError) as caught:
        RouterSettings.load({**config, "encryption_key": "sk-wrong"})
    for text in (shown, str(caught.value)):
        assert key not in text
        assert "sk-" not in text


def test_dotenv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"ENVIRONMENT=\xff\n")
    with pytest.raises(ConfigurationError, match=r"\.env should be UTF-8"):
        RouterSettings()


def test_example_shows_every_variable_with_its_default(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    for field in RouterSettings.model_fields:
        assert f"{variable_for(field)}=" in example
    for variable in ("PORT", "ENABLE_HSTS", "CORS_ORIGINS", "SHUTDOWN_TIMEOUT_SECONDS"):
        assert f"\n{variable}=" in example
    before = RouterSettings()
    (tmp_path / ".env").write_text(example)
    assert RouterSettings() == before
