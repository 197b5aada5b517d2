"""`/requests`: what became of each request, and why it went where it went."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from apikeyrouter.service import StateQuery, cursor_after, instant, read_cursor
from apikeyrouter.service import StateStoreError as StoreError
from apikeyrouter_proxy.api.account_views import finite
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import ProblemError

#: Records of the store that are looked through at a time.
_LOOKED_AT = 200


class Tokens(BaseModel):
    """Tokens of one request; null where its provider told none.

    Attributes:
        cached, cache_written: Parts of the input: read from a cache, written to one.
        reasoning: A part of the output.
        tier: The service tier that served it.
    """

    asked: float = Field(description="What was reserved at first, by estimate.")
    input: int | None
    output: int | None
    cached: int | None = None
    cache_written: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    tier: str | None = None
    exact: bool = Field(True, description="False where it ended before its provider told all.")


class RequestRecord(BaseModel):
    """One request.

    Attributes:
        endpoint: What was asked for; null in records of earlier versions.
        outcome: `ok`, `cancelled`, `refused` or the class of the failure; null while it runs.
        status: 200 if it was answered; null where only its outcome is kept.
        waited_ms: In the queue.
        first_token_ms: From its arrival until its last provider let it in.
        attempts: Each key that was tried, and what became of it.
        cost_usd: What its provider says that it cost; null where it does not say.
        estimate_usd: Null: prices are not known.
        decision: Why: the objective, and in sentences what was chosen over what.
    """

    request_id: str
    at: datetime
    client: str
    model: str
    endpoint: str | None
    outcome: str | None
    status: int | None
    waited_ms: float
    first_token_ms: float | None
    total_ms: float | None
    attempts: list[dict[str, Any]]
    tokens: Tokens
    cost_usd: float | None = None
    estimate_usd: float | None = None
    decision: dict[str, Any]


class RequestPage(Page):
    """One page of requests that have ended, newest first."""

    items: list[RequestRecord]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of requests."""
    requests = Requests(parts)
    router = APIRouter(prefix="/requests", tags=["requests"])
    router.add_api_route("", requests.list_requests, response_model=RequestPage)
    # Clients name their requests, and may put slashes into names.
    router.add_api_route("/{request_id:path}", requests.get_request, response_model=RequestRecord)
    return router


class Requests:
    """Answers what is asked of requests."""

    def __init__(self, parts: ManagementParts) -> None:
        self._router = parts.router
        self._store = parts.router.state_store

    async def list_requests(
        self,
        limit: Limit = 100,
        cursor: Cursor = None,
        key: Annotated[str | None, Query(description="Id of the key that was used last.")] = None,
        provider: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> RequestPage:
        """List requests that have ended, newest first; they are stored a moment later."""
        if cursor is not None:
            try:
                read_cursor(cursor)
            except StoreError as error:
                raise ProblemError.of_field("cursor", str(error)) from None
        query = StateQuery(
            "RoutingDecision", key_id=key, provider_id=provider, limit=limit + 1, cursor=cursor,
            timestamp_from=_zoned(since), timestamp_to=_zoned(until),
        )  # fmt: skip
        found = await self._store.query_state(query)
        after = cursor_after(found[limit - 1]) if len(found) > limit else None
        items = [record_of(one.evaluation_results, one.explanation) for one in found[:limit]]
        return RequestPage(items=items, next_cursor=after)

    async def get_request(self, request_id: str) -> RequestRecord:
        """Show all that is kept of one request, while it runs too."""
        trace = self._router.get_request_trace(request_id)
        if trace is not None:
            return record_of(trace, trace["explanation"])
        cursor = None
        while True:
            query = StateQuery("RoutingDecision", limit=_LOOKED_AT, cursor=cursor)
            found = await self._store.query_state(query)
            for one in found:
                if one.request_id == request_id:
                    return record_of(one.evaluation_results, one.explanation)
            if len(found) < _LOOKED_AT:
                raise ProblemError(404, f"nothing is kept of request '{request_id}'")
            cursor = cursor_after(found[-1])


def record_of(trace: Mapping[str, Any], explanation: str) -> RequestRecord:
    """Return a request as it is shown."""
    trace = finite(dict(trace))
    arrived_at, ended_at = float(trace["arrived_at"]), trace["ended_at"]
    attempts = list(trace["attempts"])
    answered_at = attempts[-1].get("answered_at") if attempts else None
    outcome = trace["outcome"] or None
    usage: Mapping[str, Any] = trace.get("usage") or {}
    return RequestRecord(
        request_id=trace["request_id"], at=instant(arrived_at), client=trace["client"],
        model=trace["model"], endpoint=trace.get("endpoint"), outcome=outcome,
        status=200 if outcome == "ok" else None, waited_ms=trace["queued_s"] * 1000.0,
        first_token_ms=_ms(arrived_at, answered_at), total_ms=_ms(arrived_at, ended_at),
        attempts=attempts,
        tokens=_tokens_of(trace, usage), cost_usd=usage.get("cost_usd"),
        decision={
            "objective": trace["objective"], "explanation": explanation,
            "refusal": trace["refusal"], "excluded": trace["excluded"],
            "attempts_dropped": trace["attempts_dropped"],
        },
    )  # fmt: skip


def _tokens_of(trace: Mapping[str, Any], usage: Mapping[str, Any]) -> Tokens:
    parts = {
        name: usage.get(f"{name}_tokens")
        for name in ("cached", "cache_written", "reasoning", "audio_input", "audio_output")
    }
    return Tokens(
        asked=trace["tokens_asked"], input=trace["input_tokens"], output=trace["output_tokens"],
        **parts, tier=usage.get("tier"), exact=usage.get("exact", True),
    )  # fmt: skip


def _ms(start: float, end: float | None) -> float | None:
    return round(max(0.0, end - start) * 1000.0, 3) if end is not None else None


def _zoned(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
