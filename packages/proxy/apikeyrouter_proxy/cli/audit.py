"""`apikeyrouter audit …`: who changed what, and whether that is still what was written."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from apikeyrouter import ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.environment import merge_dotenv
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import StateStoreError
from apikeyrouter_proxy.api.audit import Verdict, rows_of, verify
from apikeyrouter_proxy.cli.inputs import CountOption
from apikeyrouter_proxy.cli.managing import (
    JsonOption,
    KeyFileOption,
    Report,
    UrlOption,
    Work,
    managed,
    run,
)
from apikeyrouter_proxy.cli.options import ConfigOption, stop
from apikeyrouter_proxy.cli.reach.choice import Place
from apikeyrouter_proxy.cli.reach.management import Management
from apikeyrouter_proxy.cli.tables import Column, moment, of, table
from apikeyrouter_proxy.composition import read_config
from apikeyrouter_proxy.storage import store_of

audit = typer.Typer(no_args_is_help=True, help="Look at the audit log.")

_LISTED: tuple[Column, ...] = (
    ("NUMBER", of("number")), ("AT", moment("at")), ("ACTOR", of("actor")), ("FROM", of("peer")),
    ("ACTION", of("action")), ("TARGET", of("target")),
)  # fmt: skip


@managed(audit, "list")
def list_rows(
    action: Annotated[str | None, typer.Option("--action", help="Such as key.rotate.")] = None,
    target: Annotated[str | None, typer.Option("--target", help="Id of what was changed.")] = None,
    first: CountOption = None,
) -> Work:
    """List changes, newest first; --json has what was before and after."""

    async def work(management: Management) -> Report:
        page = await management.pages("/audit", first, action=action, target=target)
        return Report(page, table(_LISTED, page["items"]))

    return work


@audit.command("verify")
def verify_chain(
    config: ConfigOption = None,
    url: UrlOption = None,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that no row of the audit log was changed, left out or put between.

    Reads the store itself, even while a service runs; with --url what that service tells. Ends
    with 1 if a row is wrong. Keep the last hash elsewhere to notice that the end was cut off.
    """
    url = url or merge_dotenv(os.environ).get("APIKEYROUTER_URL")
    if url:
        run(lambda: _verify_told, Place(url=url, key_file=key_file), as_json=as_json)
        return
    try:
        verdict = asyncio.run(_verdict(read_config(config, os.environ), RouterSettings()))
    except ConfigurationError as error:
        raise stop(error) from None
    report = _report(verdict)
    for line in [json.dumps(report.data)] if as_json else report.lines:
        typer.echo(line)
    if report.status:
        raise typer.Exit(report.status)


async def _verify_told(management: Management) -> Report:
    page = await management.pages("/audit")
    return _report(verify(map(_as_written, reversed(page["items"]))))


def _as_written(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row of an answer as it is stored, where instants are spelled otherwise."""
    return {**row, "at": datetime.fromisoformat(row["at"]).isoformat()}


def _report(verdict: Verdict) -> Report:
    state = "is broken" if verdict.problems else "is whole"
    sums = f"the audit log {state}: {verdict.rows} rows, last hash {verdict.last_hash}"
    return Report(asdict(verdict), [*verdict.problems, sums], 1 if verdict.problems else 0)


async def _verdict(facts: RouterConfig, settings: RouterSettings) -> Verdict:
    store = store_of(facts, settings)
    try:
        await store.open()
        return verify(await rows_of(store))
    except StateStoreError as error:
        raise ConfigurationError(f"store: {error}") from error
    finally:
        await store.close()
