"""Puts together what a router tells other processes, and what it takes up from them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from apikeyrouter.composition import RouterParts
from apikeyrouter.domain.components.routing_engine import Grant
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.object_register import ObjectRegister
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.candidate_pool import CandidatePool
from apikeyrouter.infrastructure.spreading.board import NoticeBoard
from apikeyrouter.spreading.accounts import AccountSubject, MemberSubject, name_of
from apikeyrouter.spreading.circuits import CircuitSubject, RefusalSubject, pool_name
from apikeyrouter.spreading.documents import DocumentSubject
from apikeyrouter.spreading.keys import KeySubject
from apikeyrouter.spreading.objects import ObjectSubject, object_name
from apikeyrouter.spreading.spreader import Spreader
from apikeyrouter.spreading.subject import Subject


class Spreading:
    """Has a router know what other processes learn, and tells them what it learns itself.

    Make it once the router has taken up its store, and start it when its keys are registered.

    Args:
        url: Of the Redis or Valkey that the processes share.
        ensure_provider: Called with the provider of a key that another process has added; tells
            whether it is registered by then. By default only those count that are.

    Raises:
        StateStoreError: The driver is missing, or the address is none.
    """

    def __init__(
        self,
        parts: RouterParts,
        store: StateStore,
        url: str,
        *,
        on_error: Callable[[Exception], None],
        prefix: str = "apikeyrouter",
        ensure_provider: Callable[[str], Awaitable[bool]] | None = None,
    ) -> None:
        self._parts = parts
        self._ensure_provider = ensure_provider
        clock = parts.context.clock
        board = NoticeBoard(url, prefix=prefix)
        self._on_error = on_error
        self.spreader = Spreader(board, clock=clock, on_error=on_error)
        self._keys = KeySubject(
            parts, store, clock,
            quietly=self.spreader.quietly, on_error=on_error,
            ensure_provider=self._is_registered,
        )  # fmt: skip
        self._circuits = CircuitSubject(parts, clock)
        self._refusals = RefusalSubject(parts, clock)
        accounts = AccountSubject(parts, clock, take_up=self.spreader.take_up)
        for subject in (MemberSubject(parts), accounts, self._keys, self._circuits, self._refusals):
            self.spreader.add(subject)
        self._follow()

    @property
    def trouble(self) -> str:
        """Why others cannot be told or heard; empty while they can."""
        return self.spreader.trouble

    def add(self, subject: Subject) -> Callable[[str], None]:
        """Spread one more kind of thing; return what is to be called when one has changed."""
        self.spreader.add(subject)
        return lambda name: self.spreader.mark(subject.kind, name)

    def add_documents(
        self,
        kind: str,
        *,
        read: Callable[[str], Awaitable[None]],
        read_all: Callable[[], Awaitable[None]],
    ) -> Callable[[str], None]:
        """Spread that things of a kind have changed in the store.

        Args:
            read: Reads one again.
            read_all: Reads all again.

        Returns:
            What is to be called with the name of one that was changed here.
        """
        return self.add(
            DocumentSubject(kind, read=read, read_all=read_all, on_error=self._on_error)
        )

    def add_objects(self, register: ObjectRegister) -> None:
        """Spread which account has what clients make."""
        mark = self.add(ObjectSubject(register, on_error=self._on_error))
        register.on_change = lambda *name: mark(object_name(*name))

    async def start(self) -> None:
        """Take up what others have learned, and listen from now on."""
        for slot in self._parts.manager.slot_by_id.values():
            self._keys.note(slot)
        await self.spreader.start()

    async def close(self) -> None:
        """Tell what is still to be told, and listen no more."""
        await self.spreader.close()

    def _follow(self) -> None:
        """Be told of what the router learns."""
        parts, mark = self._parts, self.spreader.mark
        _also(parts.manager, "on_change", self._note_key)
        _also(parts.manager.orders, "on_stored", lambda slot: mark("key", slot.id))
        _also(parts.registry, "on_learned", self._note_scope)
        _also(parts.registry, "on_member", lambda slot: mark("member", slot.id))
        _also(parts.engine, "on_learned", self._note_grant)
        take_up = parts.routes.take_up

        def begin(pool: CandidatePool) -> None:
            if take_up is not None:
                take_up(pool)
            self.spreader.take_up("circuit", lambda: self._circuits.begin(pool))
            # Whom an account refuses it is a candidate first: in the next moment.
            asyncio.get_running_loop().call_soon(self._begin_refusals, pool)

        parts.routes.take_up = begin

    def _begin_refusals(self, pool: CandidatePool) -> None:
        self.spreader.take_up("model", lambda: self._refusals.begin(pool))

    def _note_key(self, slot: KeySlot) -> None:
        if self._keys.note(slot):
            self.spreader.mark("key", slot.id)

    def _note_scope(self, scope: QuotaScope) -> None:
        self.spreader.mark("account", name_of(scope))

    def _note_grant(self, grant: Grant) -> None:
        """Tell what a call has taught: of its key, its account and its model."""
        self._note_key(grant.slot)
        now, own = self._parts.context.clock(), grant.scope()
        self._note_scope(own)
        for scope in self._parts.registry.scopes_of(grant.slot):
            if scope is not own and scope.cooldown.until > now:
                self._note_scope(scope)
        self.spreader.mark("circuit", pool_name(grant.pool))
        self.spreader.mark("model", f"{name_of(own)}\n{pool_name(grant.pool)}")

    async def _is_registered(self, provider_id: str) -> bool:
        if provider_id in self._parts.routes.providers:
            return True
        return self._ensure_provider is not None and await self._ensure_provider(provider_id)


def _also(owner: Any, name: str, listener: Callable[[Any], None]) -> None:
    """Have *listener* called beside whoever is called already."""
    before: Callable[[Any], None] = getattr(owner, name)

    def both(subject: Any) -> None:
        before(subject)
        listener(subject)

    setattr(owner, name, both)
