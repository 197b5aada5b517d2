"""What commands are handed beside their options: secrets, files, pairs."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from apikeyrouter_proxy.cli.reach.credentials import text_of
from apikeyrouter_proxy.cli.reach.management import CommandError

SecretEnvOption = Annotated[
    str | None, typer.Option("--secret-env", help="Environment variable that has the secret.")
]
SecretFileOption = Annotated[
    Path | None, typer.Option("--secret-file", help="File that has the secret.")
]
ModelsOption = Annotated[
    list[str] | None, typer.Option("--model", help="Name or pattern; may be repeated.")
]
TagsOption = Annotated[list[str] | None, typer.Option("--tag", help="NAME=VALUE; may be repeated.")]
LimitsOption = Annotated[
    list[str] | None, typer.Option("--limit", help="NAME=NUMBER such as rpm=60; may be repeated.")
]
WeightOption = Annotated[float | None, typer.Option("--weight")]
PriorityOption = Annotated[int | None, typer.Option("--priority", help="Higher goes first.")]
CountOption = Annotated[
    int | None, typer.Option("--first", min=1, help="So many; all if not said.")
]
StdinOrFile = Annotated[str, typer.Argument(metavar="FILE", help="`-` reads standard input.")]


def secret_from(variable: str | None, file: Path | None) -> str:
    """Return a secret that is not on the command line, where others could see it.

    It is asked for on a terminal, and read from standard input where that is something else.

    Raises:
        CommandError: There is none.
    """
    if variable is not None and file is not None:
        raise typer.BadParameter("name one of --secret-env and --secret-file")
    if variable is not None:
        return _given(os.environ.get(variable, ""), f"the environment variable {variable}")
    if file is not None:
        return _given(text_of(file), str(file))
    if sys.stdin.isatty():
        return _given(typer.prompt("Secret", hide_input=True, err=True), "the answer")
    return _given(sys.stdin.read(), "standard input")


def bytes_of(name: str) -> bytes:
    """Return what a file or standard input holds.

    Raises:
        CommandError: It cannot be read.
    """
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from error


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """Return `NAME=VALUE` texts as a mapping.

    Raises:
        typer.BadParameter: One is none.
    """
    found = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise typer.BadParameter(f"{option} {text}: should be NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def settings_of(
    *,
    models: list[str] | None,
    tags: list[str] | None,
    limits: list[str] | None,
    weight: float | None,
    priority: int | None,
) -> dict[str, object]:
    """Return what was said of a key or a client; what was not said is left out."""
    said = {
        "models": models,
        "tags": pairs(tags or (), "--tag") or None,
        "limits": pairs(limits or (), "--limit") or None,
        "weight": weight,
        "priority": priority,
    }
    return {name: value for name, value in said.items() if value is not None and value != []}


def _given(text: str, source: str) -> str:
    secret = text.strip()
    if not secret:
        raise CommandError(
            f"there is no secret: {source} is empty; pipe it in, or name --secret-env or "
            "--secret-file"
        )
    return secret
