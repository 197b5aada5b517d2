"""Things that were added while the service ran: kept in the store, each as one document.

A change is stored over the revision that it was made from before it is seen here: of two that
collide one is refused. What another process has changed is read again.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from apikeyrouter.service import Document, StateConflictError, StateStore, UnreadableRecordError

Facts = TypeVar("Facts", bound=BaseModel)


class Addition(BaseModel, Generic[Facts]):
    """One thing, and how often it was changed."""

    id: str
    facts: Facts
    revision: int


class Additions(Generic[Facts]):
    """The things of one kind.

    Args:
        kind: Of their documents.
        model: What a document's body is read as.

    Attributes:
        on_change: Told of the name of one that was changed here.
        on_read: Called when what other processes have changed was read.
    """

    def __init__(self, store: StateStore, kind: str, model: type[Facts]) -> None:
        self.kind = kind
        self.on_change: Callable[[str], None] = lambda _: None
        self.on_read: Callable[[], None] = lambda: None
        self._store = store
        self._model = model
        self._found: dict[str, Addition[Facts]] = {}

    async def load(self) -> None:
        """Take up what the store has.

        Raises:
            StateStoreError: It cannot be read.
        """
        if not self._store.keeps_documents:
            return
        self._found = {
            document.id: self._read(document)
            for document in await self._store.list_documents(self.kind)
        }

    def all(self) -> list[Addition[Facts]]:
        """Return all of them."""
        return list(self._found.values())

    def get(self, name: str) -> Addition[Facts] | None:
        """Return one."""
        return self._found.get(name)

    async def put(self, name: str, facts: Facts) -> Addition[Facts]:
        """Add or replace one.

        Raises:
            StateConflictError: Another process has changed it.
            StateStoreError: It cannot be stored.
        """
        before = self._found.get(name)
        made = Addition(id=name, facts=facts, revision=before.revision + 1 if before else 0)
        if self._store.keeps_documents:
            body = facts.model_dump(mode="json", exclude_unset=True)
            document = Document(self.kind, name, body, datetime.now(UTC), made.revision)
            expect = before.revision if before is not None else None
            if not await self._store.swap_document(document, expect=expect):
                await self._look_again(name)
                raise StateConflictError(
                    f"'{name}' was changed by another process meanwhile; read it again, and order "
                    "again what still holds"
                )
        self._found[name] = made
        self.on_change(name)
        return made

    async def remove(self, name: str) -> None:
        """Forget one.

        Raises:
            StateStoreError: The store does not forget it.
        """
        if self._store.keeps_documents:
            await self._store.delete_document(self.kind, name)
        self._found.pop(name, None)
        self.on_change(name)

    async def reread(self, name: str) -> None:
        """Take up what another process has made of one; nobody may change it meanwhile.

        Raises:
            StateStoreError: It cannot be read.
        """
        if self._store.keeps_documents:
            await self._look_again(name)
            self.on_read()

    async def reread_all(self) -> None:
        """Take up what other processes have made of all; nobody may change any meanwhile.

        Raises:
            StateStoreError: The store cannot be read.
            UnreadableRecordError: One cannot be; it stays as it is here, the others are taken up.
        """
        if not self._store.keeps_documents:
            return
        found, failed = dict[str, Addition[Facts]](), None
        for document in await self._store.list_documents(self.kind):
            try:
                found[document.id] = self._read(document)
            except UnreadableRecordError as error:
                failed = error
                if document.id in self._found:
                    found[document.id] = self._found[document.id]
        self._found = found
        self.on_read()
        if failed is not None:
            raise failed

    async def _look_again(self, name: str) -> None:
        kept = await self._store.get_document(self.kind, name)
        if kept is None:
            self._found.pop(name, None)
        else:
            self._found[name] = self._read(kept)

    def _read(self, document: Document) -> Addition[Facts]:
        try:
            facts = self._model.model_validate(dict(document.body))
        except ValidationError as error:
            raise UnreadableRecordError(
                f"{self.kind} '{document.id}' cannot be read: {error.errors()[0]['msg']}; another "
                "version may have written it"
            ) from error
        return Addition(id=document.id, facts=facts, revision=document.revision)
