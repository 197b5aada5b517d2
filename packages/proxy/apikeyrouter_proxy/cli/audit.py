"""`apikeyrouter audit …`: look at the audit log that is stored."""

import asyncio
import json
import os
from dataclasses import asdict
from typing import Annotated

import typer

from apikeyrouter import ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import StateStoreError
from apikeyrouter_proxy.api.audit import Verdict, rows_of, verify
from apikeyrouter_proxy.cli.options import ConfigOption, stop
from apikeyrouter_proxy.composition import read_config
from apikeyrouter_proxy.storage import store_of

audit = typer.Typer(no_args_is_help=True, help="Look at the audit log.")


@audit.callback()
def _group() -> None:
    """Make a group of what may be a single command."""


@audit.command("verify")
def verify_chain(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Prove that no row of the audit log was changed, left out or put between.

    Ends with 1 if one was. Keep the last hash elsewhere to notice that the end was cut off.
    """
    try:
        verdict = asyncio.run(_verdict(read_config(config, os.environ), RouterSettings()))
    except ConfigurationError as error:
        raise stop(error) from None
    if as_json:
        typer.echo(json.dumps(asdict(verdict)))
    else:
        for problem in verdict.problems:
            typer.echo(problem)
        state = "is broken" if verdict.problems else "is whole"
        typer.echo(f"the audit log {state}: {verdict.rows} rows, last hash {verdict.last_hash}")
    if verdict.problems:
        raise typer.Exit(1)


async def _verdict(facts: RouterConfig, settings: RouterSettings) -> Verdict:
    store = store_of(facts, settings)
    try:
        await store.open()
        return verify(await rows_of(store))
    except StateStoreError as error:
        raise ConfigurationError(f"store: {error}") from error
    finally:
        await store.close()
