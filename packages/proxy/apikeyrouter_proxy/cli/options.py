"""What all commands have in common."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file.")]


def stop(error: Exception) -> typer.Exit:
    """Tell a user's mistake; return what ends the command with status 1."""
    typer.echo(str(error), err=True)
    return typer.Exit(1)
