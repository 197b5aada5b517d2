"""What the router knows: `/providers` and `/state`."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from apikeyrouter.service import CATALOGUE, missing_address
from apikeyrouter_proxy.api.account_views import Account, account_of, finite
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import ProblemError

StateScope = Literal["keys", "quotas", "routing", "all"]


class Provider(BaseModel):
    """A provider; one of the catalogue that is not configured yet needs a key alone."""

    id: str = Field(examples=["openai"])
    configured: bool
    base_url: str | None = Field(examples=["https://api.openai.com/v1"])
    dialects: list[str] = Field(examples=[["openai", "openai-responses"]])
    models: list[str] | None = Field(description="Patterns of what it serves; null admits any.")
    listed_models: int = Field(description="How many models it is known to list.")
    keys: int
    usable_keys: int
    missing: str | None = Field(description="What has to be configured before it can be used.")


class ProviderPage(Page):
    """One page of providers, by name."""

    items: list[Provider]


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
    add("/providers", overview.list_providers, response_model=ProviderPage, tags=["providers"])
    add("/providers/{provider_id}", overview.get_provider, response_model=Provider,
        tags=["providers"])  # fmt: skip
    add("/state", overview.state, response_model=State, response_model_exclude_unset=True,
        tags=["state"])  # fmt: skip
    return router


class Overview:
    """Answers what is asked of providers and of the whole; changes nothing."""

    def __init__(self, parts: ManagementParts) -> None:
        self._router = parts.router
        self._book = parts.router.quota_awareness_engine.book

    async def list_providers(
        self, limit: Limit = 100, cursor: Cursor = None, configured: bool | None = None
    ) -> ProviderPage:
        """List providers: those in use, and those of the catalogue that could be."""
        names = [
            name
            for name in {*self._router.routes.providers, *CATALOGUE}
            if configured is None or configured == (name in self._router.routes.providers)
        ]
        found, after = page_of(names, lambda name: (0, name), limit, cursor)
        return ProviderPage(items=[self._provider(name) for name in found], next_cursor=after)

    async def get_provider(self, provider_id: str) -> Provider:
        """Show one provider."""
        if provider_id not in self._router.routes.providers and provider_id not in CATALOGUE:
            raise ProblemError(404, f"no provider '{provider_id}'")
        return self._provider(provider_id)

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

    def _provider(self, name: str) -> Provider:
        entry, row = self._router.routes.providers.get(name), CATALOGUE.get(name)
        if entry is None:
            missing = missing_address(row) if row is not None else ""
            return Provider(
                id=name, configured=False, base_url=None, dialects=[], models=None,
                listed_models=0, keys=0, usable_keys=0, missing=missing or None,
            )  # fmt: skip
        return Provider(
            id=name, configured=True,
            base_url=getattr(entry.adapter, "base_url", None),
            dialects=list(getattr(entry.adapter, "dialects", ())),
            models=list(entry.models) if entry.models is not None else None,
            listed_models=len(entry.known_models), keys=len(entry.slots),
            usable_keys=sum(slot.is_in_use for slot in entry.slots.values()), missing=None,
        )  # fmt: skip
