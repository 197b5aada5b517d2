"""What every command that manages has in common: its options, its output, its status.

0 is done, 1 a mistake or a refusal, 2 wrong usage, 3 what is needed does not answer.
"""

import asyncio
import functools
import inspect
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from apikeyrouter import ConfigurationError
from apikeyrouter_proxy.cli.options import ConfigOption
from apikeyrouter_proxy.cli.reach.choice import Place, reached
from apikeyrouter_proxy.cli.reach.management import CommandError, Management


@dataclass(slots=True, frozen=True)
class Report:
    """What a command has found or done.

    Attributes:
        data: For `--json`.
        lines: For people.
        status: What the command ends with.
        note: For people, on stderr, so that the lines can be piped.
    """

    data: object
    lines: Iterable[str]
    status: int = 0
    note: str = ""


#: What a command does once it is known who answers it.
Work = Callable[[Management], Awaitable[Report]]

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="The running service, in place of APIKEYROUTER_URL; else found by its store."
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file", help="Has the management key, in place of APIKEYROUTER_MANAGEMENT_API_KEY."
    ),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Work on the store itself; no service runs over it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_OPTIONS: tuple[tuple[str, Any, object], ...] = (
    ("config", ConfigOption, None),
    ("url", UrlOption, None),
    ("key_file", KeyFileOption, None),
    ("offline", OfflineOption, False),
    ("as_json", JsonOption, False),
)


def managed(
    group: typer.Typer, *names: str, may_create: bool = False
) -> Callable[[Callable[..., Work]], Callable[..., Work]]:
    """Make a command of what reads its arguments and returns the work to do.

    Args:
        names: The command's; all but the first are not listed.
        may_create: It may begin a store where there is none.
    """

    def register(begin: Callable[..., Work]) -> Callable[..., Work]:
        @functools.wraps(begin)
        def command(**given: Any) -> None:
            where = {name: given.pop(name) for name, *_ in _OPTIONS}
            as_json = where.pop("as_json")
            run(lambda: begin(**given), Place(**where, may_create=may_create), as_json=as_json)

        own = inspect.signature(begin)
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=usual, annotation=kind)
            for name, kind, usual in _OPTIONS
        ]
        parameters = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own.parameters.values()
        ]
        signature = own.replace(parameters=[*parameters, *shared], return_annotation=None)
        command.__signature__ = signature  # type: ignore[attr-defined]  # typer reads it
        first, *others = names
        group.command(first)(command)
        for name in others:
            group.command(name, hidden=True)(command)
        return begin

    return register


def run(begin: Callable[[], Work], place: Place, *, as_json: bool) -> None:
    """Do the work of a command, print its report and end with its status.

    Raises:
        typer.Exit: It could not be done, or not as it was meant.
    """
    try:
        # Before anything is reached: somebody may be asked, and takes time.
        work = begin()
        report = asyncio.run(_carried_out(work, place))
    except (ConfigurationError, CommandError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(getattr(error, "status", 1)) from None
    if as_json:
        typer.echo(json.dumps(report.data))
    else:
        for line in report.lines:
            typer.echo(line)
        if report.note:
            typer.echo(report.note, err=True)
    if report.status:
        raise typer.Exit(report.status)


async def _carried_out(work: Work, place: Place) -> Report:
    async with reached(place) as management:
        return await work(management)
