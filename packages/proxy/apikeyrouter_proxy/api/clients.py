"""Clients that were added while the service ran: kept in the store, known to the data plane.

A token is shown once and kept as a keyed hash. A change is stored before it holds. Whoever was
revoked stays noted, so that a service that asked for tokens never stops asking.
"""

import os
import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from apikeyrouter.service import (
    Document,
    LedgerAccount,
    StateConflictError,
    StateStore,
    UnreadableRecordError,
)
from apikeyrouter_proxy.dataplane.auth import Client, ClientRegister, IssuedToken

_KIND, _SETTING, _SETTING_ID = "Client", "Setting", "client-tokens"
_PREFIX, _TOKEN_BYTES, _KEY_BYTES, _HINT = "akr-", 32, 32, 4


class KeptToken(BaseModel):
    """A token as it is kept: its hash in hex, its last characters, and when it ends."""

    hash: str = Field(repr=False)
    hint: str
    until: datetime | None = None


class ClientRecord(BaseModel):
    """A client as it is stored.

    Attributes:
        revoked_at: It may call no more, and its name may be taken anew.
    """

    name: str
    models: list[str] | None = None
    limits: dict[str, float] = Field(default_factory=dict)
    weight: float = 1.0
    priority: int = 0
    tags: dict[str, str] = Field(default_factory=dict)
    created_at: datetime
    expires_at: datetime | None = None
    tokens: list[KeptToken] = Field(default_factory=list)
    revoked_at: datetime | None = None
    revision: int = 0


