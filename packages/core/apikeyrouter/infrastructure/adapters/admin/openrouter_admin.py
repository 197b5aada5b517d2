"""OpenRouter's page of a key, which each may read for itself: whose it is, and what is free."""

import asyncio
from collections.abc import Mapping
from typing import Any

from apikeyrouter.dialects.json_values import number_in, object_in, text_in
from apikeyrouter.domain.limits.calendars import Calendar
from apikeyrouter.domain.limits.observation import (
    DAY_S,
    Algorithm,
    Dimension,
    ObservedLimit,
    Provenance,
)
from apikeyrouter.infrastructure.adapters.admin.report import (
    AccountReport,
    AdminApiError,
    AdminReport,
    told,
)
from apikeyrouter.infrastructure.adapters.http_adapter import HttpAdapter

_ASKED_AT_ONCE = 4
#: Any model that costs nothing: all of them share limits.
_A_FREE_MODEL = "any/model:free"


async def report(adapter: HttpAdapter, admin: str, secrets: Mapping[str, str]) -> AdminReport:
    """Ask with each of *secrets* of whom it is; the administrator's own is not needed."""
    del admin
    places = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(key_id: str, secret: str) -> AccountReport | AdminApiError:
        async with places:
            try:
                page = await told(adapter, "key", secret)
            except AdminApiError as error:
                return error
            return _account_in(adapter, object_in(page.get("data")), key_id)

    answers = await asyncio.gather(*(ask(*key) for key in secrets.items()))
    accounts = tuple(answer for answer in answers if isinstance(answer, AccountReport))
    if not accounts and answers:
        raise next(answer for answer in answers if isinstance(answer, AdminApiError))
    return AdminReport(accounts)


def _account_in(adapter: HttpAdapter, data: dict[str, Any], key_id: str) -> AccountReport:
    owner = text_in(data.get("organization_id")) or text_in(data.get("creator_user_id"))
    free = object_in(data.get("free_model_daily_requests"))
    limit, left = number_in(free.get("limit")), number_in(free.get("remaining"))
    limits = {}
    group = adapter.limit_group(_A_FREE_MODEL, "chat/completions")
    if group and limit is not None and limit > 0:
        daily = ObservedLimit(
            Dimension.REQUESTS, float(limit), left, None, DAY_S, Algorithm.FIXED,
            Provenance.ADMIN_API, calendar=Calendar.DAY_UTC,
        )  # fmt: skip
        limits[group] = (daily,)
    return AccountReport(owner, (key_id,), limits)
