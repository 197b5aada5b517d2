"""`/keys`: add, list, change, rotate, revoke, test."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Response

from apikeyrouter.service import (
    CATALOGUE,
    KeySlot,
    KeyState,
    make_adapter,
    missing_address,
)
from apikeyrouter_proxy.api.key_views import (
    Key,
    KeyChanges,
    KeyPage,
    KeyTest,
    NewKey,
    NewSecret,
    Reason,
    state_of,
    view_of,
)
from apikeyrouter_proxy.api.paging import Cursor, Limit, Place, page_of
from apikeyrouter_proxy.api.parts import ManagementParts
from apikeyrouter_proxy.api.problems import ProblemError
from apikeyrouter_proxy.composition import facts_of

IfMatch = Annotated[str | None, Header(description="The ETag that the change is meant for.")]


def routes(parts: ManagementParts) -> APIRouter:
    """Return what is served of keys."""
    keys = Keys(parts)
    router = APIRouter(prefix="/keys", tags=["keys"])
    add = router.add_api_route
    add("", keys.list_keys, methods=["GET"], response_model=KeyPage)
    add("", keys.add_key, methods=["POST"], response_model=Key, status_code=201)
    # Ids of a configuration file may have slashes in them.
    add("/{key_id:path}/rotate", keys.rotate_key, methods=["POST"], response_model=Key)
    add("/{key_id:path}/revoke", keys.revoke_key, methods=["POST"], response_model=Key)
    add("/{key_id:path}/test", keys.test_key, methods=["POST"], response_model=KeyTest)
    add("/{key_id:path}", keys.get_key, methods=["GET"], response_model=Key)
    add("/{key_id:path}", keys.change_key, methods=["PATCH"], response_model=Key)
    add("/{key_id:path}", keys.delete_key, methods=["DELETE"], status_code=204)
    return router


class Keys:
    """Answers what is asked of keys."""

    def __init__(self, parts: ManagementParts) -> None:
        self._parts = parts
        self._router = parts.router
        self._manager = parts.router.key_manager

    async def list_keys(
        self,
        limit: Limit = 100,
        cursor: Cursor = None,
        provider: str | None = None,
        state: KeyState | None = None,
        tag: Annotated[str | None, Query(description="`name`, or `name:value`.")] = None,
    ) -> KeyPage:
        """List keys, oldest first."""
        slots = [
            slot
            for slot in self._manager.slot_by_id.values()
            if (provider is None or slot.provider_id == provider)
            and (tag is None or has_tag(slot.tags, tag))
            and (state is None or state_of(slot) == state)
        ]
        found, after = page_of(slots, _place_of, limit, cursor)
        return KeyPage(items=[view_of(slot) for slot in found], next_cursor=after)

    async def get_key(self, key_id: str, response: Response) -> Key:
        """Show one key."""
        return _shown(self._manager.slot(key_id), response)

    async def add_key(self, key: NewKey, response: Response) -> Key:
        """Add a key; it is stored and in use on return."""
        async with self._parts.changing:
            slot = await self.add(key, self._same_secret(key))
        response.headers["location"] = f"/api/v1/keys/{quote(slot.id)}"
        return _shown(slot, response)

    async def add(self, key: NewKey, same: str | None) -> KeySlot:
        """Add a key unless *same* names one that has its secret.

        Raises:
            ProblemError: There is one, its id is taken, or its provider is unknown.
        """
        secret = key.secret.get_secret_value()
        key_id = str(key.id)
        if key_id in self._manager.slot_by_id:
            raise ProblemError.of_field("id", f"'{key_id}' is taken; rotate that key instead", 409)
        if same is not None:
            raise ProblemError.of_field("secret", f"key '{same}' has it already", 409)
        await self.ensure_provider(key.provider)
        await self._router.register_key(secret, key.provider, facts_of(key))
        slot = self._manager.slot(key_id)
        await self._note("key.add", slot, {})
        return slot

    async def change_key(
        self, key_id: str, changes: KeyChanges, response: Response, if_match: IfMatch = None
    ) -> Key:
        """Change a key's state, or what is said of it."""
        async with self._parts.changing:
            slot = self._manager.slot(key_id)
            check_match(if_match, slot.record.revision)
            before, declared = _facts(slot), slot.record.metadata
            if changes.state is not None:
                await self._manager.update_key_state(key_id, changes.state)
            facts = changes.facts()
            if facts:
                await self._manager.amend_key(key_id, facts)
            if changes.limits:
                self._router.quota_awareness_engine.book.redeclare(slot, declared)
            await self._note("key.change", slot, before)
            return _shown(slot, response)

    async def delete_key(self, key_id: str, if_match: IfMatch = None) -> Response:
        """Revoke a key: it stays listed, as disabled."""
        async with self._parts.changing:
            slot = self._manager.slot(key_id)
            check_match(if_match, slot.record.revision)
            await self._revoke(slot, Reason())
        return Response(status_code=204)

    async def rotate_key(self, key_id: str, new: NewSecret, response: Response) -> Key:
        """Replace a key's secret; it keeps its id and history, and is usable again."""
        async with self._parts.changing:
            slot = self._manager.slot(key_id)
            before = _facts(slot)
            await self._router.rotate_key(key_id, new.secret.get_secret_value())
            await self._note("key.rotate", slot, before)
            return _shown(slot, response)

    async def revoke_key(
        self, key_id: str, response: Response, reason: Reason | None = None
    ) -> Key:
        """Take a key out of use."""
        async with self._parts.changing:
            slot = self._manager.slot(key_id)
            await self._revoke(slot, reason or Reason())
            return _shown(slot, response)

    async def _revoke(self, slot: KeySlot, reason: Reason) -> None:
        before = _facts(slot)
        await self._router.revoke_key(slot.id, reason.reason)
        await self._note("key.revoke", slot, before, reason=reason.reason)

    async def _note(
        self, action: str, slot: KeySlot, before: Mapping[str, Any], **more: Any
    ) -> None:
        await self._parts.audit.note(action, slot.id, before, {**_facts(slot), **more})

    async def test_key(self, key_id: str) -> KeyTest:
        """Ask the provider whether it accepts the key, by a call that costs nothing."""
        slot = self._manager.slot(key_id)
        wire = self._router.routes.providers[slot.provider_id].wire
        accepted = await wire.probe(slot.secret) if wire is not None else None
        return KeyTest(ok=accepted, detail=_TOLD[accepted])

    def _same_secret(self, key: NewKey) -> str | None:
        secret = key.secret.get_secret_value()
        for slot in self._manager.slot_by_id.values():
            if slot.provider_id == key.provider and slot.secret == secret:
                return slot.id
        return None

    async def ensure_provider(self, name: str) -> None:
        """Let a provider of the catalogue be used though no key named it before."""
        known: Collection[str] = self._router.routes.providers
        if name in known:
            return
        row = CATALOGUE.get(name)
        if row is None:
            listed = ", ".join(sorted(known)) or "none"
            message = f"'{name}' is not known; configured are {listed}, and /providers lists all"
            raise ProblemError.of_field("provider", message)
        missing = missing_address(row)
        if missing:
            raise ProblemError.of_field(
                "provider", f"'{name}' has to be configured first: {missing}"
            )
        await self._router.register_provider(name, make_adapter(name))


