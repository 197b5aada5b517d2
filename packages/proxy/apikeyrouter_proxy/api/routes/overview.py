"""What the router knows: `/providers`, `/accounts`, `/state`."""

import math
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from apikeyrouter.service import CATALOGUE, QuotaScope, Window, instant, missing_address
from apikeyrouter_proxy.api.paging import Cursor, Limit, Page, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import ProblemError

#: No clock shows more; what lasts longer never ends.
_LATEST_S = 4e9
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


class AccountWindow(BaseModel):
    """One limit of an account, and what is left of it.

    Attributes:
        period_s: 0 for calls at once.
        held: Of calls that are under way.
        left: What fits now.
        resets_at: When it is whole again, as far as that is known.
        source: Who told the capacity: declared, header, error_body, inferred...
    """

    dimension: str = Field(examples=["tokens"])
    period_s: float = Field(examples=[60])
    algorithm: str = Field(examples=["token_bucket"])
    capacity: float | None
    used: float
    held: float
    left: float | None
    resets_at: datetime | None
    source: str
    confidence: float


class Account(BaseModel):
    """An account at a provider: whose keys share which limits.

    Attributes:
        model_group: The models that share these limits; `*` means all.
        basis: How it is known whose account it is: configured, told, inferred, own, alone.
        drift: Units a second that others take of it, of the window where it is most.
    """

    id: str = Field(examples=["openai/org-1"])
    provider: str
    keys: list[str]
    model_group: str
    windows: list[AccountWindow]
    cooldown_until: datetime | None
    drift: float
    basis: str
    confidence: float
    in_flight: int


class AccountPage(Page):
    """One page of accounts, by id; an account is here once it was asked for."""

    items: list[Account]


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
    add("/accounts", overview.list_accounts, response_model=AccountPage, tags=["accounts"])
    # The names of accounts have slashes in them.
    add("/accounts/{account_id:path}", overview.get_account, response_model=Account,
        tags=["accounts"])  # fmt: skip
    add("/state", overview.state, response_model=State, response_model_exclude_unset=True,
        tags=["state"])  # fmt: skip
    return router


class Overview:
    """Answers what is asked of providers and accounts; changes nothing."""

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

    async def list_accounts(
        self, limit: Limit = 100, cursor: Cursor = None, provider: str | None = None
    ) -> AccountPage:
        """List the accounts that keys draw on, with what is known of their limits."""
        scopes = [scope for scope in self._book if provider in (None, scope.provider_id)]
        found, after = page_of(scopes, lambda scope: (0, scope.id), limit, cursor)
        return AccountPage(items=[self._account(scope) for scope in found], next_cursor=after)

    async def get_account(self, account_id: str) -> Account:
        """Show one account."""
        for scope in self._book:
            if scope.id == account_id:
                return self._account(scope)
        raise ProblemError(404, f"no account '{account_id}'; /accounts lists those in use")

    async def state(self, scope: StateScope = "all") -> State:
        """Show how the router is: its keys, what is left of limits, and its queue."""
        found: dict[str, Any] = {}
        summary = finite(self._router.get_state_summary()) if scope != "quotas" else {}
        if scope in ("keys", "all"):
            found["keys"] = summary["keys"]
        if scope in ("quotas", "all"):
            found["quotas"] = [self._account(scope) for scope in self._book]
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

    def _account(self, scope: QuotaScope) -> Account:
        now = self._router.now()
        windows = scope.account.windows
        return Account(
            id=scope.id, provider=scope.provider_id,
            keys=[slot.id for slot in self._book.slots_of(scope)], model_group=scope.group,
            windows=[_window(window, now) for window in windows],
            cooldown_until=_moment(scope.cooldown.until, now),
            drift=max((window.drift_per_s for window in windows), default=0.0),
            basis=scope.membership.basis, confidence=scope.membership.confidence,
            in_flight=scope.account.in_flight,
        )  # fmt: skip


def _window(window: Window, now: float) -> AccountWindow:
    left = max(0.0, window.room(now))
    resets_in = window.resets_in(now)
    held = max(0.0, window.unconfirmed)
    return AccountWindow(
        dimension=window.dimension.value, period_s=window.period_s,
        algorithm=window.algorithm.value, capacity=finite(window.capacity),
        used=max(0.0, window.used - held), held=held, left=finite(left),
        resets_at=_moment(now + resets_in, now) if resets_in is not None else None,
        source=window.provenance.value, confidence=window.confidence,
    )  # fmt: skip


def _moment(at: float, now: float) -> datetime | None:
    return instant(min(at, _LATEST_S)) if at > now else None


def finite(data: Any) -> Any:
    """Return plain data without infinite numbers, which JSON has not."""
    if isinstance(data, dict):
        return {name: finite(part) for name, part in data.items()}
    if isinstance(data, list):
        return [finite(part) for part in data]
    return data if not isinstance(data, float) or math.isfinite(data) else None
