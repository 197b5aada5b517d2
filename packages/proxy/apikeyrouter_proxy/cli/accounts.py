"""`apikeyrouter accounts …`: whose keys share which limits, and what is left of them."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from apikeyrouter_proxy.cli.inputs import CountOption
from apikeyrouter_proxy.cli.managing import Report, Work, managed
from apikeyrouter_proxy.cli.reach.management import Management, path_of
from apikeyrouter_proxy.cli.tables import Column, facts, moment, of, plain, table

accounts = typer.Typer(
    no_args_is_help=True, help="Look at accounts: whose keys share which limits."
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


def _shown(account: Any) -> Iterator[str]:
    yield from facts(_SHOWN, account)
    yield ""
    yield from table(_WINDOWS, account["windows"])


def _limit(window: Mapping[str, Any]) -> str:
    capacity = window["capacity"]
    amount = "any number of" if capacity is None else f"{capacity:,.15g}"
    period_s = window["period_s"]
    return f"{amount} {plain(window['dimension'])}" + (f" / {period_s:g} s" if period_s else "")
