"""`/accounts`: what is known of whose keys share which limits, and an operator's word on it."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response

from apikeyrouter.service import KeySlot
from apikeyrouter_proxy.api.account_views import (
    Account,
    AccountChanges,
    AccountPage,
    Merging,
    Splitting,
    account_of,
    unasked_account,
)
from apikeyrouter_proxy.api.paging import Cursor, Limit, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import FieldError, ProblemError
from apikeyrouter_proxy.api.routes.keys import IfMatch, check_match
from apikeyrouter_proxy.configuration.setup import is_configured

_ALL_MODELS = "*"
#: Provider, account, group of models.
Owner = tuple[str, str, str]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of accounts."""
    accounts = Accounts(parts)
    router = APIRouter(prefix="/accounts", tags=["accounts"])
    add = router.add_api_route
    add("", accounts.list_accounts, response_model=AccountPage)
    # The names of accounts have slashes in them.
    one = "/{account_id:path}"
    add(f"{one}/merge", accounts.merge, methods=["POST"], response_model=Account)
    add(f"{one}/split", accounts.split, methods=["POST"], response_model=AccountPage)
    add(f"{one}/topped-up", accounts.top_up, methods=["POST"], response_model=Account)
    add(one, accounts.get_account, response_model=Account)
    add(one, accounts.change_account, methods=["PATCH"], response_model=Account)
    return router


class Accounts:
    """Answers what is asked of accounts."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts
        self._router = parts.router
        self._book = parts.router.quota_awareness_engine.book
        self._orders = parts.router.parts.account_orders

    async def list_accounts(
        self, limit: Limit = 100, cursor: Cursor = None, provider: str | None = None
    ) -> AccountPage:
        """List the accounts that keys draw on, with what is known of their limits."""
        scopes = [scope for scope in self._book if provider in (None, scope.provider_id)]
        found, after = page_of(scopes, lambda scope: (0, scope.id), limit, cursor)
        items = [account_of(self._router, scope) for scope in found]
        return AccountPage(items=items, next_cursor=after)

    async def get_account(self, account_id: str, response: Response) -> Account:
        """Show one account."""
        return self._shown(self._owner(account_id), response)

    async def change_account(
        self,
        account_id: str,
        changes: AccountChanges,
        response: Response,
        if_match: IfMatch = None,
    ) -> Account:
        """Overrule limits of an account; they hold whatever is learned, until they are null."""
        async with self._parts.changing:
            owner = provider, account, group = self._owner(account_id)
            check_match(if_match, self._revision(provider))
            before = self._ruled(owner)
            await self._orders.overrule(provider, (account, group), changes.limits)
            await self._note("change", account_id, {"limits": before}, limits=self._ruled(owner))
            return self._shown(owner, response)

    async def merge(self, account_id: str, merging: Merging, response: Response) -> Account:
        """Let the keys of other accounts draw on this one, whatever was learned of them."""
        async with self._parts.changing:
            owner = provider, account, _ = self._owner(account_id)
            others = [self._other(owner, n, name) for n, name in enumerate(merging.accounts)]
            keys = self._orders.keys_of(provider, *others)
            self._refuse_configured(keys, "accounts")
            before = {slot.id: self._book.membership(slot).account for slot in keys}
            await self._orders.merge(provider, account, others)
            after = dict.fromkeys(before, account)
            await self._note("merge", account_id, {"accounts": before}, accounts=after)
            return self._shown(owner, response)

    async def split(self, account_id: str, splitting: Splitting) -> AccountPage:
        """Give keys an account of their own each; what is learned joins them to none."""
        async with self._parts.changing:
            provider, account, _ = self._owner(account_id)
            keys = self._keys_in(provider, account, splitting.keys)
            self._refuse_configured(keys, "keys")
            await self._orders.split(provider, [slot.id for slot in keys])
            before = dict.fromkeys((slot.id for slot in keys), account)
            after = {slot.id: self._book.membership(slot).account for slot in keys}
            await self._note("split", account_id, {"accounts": before}, accounts=after)
        items = [
            self._view((provider, self._book.membership(slot).account, _ALL_MODELS))
            for slot in keys
        ]
        return AccountPage(items=items, next_cursor=None)

    async def top_up(self, account_id: str, response: Response) -> Account:
        """Say that there is money on an account again: what waits for that waits no longer."""
        async with self._parts.changing:
            owner = provider, account, _ = self._owner(account_id)
            before = self._view(owner).model_dump(mode="json", include={"cooldown_until"})
            await self._orders.top_up(provider, account)
            await self._note("topped-up", account_id, before, cooldown_until=None)
            return self._shown(owner, response)

    def _owner(self, account_id: str) -> Owner:
        for scope in self._book:
            if scope.id == account_id:
                return scope.provider_id, scope.membership.account, scope.group
        for slot in self._router.key_manager.slot_by_id.values():
            account = self._book.membership(slot).account
            if account_id == f"{slot.provider_id}/{account}":
                return slot.provider_id, account, _ALL_MODELS
        raise ProblemError(404, f"no account '{account_id}'; /accounts lists those in use")

    def _other(self, owner: Owner, place: int, account_id: str) -> str:
        try:
            provider, account, _ = self._owner(account_id)
        except ProblemError as problem:
            raise ProblemError.of_field(f"accounts.{place}", problem.detail) from None
        if provider != owner[0]:
            raise ProblemError.of_field(
                f"accounts.{place}", f"'{account_id}' is of another provider than '{owner[0]}'"
            )
        return account

    def _keys_in(self, provider: str, account: str, wanted: Sequence[str]) -> list[KeySlot]:
        slots = {slot.id: slot for slot in self._orders.keys_of(provider, account)}
        unknown = [
            FieldError(f"keys.{place}", f"'{key}' is no key of this account")
            for place, key in enumerate(wanted)
            if key not in slots
        ]
        if unknown:
            detail = f"{unknown[0].field}: {unknown[0].message}; its keys are {', '.join(slots)}"
            raise ProblemError(422, detail, errors=unknown)
        return [slots[key] for key in dict.fromkeys(wanted)]

    def _refuse_configured(self, keys: Sequence[KeySlot], field: str) -> None:
        for slot in keys:
            if is_configured(slot) and slot.record.metadata.get("scope"):
                message = f"the scope of key '{slot.id}' is of the configuration file"
                raise ProblemError(
                    409, f"{message}: change it there", errors=[FieldError(field, message)]
                )

    def _revision(self, provider: str) -> int:
        return self._book.rules.of(provider).revision + 1

    def _ruled(self, owner: Owner) -> dict[str, float]:
        return dict(self._book.rules.limits_of(*owner))

    def _shown(self, owner: Owner, response: Response) -> Account:
        response.headers["etag"] = f'"{self._revision(owner[0])}"'
        return self._view(owner)

    def _view(self, owner: Owner) -> Account:
        scope = self._book.find(*owner)
        if scope is not None:
            return account_of(self._router, scope)
        provider, account, _ = owner
        slots = self._orders.keys_of(provider, account)
        return unasked_account(self._router, f"{provider}/{account}", slots)

    async def _note(
        self, what: str, account_id: str, before: Mapping[str, Any], **after: Any
    ) -> None:
        await self._parts.audit.note(f"account.{what}", account_id, before, after)
