"""Where the service keeps its state, and whose key seals its secrets there."""

import stat
from pathlib import Path
from typing import Any

import pytest

from apikeyrouter import ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import OpenAIAdapter
from apikeyrouter_proxy.app import create_app
from apikeyrouter_proxy.composition import read_config
from apikeyrouter_proxy.storage import with_encryption_key

pytestmark = pytest.mark.unit
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("APIKEYROUTER_ENCRYPTION_KEY", raising=False)


def settings(**values: Any) -> RouterSettings:
    return RouterSettings(_env_file=None, log_level="CRITICAL", **values)


@pytest.mark.parametrize(
    ("text", "env", "store"),
    [
        (None, {}, "sqlite:///apikeyrouter.db"),
        ("", {}, "sqlite:///apikeyrouter.db"),
        ("", {"REDIS_URL": "redis://h"}, "redis://h"),
        ("", {"MONGODB_URL": "mongodb://h", "REDIS_URL": "redis://h"}, "mongodb://h"),
        ("", {"DATABASE_URL": "postgres://h/d", "MONGODB_URL": "mongodb://h"}, "postgres://h/d"),
        ("", {"DATABASE_URL": " "}, "sqlite:///apikeyrouter.db"),
        ("store: memory://", {"DATABASE_URL": "postgres://h/d"}, "memory://"),
    ],
)
def test_store_is_the_files_then_the_environments_then_a_file_here(
    tmp_path: Path, text: str | None, env: dict[str, str], store: str
) -> None:
    file = None
    if text is not None:
        file = tmp_path / "router.yaml"
        file.write_text(f"version: 1\n{text}")
    assert store == read_config(file, env).store


def test_address_of_the_environment_that_is_no_store_is_refused_without_its_password() -> None:
    config = read_config(None, {"DATABASE_URL": "mysql://u:pa55@h/d"})
    with pytest.raises(ConfigurationError, match=r"store mysql://h/d: should start with") as caught:
        create_app(config, settings=settings(encryption_key=KEY))
    assert "pa55" not in str(caught.value)
    assert "pa55" not in repr(config)


def test_key_is_made_once_beside_the_database_for_its_owner_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = RouterConfig(store="sqlite:///some.db")
    made = with_encryption_key(config, settings()).encryption_key
    assert made is not None
    file = tmp_path / "some.db.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() == made.get_secret_value()
    assert "made an encryption key in some.db.key" in caplog.text
    assert made.get_secret_value() not in caplog.text
    caplog.clear()
    assert made == with_encryption_key(config, settings(environment="production")).encryption_key
    assert caplog.text == ""
    assert [path.name for path in tmp_path.iterdir()] == ["some.db.key"]


@pytest.mark.parametrize(
    ("store", "given", "told"),
    [
        ("sqlite:///some.db", {"environment": "production"}, "in production none is made for you"),
        ("sqlite:///none/some.db", {}, "none/some.db.key: No such file or directory"),
        ("redis://h", {}, "APIKEYROUTER_ENCRYPTION_KEY is missing"),
        ("postgresql://h/d", {}, "so that stored secrets open after a restart"),
    ],
)
def test_key_that_is_missing_and_may_not_be_made_is_told(
    tmp_path: Path, store: str, given: dict[str, str], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told):
        create_app(RouterConfig(store=store), settings=settings(**given))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "short", "é"])
def test_file_that_holds_no_key_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "some.db.key").write_text(content)
    with pytest.raises(ConfigurationError, match=r"some\.db\.key: "):
        with_encryption_key(RouterConfig(store="sqlite:///some.db"), settings())


@pytest.mark.parametrize(
    ("store", "given"), [("memory://", {}), ("redis://h", {"encryption_key": KEY})]
)
def test_key_is_not_made_where_none_is_needed(
    tmp_path: Path, store: str, given: dict[str, str]
) -> None:
    assert settings(**given) == with_encryption_key(RouterConfig(store=store), settings(**given))
    assert list(tmp_path.iterdir()) == []


async def test_stored_key_of_a_provider_that_is_not_configured_is_used() -> None:
    config = RouterConfig(store="sqlite:///some.db")
    for _ in range(2):
        app = create_app(config, settings=settings(encryption_key=KEY))
        await app.start()
        if "groq" not in app.router.routes.providers:
            await app.router.register_provider("groq", OpenAIAdapter("http://127.0.0.1:1/v1"))
            await app.router.register_key("sk-1", "groq", {"id": "by-hand"})
        assert app.router.count_keys() == (1, 1)
        await app.stop()
