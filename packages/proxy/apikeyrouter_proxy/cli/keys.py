"""`apikeyrouter keys …`: work on the keys that are stored."""

import asyncio
import json
import os
from typing import Annotated

import typer

from apikeyrouter import ApiKeyRouter, ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import EncryptionError, StateStoreError
from apikeyrouter_proxy.cli.options import ConfigOption, stop
from apikeyrouter_proxy.composition import read_config
from apikeyrouter_proxy.storage import store_of, with_encryption_key

keys = typer.Typer(no_args_is_help=True, help="Work on stored keys.")


@keys.callback()
def _group() -> None:
    """Make a group of what may be a single command."""


@keys.command()
def rewrap(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Bring all stored secrets under the first key of APIKEYROUTER_ENCRYPTION_KEY.

    A service that runs over the same store may go on, if it was started with the same keys.
    """
    try:
        facts = read_config(config, os.environ)
        moved = asyncio.run(_rewrap(facts, RouterSettings()))
    except ConfigurationError as error:
        raise stop(error) from None
    typer.echo(json.dumps({"moved": moved}) if as_json else f"{moved} secrets moved")


async def _rewrap(facts: RouterConfig, settings: RouterSettings) -> int:
    settings = with_encryption_key(facts, settings)
    try:
        async with ApiKeyRouter(store_of(facts, settings), config=settings) as router:
            await router.hydrate()
            return await router.key_manager.rewrap_keys()
    except (StateStoreError, EncryptionError) as error:
        raise ConfigurationError(f"store: {error}") from error
