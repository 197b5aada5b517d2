"""Whatever a configuration file holds, it is read or refused in words."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.config.file_loader import parse_config
from apikeyrouter.infrastructure.config.model import (
    BudgetConfig,
    KeyConfig,
    RouterConfig,
    ServerConfig,
)

pytestmark = pytest.mark.unit


def parse(text: str) -> RouterConfig:
    return parse_config(
        text, name="router.yaml", env={"A": "sk-a"}, known_providers=("openai", "groq")
    )


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: " * 1000,
        "&a [*a, *a]",
        "version: 1\nx: &a [a]\n"
        + "".join(f"y{n}: &a [*a,*a,*a,*a,*a,*a,*a,*a]\n" for n in range(12)),
        f"version: 1\nx: &a {'b' * 10_000}\ny: [{'*a,' * 10_000}]",
        f"version: 1 #{'x' * (4 * 2**20)}",
    ],
    ids=["deep", "deep mapping", "in itself", "unfolds", "unfolds wide", "large"],
)
def test_hostile_text_is_refused_soon(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse(text)


WORDS = st.sampled_from(
    [
        *RouterConfig.model_fields,
        *KeyConfig.model_fields,
        *BudgetConfig.model_fields,
        *ServerConfig.model_fields,
        "version: 1\n",
        *(
            "openai",
            "${A}",
            "$${A}",
            "${B}",
            "file:x",
            "30s",
            "rpm",
            "cost",
            "global",
            "daily",
            "1",
        ),
        *(
            "\n",
            "\n  ",
            "\n- ",
            ": ",
            " ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "&a ",
            "*a",
            "!!int ",
            "'",
            '"',
        ),
        *(
            "#",
            "---\n",
            "|\n",
            "? ",
            "<<: ",
            "\t",
            "\\ud800",
            "9" * 5000,
            "-",
            ".inf",
            "\ue000\ue001",
        ),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(), inner, max_size=5)
    ),
)


def assert_reads_or_refuses(text: str) -> None:
    try:
        config = parse(text)
    except ConfigurationError as error:
        lines = str(error).split("\n")
    else:
        lines = [repr(config)]
    assert all(line and line.isprintable() for line in lines)


@given(st.text())
@example("\ud800")
@example("\ufeff")
def test_any_text_is_read_or_refused(text: str) -> None:
    assert_reads_or_refuses(text)


@given(st.lists(WORDS | st.text(max_size=3), max_size=30).map("".join))
def test_any_text_of_our_words_is_read_or_refused(text: str) -> None:
    assert_reads_or_refuses(text)


@given(st.dictionaries(st.sampled_from([*RouterConfig.model_fields]), VALUES))
def test_any_data_is_read_or_refused(data: dict[str, object]) -> None:
    lines = [f"{name}: {json.dumps(value)}" for name, value in data.items()]
    assert_reads_or_refuses("\n".join(["version: 1", *lines]))
