"""Secrets as people paste them, into files and variables."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from apikeyrouter.domain.components.key_manager import derived_id
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.config.file_loader import parse_config
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.infrastructure.config.settings import RouterSettings

pytestmark = pytest.mark.unit


def parse(text: str, env: Mapping[str, str], name: str = "router.yaml") -> RouterConfig:
    return parse_config(text, name=name, env=env, known_providers=("openai",))


@pytest.mark.parametrize(
    "written", ["sk-a", "\ufeffsk-a\n", '"sk-a"', " 'sk-a' \r\n", "\u200bsk-a"], ids=ascii
)
@pytest.mark.parametrize("how", ["environment", "file"])
def test_what_stands_around_a_pasted_secret_is_taken_away(
    tmp_path: Path, written: str, how: str
) -> None:
    (tmp_path / "secret").write_text(written, encoding="utf-8")
    name = str(tmp_path / "router.yaml")
    secret = "file:secret" if how == "file" else "${A}"
    text = f'version: 1\nkeys: [{{provider: openai, secret: "{secret}"}}]\n'
    config = parse(text, {"A": written}, name)
    assert config.keys[0].secret.get_secret_value() == "sk-a"
    assert config.keys[0].id == derived_id("openai", "sk-a")


def test_one_secret_pasted_in_two_ways_is_found_to_stand_twice() -> None:
    entries = ["{provider: openai, secret: sk-a}", "{provider: openai, secret: '${A}'}"]
    text = "version: 1\nkeys:\n" + "".join(f"- {entry}\n" for entry in entries)
    with pytest.raises(ConfigurationError, match=r"4: keys\[1\]: has the same provider and secret"):
        parse(text, {"A": "'sk-a'\n"})


def test_pasted_settings_lose_their_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APIKEYROUTER_MANAGEMENT_API_KEY", '"sk-admin"\n')
    key = RouterSettings().management_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-admin"


def test_first_setting_of_a_dotenv_with_a_byte_order_mark_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("APIKEYROUTER_MAX_DECISIONS", raising=False)
    Path(".env").write_bytes(b"\xef\xbb\xbfAPIKEYROUTER_MAX_DECISIONS=7\n")
    assert RouterSettings().max_decisions == 7
