"""`/usage`: what requests used, by hour or day and by client, model, provider or key."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from apikeyrouter.service import UsageSum
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import ProblemError

#: How the API calls what usage is summed by -> how stores do.
_GROUPS: dict[str, Any] = {
    "client": "client", "model": "model", "provider": "provider_id", "key": "key_id",
}  # fmt: skip
_USUALLY = {"hour": timedelta(days=1), "day": timedelta(days=30)}
_MOST = {"hour": timedelta(days=93), "day": timedelta(days=800)}
_MICRO = 1e-6

Filter = Annotated[str | None, Query(max_length=200)]


class UsageRecord(BaseModel):
    """What the requests of one group sum up to within one hour or day of UTC.

    Attributes:
        client, model, provider, key: Null where it was not grouped by.
        failed, cancelled: Of the requests, those that were not answered, and those that were left.
        cost_usd: Of those requests whose provider told what they cost; null where none did.
        costed: How many those are.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "start": "2026-11-25T00:00:00Z", "client": "team", "model": None,
                    "provider": None, "key": None, "requests": 12, "failed": 1, "cancelled": 0,
                    "input_tokens": 2400, "output_tokens": 900, "cached_tokens": 0,
                    "cost_usd": None, "costed": 0,
                }
            ]
        }
    )  # fmt: skip

    start: datetime
    client: str | None = None
    model: str | None = None
    provider: str | None = None
    key: str | None = None
    requests: int
    failed: int
    cancelled: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: float | None
    costed: int


class UsagePage(Page):
    """One page of sums, oldest first."""

    items: list[UsageRecord]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of usage."""
    router = APIRouter(tags=["usage"])
    router.add_api_route("/usage", Usage(parts).sums, response_model=UsagePage)
    return router


class Usage:
    """Answers what is asked of usage."""

    def __init__(self, parts: ManagementParts) -> None:
        self._store = parts.router.state_store

    async def sums(
        self,
        limit: Limit = 100,
        cursor: Cursor = None,
        group_by: Annotated[
            str, Query(max_length=100, description="Of client, model, provider, key; by commas.")
        ] = "",
        period: Literal["hour", "day"] = "day",
        since: datetime | None = None,
        until: datetime | None = None,
        client: Filter = None,
        model: Filter = None,
        provider: Filter = None,
        key: Filter = None,
    ) -> UsagePage:
        """Sum usage up, oldest first; requests are counted a moment after they have ended.

        Hours count whole, days are those of UTC. Without `since` the last day, or the last 30
        days, are told.
        """
        groups = _groups_in(group_by)
        end = _zoned(until) if until is not None else datetime.now(UTC)
        begin = _zoned(since) if since is not None else _earlier(end, _USUALLY[period])
        if end - begin > _MOST[period]:
            raise ProblemError.of_field(
                "since", f"is too early: {period}s are told for {_MOST[period].days} days at most"
            )
        wanted = {"client": client, "model": model, "provider": provider, "key": key}
        found = await self._store.usage_sums(
            begin, end, period, [_GROUPS[name] for name in groups],
            only={_GROUPS[name]: value for name, value in wanted.items() if value is not None},
        )  # fmt: skip
        rows, after = page_of(found, _place_of, limit, cursor)
        return UsagePage(items=[_record(row, groups) for row in rows], next_cursor=after)


def _groups_in(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in _GROUPS:
            raise ProblemError.of_field(
                "group_by", f"'{name[:40]}' is none of {', '.join(_GROUPS)}"
            )
    return names


def _zoned(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _earlier(moment: datetime, by: timedelta) -> datetime:
    try:
        return moment - by
    except OverflowError:
        return moment


def _place_of(row: UsageSum) -> tuple[int, str]:
    return round(row.start.timestamp()), "\x1f".join(row.group)


def _record(row: UsageSum, groups: list[str]) -> UsageRecord:
    counts = row.counts
    return UsageRecord(
        start=row.start, requests=counts.requests, failed=counts.failed,
        cancelled=counts.cancelled, input_tokens=counts.input_tokens,
        output_tokens=counts.output_tokens, cached_tokens=counts.cached_tokens,
        cost_usd=counts.cost_microusd * _MICRO if counts.costed else None, costed=counts.costed,
        **dict(zip(groups, row.group, strict=True)),
    )  # fmt: skip
