"""`apikeyrouter clients …`: who may call, with a token of its own that is shown once."""

from typing import Annotated, Any

import typer

from apikeyrouter_proxy.cli.inputs import (
    CountOption,
    LimitsOption,
    ModelsOption,
    PriorityOption,
    TagsOption,
    WeightOption,
    settings_of,
)
from apikeyrouter_proxy.cli.managing import Report, Work, managed
from apikeyrouter_proxy.cli.reach.management import Management, path_of
from apikeyrouter_proxy.cli.tables import Column, facts, moment, of, plain, table

clients = typer.Typer(no_args_is_help=True, help="Work on clients: who may call the service.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The client's name.")]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", help="Its tokens end then, such as 2027-01-31T00:00Z.")
]

_LISTED: tuple[Column, ...] = (
    ("NAME", of("name")), ("SOURCE", of("source")), ("TOKENS", of("token_hints")),
    ("MODELS", of("models")), ("LIMITS", of("limits")), ("WEIGHT", of("weight")),
    ("PRIORITY", of("priority")), ("TAGS", of("tags")), ("EXPIRES", moment("expires_at")),
)  # fmt: skip
_SHOWN: tuple[Column, ...] = (
    *((heading.lower(), cell) for heading, cell in _LISTED), ("created", moment("created_at")),
)  # fmt: skip


@managed(clients, "list")
def list_clients(
    tag: Annotated[str | None, typer.Option("--tag", help="NAME, or NAME:VALUE.")] = None,
    first: CountOption = None,
) -> Work:
    """List clients by name, those of the configuration file too."""

    async def work(management: Management) -> Report:
        page = await management.pages("/clients", first, tag=tag)
        return Report(page, table(_LISTED, page["items"]))

    return work


@managed(clients, "show", "get")
def show_client(name: Name) -> Work:
    """Show one client; never its token."""

    async def work(management: Management) -> Report:
        client = await management.get(path_of("clients", name))
        return Report(client, facts(_SHOWN, client))

    return work


@managed(clients, "add", may_create=True)
def add_client(
    name: Name,
    models: ModelsOption = None,
    tags: TagsOption = None,
    limits: LimitsOption = None,
    weight: WeightOption = None,
    priority: PriorityOption = None,
    expires: ExpiresOption = None,
) -> Work:
    """Add a client. Its token is printed, now and never again."""
    wanted: dict[str, object] = {
        "name": name,
        **settings_of(models=models, tags=tags, limits=limits, weight=weight, priority=priority),
    }
    if expires is not None:
        wanted["expires_at"] = expires

    async def work(management: Management) -> Report:
        return _issued(name, "added", await management.send("POST", "/clients", wanted))

    return work


@managed(clients, "set", "patch")
def set_client(
    name: Name,
    models: ModelsOption = None,
    all_models: Annotated[bool, typer.Option("--all-models", help="Admit every model.")] = False,
    tags: TagsOption = None,
    limits: LimitsOption = None,
    weight: WeightOption = None,
    priority: PriorityOption = None,
    expires: ExpiresOption = None,
    never_expires: Annotated[bool, typer.Option("--never-expires")] = False,
) -> Work:
    """Change a client; its tokens stay. What is said takes the place of what was said before."""
    changes = settings_of(models=models, tags=tags, limits=limits, weight=weight, priority=priority)
    if all_models:
        changes["models"] = None
    if expires is not None or never_expires:
        changes["expires_at"] = expires
    if not changes:
        raise typer.BadParameter("say what is to be changed, such as --limit or --model")

    async def work(management: Management) -> Report:
        client = await management.send("PATCH", path_of("clients", name), changes)
        return Report(client, [f"client {plain(name)} changed"])

    return work


@managed(clients, "rotate")
def rotate_client(
    name: Name,
    overlap_s: Annotated[
        float, typer.Option("--overlap", min=0, help="Seconds that the token before stays good.")
    ] = 0.0,
) -> Work:
    """Give a client another token, which is printed, now and never again."""

    async def work(management: Management) -> Report:
        path = path_of("clients", name, "rotate")
        return _issued(
            name, "has another token", await management.send("POST", path, {"overlap_s": overlap_s})
        )

    return work


@managed(clients, "revoke", "delete")
def revoke_client(name: Name) -> Work:
    """Let a client call no more; its name is free then."""

    async def work(management: Management) -> Report:
        await management.send("DELETE", path_of("clients", name))
        return Report({"name": name, "revoked": True}, [f"client {plain(name)} revoked"])

    return work


def _issued(name: str, what: str, answer: Any) -> Report:
    note = f"client {plain(name)} {what}; its token is shown here and never again"
    # Alone on its line, so that it can be piped to where it is kept.
    return Report(answer, [plain(answer["token"])], note=note)
