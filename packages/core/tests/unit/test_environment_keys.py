"""Provider keys from the environment and from `.env`."""

from pathlib import Path

import pytest

from apikeyrouter.domain.components.key_manager import derived_id
from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.config.environment import (
    keys_from_environment,
    merge_dotenv,
    providers_from_environment,
    read_dotenv,
)

pytestmark = pytest.mark.unit

CATALOGUE = ["openai", "anthropic", "together-ai", "qwen", "gemini"]


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"OPENAI_API_KEY": "a"}, [("openai", "a")], id="one"),
        pytest.param(
            {"OPENAI_API_KEY_10": "c", "OPENAI_API_KEY_2": "b", "OPENAI_API_KEY": "a"},
            [("openai", "a"), ("openai", "b"), ("openai", "c")],
            id="numbered in order of number",
        ),
        pytest.param(
            {"OPENAI_API_KEYS": " a, b ,,a,", "OPENAI_API_KEY": "b"},
            [("openai", "b"), ("openai", "a")],
            id="list without doubles and blanks",
        ),
        pytest.param(
            {"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "a"},
            [("openai", "a"), ("anthropic", "a")],
            id="order of the catalogue",
        ),
        pytest.param(
            {"TOGETHER_AI_API_KEY": "a"}, [("together-ai", "a")], id="hyphens become underscores"
        ),
        pytest.param({"OPENAI_API_KEY": "  ", "OPENAI_API_KEYS": ""}, [], id="blank"),
        pytest.param({"OPENAI_API_KEY_X": "a", "XOPENAI_API_KEY": "a"}, [], id="other names"),
        pytest.param({"OPENAI_API_KEY": " a\n"}, [("openai", "a")], id="edges are stripped"),
        pytest.param({"OPENAI_API_KEY": "\ufeff'a'\r\n"}, [("openai", "a")], id="quotes and BOM"),
        pytest.param({"OPENAI_API_KEY": "“a”"}, [("openai", "a")], id="curly quotes"),
        pytest.param(
            {"OPENAI_API_KEYS": '["a", " b\\n"]'},
            [("openai", "a"), ("openai", "b")],
            id="list of JSON",
        ),
        pytest.param(
            {"OPENAI_API_KEYS": "\"'a', b;c\nd\""},
            [("openai", "a"), ("openai", "b"), ("openai", "c"), ("openai", "d")],
            id="quoted list of lines",
        ),
        pytest.param(
            {"DASHSCOPE_API_KEY": "b", "QWEN_API_KEY_1": "a", "DASHSCOPE_API_KEYS": "a,c"},
            [("qwen", "a"), ("qwen", "b"), ("qwen", "c")],
            id="by the provider's own name too",
        ),
        pytest.param(
            {"GOOGLE_API_KEY": "b", "GEMINI_API_KEY_1": "a", "GOOGLE_API_KEYS": "a,c"},
            [("gemini", "a"), ("gemini", "b"), ("gemini", "c")],
            id="Google's by either name",
        ),
    ],
)
def test_keys_are_found(env: dict[str, str], expected: list[tuple[str, str]]) -> None:
    keys = keys_from_environment(env, CATALOGUE)
    assert expected == [(key.provider, key.secret.get_secret_value()) for key in keys]
    assert [key.id for key in keys] == [derived_id(*pair) for pair in expected]


def test_impossible_key_is_refused_by_its_variable_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"^OPENAI_API_KEY_3: ") as caught:
        keys_from_environment({"OPENAI_API_KEY_3": "sk secret"}, CATALOGUE)
    assert "sk secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"OPENAI_API_KEY": "sk-a,sk-b"}, "OPENAI_API_KEY: holds a list: put it into"),
        ({"OPENAI_API_KEY": '["sk-a"]'}, "OPENAI_API_KEY: should be one secret, not a list"),
        ({"OPENAI_API_KEY": "sk-a\nsk-b"}, "OPENAI_API_KEY: the secret holds blanks, line breaks"),
        ({"OPENAI_API_KEY": "Bearer sk-a"}, "OPENAI_API_KEY: the secret starts with 'Bearer'"),
        ({"OPENAI_API_KEY": "${OTHER}"}, "OPENAI_API_KEY: holds a ${NAME}"),
        ({"OPENAI_API_KEYS": '["sk-a", 5]'}, "OPENAI_API_KEYS: should be a list such as"),
        ({"OPENAI_API_KEYS": '{"a": "sk-a"}'}, "OPENAI_API_KEYS: should be a list such as"),
        ({"OPENAI_API_KEYS": '["sk-a"'}, "OPENAI_API_KEYS: should be a list such as"),
    ],
)
def test_what_cannot_be_one_key_is_refused_with_what_to_do(env: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        keys_from_environment(env, CATALOGUE)
    assert str(caught.value).startswith(told)
    assert "sk-" not in str(caught.value)


def test_base_urls_place_providers_where_any_model_may_be_asked_for() -> None:
    env = {
        "OPENAI_BASE_URL": ' "http://127.0.0.1:9/v1/"\n',
        "TOGETHER_AI_BASE_URL": "https://host/v1",
        "ANTHROPIC_BASE_URL": "",
    }
    found = providers_from_environment(env, CATALOGUE)
    assert {name: (entry.base_url, entry.models) for name, entry in found.items()} == {
        "openai": ("http://127.0.0.1:9/v1", ["*"]),
        "together-ai": ("https://host/v1", ["*"]),
    }


def test_base_url_that_is_none_is_refused_by_its_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"^OPENAI_BASE_URL: should be an http"):
        providers_from_environment({"OPENAI_BASE_URL": "localhost:11434"}, CATALOGUE)


def test_dotenv_with_a_byte_order_mark_loses_no_variable(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfOPENAI_API_KEY=a\r\n")
    assert read_dotenv(tmp_path / ".env") == {"OPENAI_API_KEY": "a"}


def test_dotenv_is_read_with_quotes_comments_and_export(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "# a comment\nPLAIN=a # trailing\nexport EXPORTED=b\nSINGLE='c # d'\n"
        'DOUBLE="e\\nf"\nREFERENCE=${HOME}\nEMPTY=\nNAME_ONLY\n'
    )
    assert read_dotenv(file) == {
        "PLAIN": "a",
        "EXPORTED": "b",
        "SINGLE": "c # d",
        "DOUBLE": "e\nf",
        "REFERENCE": "${HOME}",
        "EMPTY": "",
    }


def test_no_dotenv_is_an_empty_one(tmp_path: Path) -> None:
    assert read_dotenv(tmp_path / ".env") == {}


def test_dotenv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigurationError, match="should be UTF-8"):
        read_dotenv(tmp_path / ".env")


def test_real_environment_wins_over_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nB=file\n")
    assert merge_dotenv({"A": "real"}, tmp_path / ".env") == {"A": "real", "B": "file"}