def has_tag(tags: dict[str, str], wanted: str) -> bool:
    """Tell whether *tags* have what `name` or `name:value` says."""
    if wanted in tags:
        return True
    name, _, value = wanted.partition(":" if ":" in wanted else "=")
    return bool(value) and tags.get(name) == value


def check_match(if_match: str | None, revision: int) -> None:
    """Raise `ProblemError` if a change is meant for another revision."""
    if if_match is None or if_match.strip() == "*":
        return
    named = {part.strip().removeprefix("W/").strip('"') for part in if_match.split(",")}
    if str(revision) not in named:
        raise ProblemError(412, f'it has changed: its ETag is "{revision}" now; read it again')


def _facts(slot: KeySlot) -> dict[str, Any]:
    """Return what an operator can change of a key."""
    counted = {"requests", "failures", "last_used_at", "cooldown_until"}
    return view_of(slot).model_dump(mode="json", exclude=counted)


def _shown(slot: KeySlot, response: Response) -> Key:
    response.headers["etag"] = f'"{slot.record.revision}"'
    return view_of(slot)


def _place_of(slot: KeySlot) -> Place:
    return int(slot.record.created_at.timestamp() * 1e6), slot.id


_TOLD = {
    True: "the provider accepts the key",
    False: "the provider refuses the key as a credential",
    None: "the provider could not be asked, or has no call that costs nothing",
}
