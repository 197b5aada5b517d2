"""What traffic produces, written behind it: in order, in batches, bounded.

A decision never waits for a store. Records stand in a queue; a task writes
them. When the queue is full the oldest goes, and is counted. What an operator
orders does not come here: it is written before it is acknowledged.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.errors import StateStoreError

Record = DecisionRecord | StateTransition | APIKey
_LINGER_S = 0.05


class WriteBehind:
    """A bounded queue before a store.

    Attributes:
        dropped: Records that were lost to a full queue or a failing store.
    """

    def __init__(
        self, store: StateStore, *, on_error: Callable[[StateStoreError], None], most: int = 10_000
    ) -> None:
        self._store = store
        self._on_error = on_error
        self._most = most
        self._records: deque[Record] = deque()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def put(self, record: Record) -> None:
        """Take one record; it is written soon, or on `drain`."""
        if isinstance(record, DecisionRecord) and self._store.keep_decision(record.decision):
            return
        if len(self._records) >= self._most:
            self._records.popleft()
            self.dropped += 1
        self._records.append(record)
        self._start()

    async def drain(self) -> None:
        """Write all that is waiting."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._write()

    def _start(self) -> None:
        if self._task is not None and not self._task.done() and not _is_over(self._task):
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._task = loop.create_task(self._linger())

    async def _linger(self) -> None:
        """Let a batch gather, then write it; ends when nothing is left."""
        while self._records:
            await asyncio.sleep(_LINGER_S)
            await self._write()

    async def _write(self) -> None:
        while self._records:
            record = self._records[0]
            try:
                await self._save(record)
            except StateStoreError as error:
                self.dropped += 1
                self._on_error(error)
            if self._records and self._records[0] is record:
                self._records.popleft()

    async def _save(self, record: Record) -> None:
        if isinstance(record, DecisionRecord):
            await self._store.save_routing_decision(record.decision())
        elif isinstance(record, StateTransition):
            await self._store.save_state_transition(record)
        else:
            await self._store.save_key(record)


def _is_over(task: asyncio.Task[None]) -> bool:
    return task.get_loop().is_closed()
