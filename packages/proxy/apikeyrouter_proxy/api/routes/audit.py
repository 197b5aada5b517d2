"""`/audit`: who changed what."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts


class AuditRow(BaseModel):
    """One change.

    Attributes:
        peer: The address that it came from.
        before, after: Empty where there was or is nothing.
        previous: The hash of the row before.
    """

    number: int
    at: datetime
    actor: str
    peer: str
    request_id: str
    action: str = Field(examples=["key.rotate"])
    target: str
    before: dict[str, Any]
    after: dict[str, Any]
    previous: str
    hash: str


class AuditPage(Page):
    """One page of changes, newest first."""

    items: list[AuditRow]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of it."""
    router = APIRouter()
    router.add_api_route("/audit", Audit(parts).rows, response_model=AuditPage, tags=["audit"])
    return router


class Audit:
    """Answers what is asked of the audit log."""

    def __init__(self, parts: ManagementParts) -> None:
        self._audit = parts.audit

    async def rows(
        self,
        limit: Limit = 100,
        cursor: Cursor = None,
        action: str | None = None,
        target: str | None = None,
    ) -> AuditPage:
        """List changes, newest first."""
        rows = [
            row
            for row in await self._audit.rows()
            if (action is None or row["action"] == action)
            and (target is None or row["target"] == target)
        ]
        found, after = page_of(rows, _place_of, limit, cursor)
        return AuditPage(items=[AuditRow(**row) for row in found], next_cursor=after)


def _place_of(row: Mapping[str, Any]) -> tuple[int, str]:
    return -int(row["number"]), ""
