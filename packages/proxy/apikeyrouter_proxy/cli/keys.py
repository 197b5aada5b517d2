"""`apikeyrouter keys …`: work on the keys of the running service, or on those that are stored."""

import asyncio
import json
import os
from typing import Annotated, Any

import typer

from apikeyrouter import ApiKeyRouter, ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import EncryptionError, KeyState, StateStoreError
from apikeyrouter_proxy.cli.inputs import (
    CountOption,
    LimitsOption,
    ModelsOption,
    PriorityOption,
    SecretEnvOption,
    SecretFileOption,
    StdinOrFile,
    TagsOption,
    WeightOption,
    bytes_of,
    secret_from,
    settings_of,
)
from apikeyrouter_proxy.cli.managing import Report, Work, managed
from apikeyrouter_proxy.cli.options import ConfigOption, stop
from apikeyrouter_proxy.cli.reach.management import Management, UnreachableError, path_of
from apikeyrouter_proxy.cli.tables import Column, facts, moment, of, plain, table
from apikeyrouter_proxy.composition import read_config
from apikeyrouter_proxy.storage import store_of, with_encryption_key

keys = typer.Typer(no_args_is_help=True, help="Work on keys: of the service, or as stored.")
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id.")]

_LISTED: tuple[Column, ...] = (
    ("ID", of("id")), ("PROVIDER", of("provider")), ("STATE", of("state")),
    ("SECRET", of("secret_hint")), ("REQUESTS", of("requests")), ("FAILURES", of("failures")),
    ("WEIGHT", of("weight")), ("PRIORITY", of("priority")), ("TAGS", of("tags")),
)  # fmt: skip
_SHOWN: tuple[Column, ...] = (
    ("id", of("id")), ("provider", of("provider")), ("state", of("state")),
    ("since", moment("state_since")), ("cooldown until", moment("cooldown_until")),
    ("secret", of("secret_hint")), ("scope", of("scope")), ("models", of("models")),
    ("weight", of("weight")), ("priority", of("priority")), ("tags", of("tags")),
    ("limits", of("limits")), ("requests", of("requests")), ("failures", of("failures")),
    ("created", moment("created_at")), ("last used", moment("last_used_at")),
)  # fmt: skip


@managed(keys, "list")
def list_keys(
    provider: Annotated[str | None, typer.Option("--provider")] = None,
    state: Annotated[KeyState | None, typer.Option("--state")] = None,
    tag: Annotated[str | None, typer.Option("--tag", help="NAME, or NAME:VALUE.")] = None,
    first: CountOption = None,
) -> Work:
    """List keys, oldest first."""

    async def work(management: Management) -> Report:
        page = await management.pages("/keys", first, provider=provider, state=state, tag=tag)
        return Report(page, table(_LISTED, page["items"]))

    return work


@managed(keys, "show", "get")
def show_key(key_id: KeyId) -> Work:
    """Show one key; never its secret."""

    async def work(management: Management) -> Report:
        return _of_key(await management.get(path_of("keys", key_id)))

    return work


@managed(keys, "add", may_create=True)
def add_key(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Such as openai.")],
    key_id: Annotated[str | None, typer.Option("--id", help="Made up if not said.")] = None,
    scope: Annotated[str | None, typer.Option("--scope", help="Whose keys share limits.")] = None,
    models: ModelsOption = None,
    tags: TagsOption = None,
    limits: LimitsOption = None,
    weight: WeightOption = None,
    priority: PriorityOption = None,
    is_hard: Annotated[
        bool, typer.Option("--hard", help="Limits are caps that hold through a crash.")
    ] = False,
    secret_env: SecretEnvOption = None,
    secret_file: SecretFileOption = None,
) -> Work:
    """Add a key. Its secret is asked for, or read from standard input."""
    said: dict[str, object] = {"provider": provider, "id": key_id, "scope": scope}
    wanted = {name: value for name, value in said.items() if value is not None}
    wanted |= settings_of(models=models, tags=tags, limits=limits, weight=weight, priority=priority)
    if is_hard:
        wanted["hard"] = True
    wanted["secret"] = secret_from(secret_env, secret_file)

    async def work(management: Management) -> Report:
        return _done(await management.send("POST", "/keys", wanted), "added")

    return work


