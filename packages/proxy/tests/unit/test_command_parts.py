"""What commands are made of: tables, pairs, addresses of things."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter_proxy.cli import app
from apikeyrouter_proxy.cli.inputs import pairs
from apikeyrouter_proxy.cli.reach.management import CommandError, path_of
from apikeyrouter_proxy.cli.reach.service import base_of
from apikeyrouter_proxy.cli.tables import moment, of, plain, table

pytestmark = pytest.mark.unit


def commands() -> Iterator[tuple[str, Any]]:
    for group_name, group in typer.main.get_command(app).commands.items():
        for name, command in getattr(group, "commands", {}).items():
            yield f"{group_name} {name}", command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_each_command_that_manages_explains_itself(name: str, command: Any) -> None:
    wanted = {"--json", "--config"}
    if name not in ("keys rewrap", "audit verify"):
        wanted |= {"--url", "--key-file", "--offline"}
    assert wanted <= {option for one in command.params for option in one.opts}
    assert command.help


def test_table_has_a_column_as_wide_as_its_widest_cell() -> None:
    rows = [{"id": "a-long-one", "n": 1.0, "tags": {"x": "1", "y": "2"}}, {"id": "b", "n": None}]
    columns = (("ID", of("id")), ("N", of("n")), ("TAGS", of("tags")))
    assert list(table(columns, rows)) == [
        "ID          N  TAGS",
        "a-long-one  1  x=1, y=2",
        "b           -  -",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"), ([], "-"), ({}, "-"), ("", ""), (True, "yes"), (False, "no"), (0.25, "0.25"),
        (1e6, "1000000"), (["a", "b"], "a, b"), ("a\x1b[31m\nb", "a?[31m?b"), ("…xy", "…xy"),
    ],
)  # fmt: skip
def test_values_are_shown_plainly(value: object, shown: str) -> None:
    assert shown == plain(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2026-05-04T09:00:01.5Z", "2026-05-04 09:00:01Z"),
        ("2026-05-04", "2026-05-04"),
        (None, None),
    ],
)
def test_instants_are_shown_to_the_second(value: object, shown: object) -> None:
    assert moment("at")({"at": value}) == shown


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_nothing_that_a_terminal_obeys_is_shown(value: object) -> None:
    assert plain(value).isprintable()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(), min_size=1))
def test_names_of_any_kind_stay_one_part_of_a_path(names: list[str]) -> None:
    path = path_of(*names)
    assert path.isascii()
    assert [unquote(part) for part in path.split("/")[1:]] == names


@pytest.mark.parametrize(
    ("given_", "found"),
    [
        ((), {}),
        (("a=1", " b = 2 "), {"a": "1", "b": "2"}),
        (("a=b=c", "d="), {"a": "b=c", "d": ""}),
    ],
)
def test_pairs_are_read(given_: tuple[str, ...], found: dict[str, str]) -> None:
    assert found == pairs(given_, "--tag")


@pytest.mark.parametrize("text", ["a", "", "=1", " =1"])
def test_what_is_no_pair_is_wrong_usage(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"--tag .*should be NAME=VALUE"):
        pairs([text], "--tag")


@settings(max_examples=100, deadline=None)
@given(st.text() | st.from_regex(r"https?://[a-z0-9:@/?#.\[\]%-]*", fullmatch=True))
def test_address_is_taken_or_refused_in_a_sentence(url: str) -> None:
    try:
        base = base_of(url)
    except CommandError as error:
        told = str(error)
    else:
        told = f"{base.scheme}, {bool(base.host)}, {base.user}"
    assert told in ("http, True, None", "https, True, None") or "should be like http://" in told
