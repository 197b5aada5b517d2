"""What an administrator is told of accounts: whose keys they are, and what is allowed them.

Answers are read without trusting them: what is missing or of another type is not told.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from apikeyrouter.dialects.json_values import decoded, objects_in, text_in
from apikeyrouter.domain.limits.observation import ObservedLimit
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter

#: Limits by the group of models that shares them, as `HttpAdapter.limit_group` names it.
LimitsByGroup = Mapping[str, tuple[ObservedLimit, ...]]
_LONGEST_REASON = 200
_MOST_PAGES = 100
#: What stands in the place of a secret's middle.
_LEFT_OUT = re.compile(r"\.{2,}|\*{2,}|\u2026")
#: With fewer characters shown, another secret may look the same.
_FEWEST_SHOWN = 6


class AdminApiError(Exception):
    """Why nothing was told."""


@dataclass(slots=True, frozen=True)
class AccountReport:
    """One account, its keys and its limits.

    Attributes:
        account: Its name, as answers name it where they do.
        key_ids: Of our keys those that are its.
    """

    account: str
    key_ids: tuple[str, ...]
    limits: LimitsByGroup = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class AdminReport:
    """All that was told at once.

    Attributes:
        groups: Model -> the group whose limits it shares with others.
    """

    accounts: tuple[AccountReport, ...]
    groups: Mapping[str, str] = field(default_factory=dict)


#: Asks a provider, with an administrator's secret and our own keys' secrets by id.
AdminApi = Callable[[HttpAdapter, str, Mapping[str, str]], Awaitable[AdminReport]]


async def told(adapter: HttpAdapter, path: str, secret: str) -> dict[str, Any]:
    """Return the object that is at *path*.

    Raises:
        AdminApiError: It was refused, or no object came.
    """
    answer = await adapter.ask(path, secret)
    where = path.partition("?")[0]
    if answer is None:
        raise AdminApiError(f"{where} could not be reached")
    response, body = answer
    found = decoded(body)
    if response.status != 200 or not found:
        error = found.get("error")
        reason = text_in(error.get("message") if isinstance(error, dict) else error)
        why = f": {reason[:_LONGEST_REASON]}" if reason else ""
        raise AdminApiError(f"{where} was answered with status {response.status}{why}")
    return found


async def items(
    adapter: HttpAdapter, path: str, secret: str, *, cursor: str
) -> AsyncIterator[dict[str, Any]]:
    """Yield the objects of a list, page by page.

    Args:
        cursor: The parameter by which a page names the last object of the one before.

    Raises:
        AdminApiError: A page was refused, or is none.
    """
    after = ""
    for _ in range(_MOST_PAGES):
        joint = "&" if "?" in path else "?"
        page = await told(
            adapter, f"{path}{joint}{cursor}={quote(after, safe='')}" if after else path, secret
        )
        for item in objects_in(page.get("data")):
            yield item
        following = text_in(page.get("next_page" if cursor == "page" else "last_id"))
        if not following or following == after or page.get("has_more") is False:
            return
        after = following


def keys_like(hint: str, secrets: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ids of the secrets that *hint* shows the beginning and the end of."""
    head, *rest = _LEFT_OUT.split(hint.strip())
    tail = rest[-1] if rest else ""
    if not rest or len(head) + len(tail) < _FEWEST_SHOWN or not tail:
        return ()
    return tuple(
        key_id
        for key_id, secret in secrets.items()
        if len(secret) >= len(head) + len(tail)
        and secret.startswith(head)
        and secret.endswith(tail)
    )
