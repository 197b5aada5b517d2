"""`apikeyrouter accounts …`: whose keys share which limits, what is left, and what is put right."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from apikeyrouter_proxy.cli.inputs import CountOption, LimitsOption, pairs
from apikeyrouter_proxy.cli.managing import Report, Work, managed
from apikeyrouter_proxy.cli.reach.management import Management, path_of
from apikeyrouter_proxy.cli.tables import Column, facts, moment, of, plain, table

accounts = typer.Typer(
    no_args_is_help=True,
    help="Look at accounts, whose keys share which limits, and put them right.",
)
AccountId = Annotated[str, typer.Argument(metavar="ID", help="As `accounts list` has it.")]

_LISTED: tuple[Column, ...] = (
    ("ID", of("id")), ("KEYS", of("keys")), ("KNOWN BY", of("basis")),
    ("LIMITS", lambda row: [_limit(window) for window in row["windows"]] or "none known"),
    ("WAITS UNTIL", moment("cooldown_until")),
)  # fmt: skip
_SHOWN: tuple[Column, ...] = (
    ("id", of("id")), ("provider", of("provider")), ("models", of("model_group")),
    ("keys", of("keys")), ("known by", of("basis")), ("confidence", of("confidence")),
    ("waits until", moment("cooldown_until")), ("in flight", of("in_flight")),
    ("drift", of("drift")),
)  # fmt: skip
_WINDOWS: tuple[Column, ...] = (
    ("LIMIT", lambda row: _limit(row)), ("USED", of("used")), ("HELD", of("held")),
    ("LEFT", of("left")), ("RESETS", moment("resets_at")), ("TOLD BY", of("source")),
    ("CONFIDENCE", of("confidence")), ("COUNTED AS", of("algorithm")),
)  # fmt: skip


@managed(accounts, "list")
def list_accounts(
    provider: Annotated[str | None, typer.Option("--provider")] = None,
    first: CountOption = None,
) -> Work:
    """List accounts that requests have asked for, and what is known of their limits."""

    async def work(management: Management) -> Report:
        page = await management.pages("/accounts", first, provider=provider)
        return Report(page, table(_LISTED, page["items"]))

    return work


@managed(accounts, "show", "get")
def show_account(account_id: AccountId) -> Work:
    """Show one account: each of its limits, what is left of it, and who told it."""

    async def work(management: Management) -> Report:
        account = await management.get(path_of("accounts", account_id))
        return Report(account, _shown(account))

    return work


@managed(accounts, "set", "patch")
def set_account(
    account_id: AccountId,
    limits: LimitsOption = None,
    learned: Annotated[
        list[str] | None,
        typer.Option("--learned", help="Limit that is to be learned again; may be repeated."),
    ] = None,
) -> Work:
    """Overrule limits of an account: they hold whatever its provider tells."""
    wanted: dict[str, str | None] = {**pairs(limits or (), "--limit")}
    if both := sorted(wanted.keys() & set(learned or ())):
        raise typer.BadParameter(f"{both[0]}: give it one of --limit and --learned")
    wanted |= dict.fromkeys(learned or ())
    if not wanted:
        raise typer.BadParameter("say which limits, by --limit rpm=60 or --learned rpm")

    async def work(management: Management) -> Report:
        changes = {"limits": wanted}
        account = await management.send("PATCH", path_of("accounts", account_id), changes)
        return Report(account, _shown(account))

    return work


@managed(accounts, "merge")
def merge_accounts(
    account_id: AccountId,
    others: Annotated[list[str], typer.Argument(metavar="OTHER...", help="Ids of others.")],
) -> Work:
    """Let the keys of other accounts draw on this one, whatever was learned of them."""

    async def work(management: Management) -> Report:
        path = path_of("accounts", account_id, "merge")
        account = await management.send("POST", path, {"accounts": others})
        return Report(account, [_members(account)])

    return work


@managed(accounts, "split")
def split_account(
    account_id: AccountId,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Ids of keys of it.")],
) -> Work:
    """Give keys an account of their own each, which none is taken for any more."""

    async def work(management: Management) -> Report:
        path = path_of("accounts", account_id, "split")
        page = await management.send("POST", path, {"keys": keys})
        return Report(page, map(_members, page["items"]))

    return work


@managed(accounts, "topped-up")
def top_up_account(account_id: AccountId) -> Work:
    """Say that there is money on an account again: what waits for that waits no longer."""

    async def work(management: Management) -> Report:
        account = await management.send("POST", path_of("accounts", account_id, "topped-up"))
        return Report(account, [f"account {plain(account['id'])} is called again"])

    return work


def _members(account: Any) -> str:
    return f"account {plain(account['id'])} has the keys {plain(account['keys'])}"


def _shown(account: Any) -> Iterator[str]:
    yield from facts(_SHOWN, account)
    yield ""
    yield from table(_WINDOWS, account["windows"])


def _limit(window: Mapping[str, Any]) -> str:
    capacity = window["capacity"]
    amount = "any number of" if capacity is None else f"{capacity:,.15g}"
    period_s = window["period_s"]
    return f"{amount} {plain(window['dimension'])}" + (f" / {period_s:g} s" if period_s else "")
