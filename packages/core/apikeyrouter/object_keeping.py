"""Which key has what its client made is kept, and known again after a restart.

A request never waits for the store: what changes is written a moment later, in batches, of many
changes of one object the last. There is never more in the store than the register remembers.
"""

import asyncio
from collections.abc import Callable

import msgspec

from apikeyrouter.domain.interfaces.state_store import Document, StateStore
from apikeyrouter.domain.models.api_key import utc_now
from apikeyrouter.domain.object_register import OBJECTS_KEPT, MemoryObjectRegister, Owner

KIND = "Object"
_BATCH, _READ_IN_A_ROW, _LINGER_S = 512, 256, 0.1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
#: A call of a store that takes longer has failed.
_CALL_TIMEOUT_S = 30.0
_CLOSE_WITHIN_S = 5.0
#: A longer id is known until the restart only.
_LONGEST_ID = 512

#: Client, kind and id.
_Name = tuple[str, str, str]


class KeptObjectRegister(MemoryObjectRegister):
    """Owners in memory and in a store that keeps documents.

    Args:
        on_error: Told of a store that fails, once until it answers again, and of every record
            that cannot be read.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        on_error: Callable[[Exception], None],
        most: int = OBJECTS_KEPT,
    ) -> None:
        super().__init__(most)
        self._store = store
        self._on_error = on_error
        #: What is not written yet; `None` for what is to be deleted.
        self._waiting: dict[_Name, Document | None] = {}
        self._under_way = 0
        self._task: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._is_loading = False

    @property
    def waiting(self) -> int:
        """Changes that are not written yet."""
        return len(self._waiting) + self._under_way

    async def load(self) -> None:
        """Read what was kept, the oldest first; what is too much is forgotten.

        What has changed here and is not written yet stays as it is.

        Raises:
            StateStoreError: The store cannot be read.
        """
        kept = await self._store.list_documents(KIND)
        for number, document in enumerate(sorted(kept, key=lambda one: one.updated_at), 1):
            if number % _READ_IN_A_ROW == 0:
                await asyncio.sleep(0)
            try:
                told = msgspec.convert(document.body, _Kept)
            except msgspec.ValidationError as error:
                self._on_error(error)
                continue
            name = (told.client, told.kind, told.id)
            owner = Owner(told.provider, told.key, told.account)
            if name not in self._waiting:
                self._is_loading = True
                self.learn(*name, owner, is_new=told.is_new, is_made=told.is_made)
                self._is_loading = False

    async def close(self) -> None:
        """Write what is waiting; what is not written within a few seconds is lost."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                while self._waiting and await self._write_some():
                    pass
        except TimeoutError:
            self._waiting.clear()

    def _note_change(
        self, client: str, name: tuple[str, str], owner: Owner | None, *, is_new: bool
    ) -> None:
        """Have written what has changed."""
        kind, object_id = name
        if len(object_id) > _LONGEST_ID:
            return
        if self._is_learning and not (self._is_loading and owner is None):
            # Whoever tells of it has it written; what is too much for us nobody else has deleted.
            self._waiting.pop((client, *name), None)
            return
        document = None
        if owner is not None:
            is_made = self.has_made(client, *name)
            kept = _Kept(
                client, kind, object_id, owner.provider_id, owner.key_id, owner.account,
                is_made, is_new,
            )  # fmt: skip
            document = Document(KIND, _id_of((client, *name)), msgspec.to_builtins(kept), utc_now())
        # It is written after what changed before it.
        self._waiting.pop((client, *name), None)
        self._waiting[client, kind, object_id] = document
        if len(self._waiting) > 2 * self._most:
            del self._waiting[next(iter(self._waiting))]
        self._start()

    def _start(self) -> None:
        if self._task is not None and not self._task.done():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._task = loop.create_task(self._write())

    async def _write(self) -> None:
        """Let a batch gather, then write it; ends when nothing is left."""
        while self._waiting:
            await asyncio.sleep(self._pause_s or _LINGER_S)
            if await self._write_some():
                self._pause_s = 0.0
            else:
                self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2.0 or _FIRST_PAUSE_S)

    async def _write_some(self) -> bool:
        """Write a batch; tell whether the store took it. If not, it waits on."""
        names = list(self._waiting)[:_BATCH]
        batch = {name: self._waiting.pop(name) for name in names}
        self._under_way = len(batch)
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                await self._store.save_batch([d for d in batch.values() if d is not None])
                for name in [name for name in names if batch[name] is None]:
                    await self._store.delete_document(KIND, _id_of(name))
        except Exception as error:  # noqa: BLE001 - the outermost edge: whatever a store raises, traffic goes on
            self._put_back(batch)
            if not self._pause_s:
                self._on_error(error)
            return False
        except asyncio.CancelledError:
            self._put_back(batch)
            raise
        finally:
            self._under_way = 0
        return True

    def _put_back(self, batch: dict[_Name, Document | None]) -> None:
        """Have *batch* written before what has changed since, unless it is the same object."""
        self._waiting = {**batch, **self._waiting}


class _Kept(msgspec.Struct):
    """A record's body."""

    client: str
    kind: str
    id: str
    provider: str
    key: str
    account: str
    is_made: bool
    is_new: bool


def _id_of(name: _Name) -> str:
    return msgspec.json.encode(name).decode()