class ManagedClients:
    """Adds, changes and revokes clients.

    Of two processes that change one at once the second is refused.

    Args:
        register: Told of every change; requests are let in by it.
        open_account: Makes the account that a client's limits are kept on.
        on_first: Called once there is any: from then on everybody is asked for a token.

    Attributes:
        on_change: Told of the name of one that was changed here.
    """

    kind = _KIND

    def __init__(
        self,
        store: StateStore,
        register: ClientRegister,
        *,
        open_account: Callable[[str, Mapping[str, float]], LedgerAccount],
        on_first: Callable[[], None],
    ) -> None:
        self._store = store
        self._register = register
        self._open_account = open_account
        self._on_first = on_first
        self.on_change: Callable[[str], None] = lambda _: None
        self._configured: Callable[[], Collection[str]] = tuple
        #: Of the documents, which count on their own.
        self._revisions: dict[str, int] = {}
        self._records: dict[str, ClientRecord] = {}
        self._accounts: dict[str, tuple[LedgerAccount, ...]] = {}

    async def load(self, configured: Callable[[], Collection[str]] = tuple) -> None:
        """Take up what the store has, but for names that are *configured*, now and later.

        Raises:
            StateStoreError: It cannot be read.
        """
        key = os.urandom(_KEY_BYTES)
        if self._store.keeps_documents:
            fresh = Document(_SETTING, _SETTING_ID, {"hex": key.hex()}, _now())
            key = bytes.fromhex((await self._store.add_document(fresh)).body["hex"])
        self._register.key = key
        self._configured = configured
        await self.reread_all()

    async def reread(self, name: str) -> None:
        """Take up what another process has made of one; nobody may change it meanwhile.

        Raises:
            StateStoreError: It cannot be read.
        """
        document = await self._store.get_document(_KIND, name)
        if document is not None:
            self._take_up(document)

    async def reread_all(self) -> None:
        """Take up what other processes have made of all; nobody may change any meanwhile.

        Raises:
            StateStoreError: The store cannot be read.
            UnreadableRecordError: One cannot be; it stays as it is here, the others are taken up.
        """
        failed = None
        for document in await self._store.list_documents(_KIND):
            try:
                self._take_up(document)
            except UnreadableRecordError as error:
                failed = error
        if failed is not None:
            raise failed

    def _take_up(self, document: Document) -> None:
        record = _record_of(document)
        if document.id not in self._configured() and record != self._records.get(document.id):
            self._take(record)
        self._revisions[document.id] = document.revision

    def all(self) -> list[ClientRecord]:
        """Return those that are not revoked."""
        return [record for record in self._records.values() if record.revoked_at is None]

    def get(self, name: str) -> ClientRecord | None:
        """Return one that is not revoked."""
        record = self._records.get(name)
        return record if record is not None and record.revoked_at is None else None

    async def add(self, facts: Mapping[str, Any]) -> tuple[ClientRecord, str]:
        """Add a client of a name that is free; return it and its token."""
        before = self._records.get(facts["name"])
        token, kept = self._make_token()
        record = ClientRecord(
            **facts, created_at=_now(), tokens=[kept],
            revision=before.revision + 1 if before is not None else 0,
        )  # fmt: skip
        await self._keep(record)
        return record, token

    async def change(self, record: ClientRecord, facts: Mapping[str, Any]) -> ClientRecord:
        """Change what is said of a client."""
        return await self._keep(_changed(record, **facts))

    async def rotate(self, record: ClientRecord, until: datetime) -> tuple[ClientRecord, str]:
        """Give a client another token; those before it end at *until* at the latest."""
        token, kept = self._make_token()
        now = _now()
        older = [
            one.model_copy(update={"until": min(one.until or until, until)})
            for one in record.tokens
            if (one.until or until) > now and until > now
        ]
        return await self._keep(_changed(record, tokens=[*older, kept])), token

    async def revoke(self, record: ClientRecord) -> None:
        """Let a client call no more."""
        await self._keep(_changed(record, tokens=[], revoked_at=_now()))

    async def _keep(self, record: ClientRecord) -> ClientRecord:
        if self._store.keeps_documents:
            await self._store_over(record, self._revisions.get(record.name))
        self._take(record)
        self.on_change(record.name)
        return record

    async def _store_over(self, record: ClientRecord, before: int | None) -> None:
        revision = before + 1 if before is not None else 0
        body = record.model_dump(mode="json")
        document = Document(_KIND, record.name, body, _now(), revision)
        if not await self._store.swap_document(document, expect=before):
            await self.reread(record.name)
            raise StateConflictError(
                f"client '{record.name}' was changed by another process meanwhile; read it again, "
                "and order again what still holds"
            )
        self._revisions[record.name] = revision

    def _take(self, record: ClientRecord) -> None:
        before = self._records.get(record.name)
        self._records[record.name] = record
        if before is None or before.limits != record.limits:
            self._accounts[record.name] = self._accounts_of(record)
        client = Client(
            record.name, tuple(record.models) if record.models is not None else None,
            record.weight, record.priority, self._accounts[record.name],
        )  # fmt: skip
        self._register.issue(
            client,
            [IssuedToken(bytes.fromhex(one.hash), _end_of(one, record)) for one in record.tokens],
        )
        self._on_first()

    def _accounts_of(self, record: ClientRecord) -> tuple[LedgerAccount, ...]:
        if not record.limits:
            return ()
        return (self._open_account(f"client '{record.name}'", record.limits),)

    def _make_token(self) -> tuple[str, KeptToken]:
        token = _PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        digest = self._register.digest_of(token.encode())
        return token, KeptToken(hash=digest.hex(), hint=f"…{token[-_HINT:]}")


def _record_of(document: Document) -> ClientRecord:
    try:
        return ClientRecord.model_validate(document.body)
    except ValidationError as error:
        raise UnreadableRecordError(
            f"client '{document.id}' cannot be read: {error.errors()[0]['msg']}; another version "
            "may have written it"
        ) from error


def _changed(record: ClientRecord, **changes: Any) -> ClientRecord:
    return record.model_copy(update={**changes, "revision": record.revision + 1})


def _end_of(token: KeptToken, record: ClientRecord) -> float | None:
    ends = [end.timestamp() for end in (token.until, record.expires_at) if end is not None]
    return min(ends, default=None)


def _now() -> datetime:
    return datetime.now(UTC)
