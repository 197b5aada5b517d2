"""How the router is: `/state`."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from apikeyrouter_proxy.api.account_views import Account, account_of, finite
from apikeyrouter_proxy.api.parts import ManagementParts

StateScope = Literal["keys", "quotas", "routing", "all"]


class State(BaseModel):
    """How the router is; parts that were not asked for are left out."""

    keys: list[dict[str, Any]] | None = None
    quotas: list[Account] | None = None
    routing: dict[str, Any] | None = None


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of it."""
    overview = Overview(parts)
    router = APIRouter()
    add = router.add_api_route
    add("/state", overview.state, response_model=State, response_model_exclude_unset=True,
        tags=["state"])  # fmt: skip
    return router


class Overview:
    """Answers what is asked of the whole; changes nothing."""

    def __init__(self, parts: ManagementParts) -> None:
        self._router = parts.router
        self._book = parts.router.quota_awareness_engine.book

    async def state(self, scope: StateScope = "all") -> State:
        """Show how the router is: its keys, what is left of limits, and its queue."""
        found: dict[str, Any] = {}
        summary = finite(self._router.get_state_summary()) if scope != "quotas" else {}
        if scope in ("keys", "all"):
            found["keys"] = summary["keys"]
        if scope in ("quotas", "all"):
            found["quotas"] = [account_of(self._router, scope) for scope in self._book]
        if scope in ("routing", "all"):
            found["routing"] = {
                name: part for name, part in summary.items() if name not in ("keys", "scopes")
            }
        return State(**found)