@managed(keys, "import", may_create=True)
def import_keys(
    file: StdinOrFile,
    is_csv: Annotated[
        bool, typer.Option("--csv", help="It is CSV, whatever the file's name ends with.")
    ] = False,
) -> Work:
    """Add many keys from JSON or CSV: all that are new, or none if one is wrong."""
    body = bytes_of(file)
    kind = "text/csv" if is_csv or file.lower().endswith(".csv") else "application/json"

    async def work(management: Management) -> Report:
        done = await management.send_file("/keys/import", body, kind)
        lines = [
            f"key {plain(key['id'])} of {plain(key['provider'])} added" for key in done["created"]
        ]
        lines += [
            f"entry {one['index'] + 1} skipped: {plain(one['message'])}" for one in done["skipped"]
        ]
        sums = f"{len(done['created'])} added, {len(done['skipped'])} skipped"
        return Report(done, [*lines, sums])

    return work


@managed(keys, "set", "patch")
def set_key(
    key_id: KeyId,
    state: Annotated[
        KeyState | None, typer.Option("--state", help="disabled, or available again.")
    ] = None,
    models: ModelsOption = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="Admit every model.")] = False,
    tags: TagsOption = None,
    limits: LimitsOption = None,
    weight: WeightOption = None,
    priority: PriorityOption = None,
) -> Work:
    """Change a key. Tags and models take the place of those before; limits go beside them."""
    changes = settings_of(models=models, tags=tags, limits=limits, weight=weight, priority=priority)
    if all_models:
        changes["models"] = None
    if state is not None:
        changes["state"] = state.value
    if not changes:
        raise typer.BadParameter("say what is to be changed, such as --state or --tag")

    async def work(management: Management) -> Report:
        return _done(await management.send("PATCH", path_of("keys", key_id), changes), "changed")

    return work


@managed(keys, "rotate")
def rotate_key(
    key_id: KeyId, secret_env: SecretEnvOption = None, secret_file: SecretFileOption = None
) -> Work:
    """Replace a key's secret, which is asked for, or read from standard input."""
    secret = {"secret": secret_from(secret_env, secret_file)}

    async def work(management: Management) -> Report:
        return _done(
            await management.send("POST", path_of("keys", key_id, "rotate"), secret), "rotated"
        )

    return work


@managed(keys, "revoke")
def revoke_key(
    key_id: KeyId,
    reason: Annotated[str, typer.Option("--reason")] = "revoked from the command line",
) -> Work:
    """Take a key out of use; it stays listed, as disabled."""

    async def work(management: Management) -> Report:
        told = {"reason": reason}
        return _done(
            await management.send("POST", path_of("keys", key_id, "revoke"), told), "revoked"
        )

    return work


@managed(keys, "delete")
def delete_key(key_id: KeyId) -> Work:
    """Do to a key what DELETE of the management API does: revoke it without a reason."""

    async def work(management: Management) -> Report:
        await management.send("DELETE", path_of("keys", key_id))
        return Report({"id": key_id, "deleted": True}, [f"key {plain(key_id)} deleted"])

    return work


@managed(keys, "test")
def test_key(key_id: KeyId) -> Work:
    """Ask the provider whether it accepts a key; ends with 1 if not, with 3 if it does not tell."""

    async def work(management: Management) -> Report:
        told = await management.send("POST", path_of("keys", key_id, "test"))
        status = {True: 0, False: 1}.get(told["ok"], UnreachableError.status)
        return Report(told, [f"key {plain(key_id)}: {plain(told['detail'])}"], status)

    return work


@keys.command()
def rewrap(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Bring all stored secrets under the first key of APIKEYROUTER_ENCRYPTION_KEY.

    A service that runs over the same store may go on, if it was started with the same keys.
    """
    try:
        facts_ = read_config(config, os.environ)
        moved = asyncio.run(_rewrap(facts_, RouterSettings()))
    except ConfigurationError as error:
        raise stop(error) from None
    typer.echo(json.dumps({"moved": moved}) if as_json else f"{moved} secrets moved")


async def _rewrap(facts_: RouterConfig, settings: RouterSettings) -> int:
    settings = with_encryption_key(facts_, settings)
    try:
        async with ApiKeyRouter(store_of(facts_, settings), config=settings) as router:
            await router.hydrate()
            return await router.key_manager.rewrap_keys()
    except (StateStoreError, EncryptionError) as error:
        raise ConfigurationError(f"store: {error}") from error


def _done(key: Any, what: str) -> Report:
    return Report(
        key, [f"key {plain(key['id'])} of {plain(key['provider'])} {what}: {key['state']}"]
    )


def _of_key(key: Any) -> Report:
    return Report(key, facts(_SHOWN, key))
