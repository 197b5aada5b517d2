"""Accounts as the management API shows them, and what may be ordered of them."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from apikeyrouter import ApiKeyRouter
from apikeyrouter.service import KeySlot, QuotaScope, Share, Text, Window, instant
from apikeyrouter_proxy.api.added.shapes import changed_limits
from apikeyrouter_proxy.api.paging import Page

#: No clock shows more; what lasts longer never ends.
_LATEST_S = 4e9


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


class _Given(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Merging(_Given):
    """Accounts whose keys come to draw on this one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"accounts": ["openai/key-2"]}]})

    accounts: Annotated[list[Text], Field(min_length=1, max_length=10_000)]


class Splitting(_Given):
    """Keys that get an account of their own each."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keys": ["key-2"]}]})

    keys: Annotated[list[Text], Field(min_length=1, max_length=10_000)]


class AccountChanges(_Given):
    """Limits that hold whatever was learned; null goes back to what is declared or learned."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limits": {"rpm": 60}}]})

    limits: Annotated[dict[str, Share | None], Field(min_length=1)]

    @field_validator("limits")
    @classmethod
    def _are_limits(cls, value: dict[str, float | None]) -> dict[str, float | None]:
        return changed_limits(value)


def account_of(router: ApiKeyRouter, scope: QuotaScope) -> Account:
    """Return an account as it is shown."""
    now, windows = router.now(), scope.account.windows
    return Account(
        id=scope.id, provider=scope.provider_id,
        keys=[slot.id for slot in router.quota_awareness_engine.book.slots_of(scope)],
        model_group=scope.group,
        windows=[_window(window, now) for window in windows],
        cooldown_until=_moment(scope.cooldown.until, now),
        drift=max((window.drift_per_s for window in windows), default=0.0),
        basis=scope.membership.basis, confidence=scope.membership.confidence,
        in_flight=scope.account.in_flight,
    )  # fmt: skip


def unasked_account(router: ApiKeyRouter, account_id: str, slots: Sequence[KeySlot]) -> Account:
    """Return an account of keys that no request has asked for: of its limits operators know."""
    member = router.quota_awareness_engine.book.membership(slots[0])
    ruled = router.parts.account_orders.ruled(slots[0].provider_id, member.account)
    return Account(
        id=account_id, provider=slots[0].provider_id, keys=[slot.id for slot in slots],
        model_group="*", windows=[_window(window, router.now()) for window in ruled],
        cooldown_until=None, drift=0.0,
        basis=member.basis, confidence=member.confidence, in_flight=0,
    )  # fmt: skip


def _window(window: Window, now: float) -> AccountWindow:
    # What reports give back beyond a whole window is nothing that can be used.
    left = min(window.capacity, max(0.0, window.room(now)))
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
