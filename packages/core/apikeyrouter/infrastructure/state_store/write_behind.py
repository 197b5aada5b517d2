"""Writes records of traffic in the background: in batches, bounded, in order by kind.

A decision never waits for a store. Records stand in a queue and a task writes
them. A store that fails is asked again after growing pauses; a record that fails
where others are taken is given up, so that it blocks nobody. When the queue is
full the oldest go; whatever is lost is counted. What an operator orders does not
depend on this: it is written before it is acknowledged.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from apikeyrouter.domain.interfaces.state_store import StateStore, StoredRecord
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.infrastructure.state_store.record_store import RecordStore
from apikeyrouter.infrastructure.state_store.usage.counting import usage_row_of

Record = DecisionRecord | StateTransition | APIKey
_Written = StoredRecord | DecisionRecord
_Queued = TypeVar("_Queued", DecisionRecord, APIKey | StateTransition)
_BATCH_RECORDS = 512
_LINGER_S = 0.1
#: A store that is back is written to within the longest pause.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 2.0
#: A call of a store that takes longer has failed.
_CALL_TIMEOUT_S = 30.0
#: So many records refused one after another are the store's fault, not theirs.
_REFUSED_IN_A_ROW = 3


class WriteBehind:
    """A bounded queue before a store.

    Args:
        on_error: Told of a store that fails, once until it answers again, and of
            every record that is given up.
        most: Records that wait at most, of decisions and of moves each.
        sleep: For tests.

    Attributes:
        dropped: Records that were lost to a full queue, or that the store refused.
        trouble: Why the store does not answer, in its words; empty while it does.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        on_error: Callable[[Exception], None],
        most: int = 10_000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._on_error = on_error
        self._most = most
        self._sleep = sleep
        #: Moves are few, and wanted more than decisions, which are many.
        self._moves: deque[APIKey | StateTransition] = deque()
        self._decisions: deque[DecisionRecord] = deque()
        #: What is told when it is written, by name: of many changes the last one counts.
        self._latest: dict[str, Callable[[], StoredRecord]] = {}
        #: Taken from the queues, and not yet known to be written.
        self._batch: list[_Written] = []
        self._task: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        #: Told of each decision that is about to be written.
        self.on_decision: Callable[[DecisionRecord], None] = lambda _: None
        self.dropped = 0
        self.trouble = ""

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return len(self._batch) + len(self._latest) + len(self._moves) + len(self._decisions)

    def put(self, record: Record) -> None:
        """Take one record; it is written soon, or on `drain`."""
        if isinstance(record, DecisionRecord):
            if self._store.keep_decision(record.decision):
                self._store.keep_usage(partial(usage_row_of, record))
            else:
                self._append(self._decisions, record)
        else:
            move = record.model_copy() if isinstance(record, APIKey) else record
            self._append(self._moves, move)

    def note(self, name: str, tell: Callable[[], StoredRecord]) -> None:
        """Have written what *tell* returns then; noted again before that it is written once."""
        self._latest[name] = tell
        if self._task is None:
            self._start()

    def _append(self, queue: deque[_Queued], record: _Queued) -> None:
        if len(queue) >= self._most:
            queue.popleft()
            self.dropped += 1
        queue.append(record)
        self._start()

    async def drain(self, within_s: float = 5.0) -> None:
        """Write all that is waiting; what is not written *within_s* is dropped."""
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        try:
            async with asyncio.timeout(within_s):
                await self._write_all()
        except TimeoutError:
            self.dropped += self.waiting
            for queue in (self._batch, self._latest, self._moves, self._decisions):
                queue.clear()

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
        while self.waiting:
            await self._sleep(_LINGER_S)
            await self._write_all()

    async def _write_all(self) -> None:
        while self._fill_batch():
            if await self._write_batch():
                self._pause_s, self.trouble = 0.0, ""
            else:
                self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2.0 or _FIRST_PAUSE_S)
                await self._sleep(self._pause_s)

    def _fill_batch(self) -> bool:
        """Add what is written next; tell whether there is any."""
        batch = self._batch
        # Moves are few, and wanted more than decisions.
        while len(batch) < _BATCH_RECORDS and self._moves:
            batch.append(self._moves.popleft())
        while len(batch) < _BATCH_RECORDS and self._decisions:
            self._add_decision(self._decisions.popleft())
        # After the decisions, each of which may have noted the same again.
        while len(batch) < 2 * _BATCH_RECORDS and self._latest:
            self._add(self._latest.pop(next(iter(self._latest))))
        return bool(batch)

    def _add_decision(self, record: DecisionRecord) -> None:
        try:
            self.on_decision(record)
        except Exception as error:  # noqa: BLE001 - one record that cannot be told blocks no other
            self._give_up(error)
        else:
            self._batch.append(record)

    def _add(self, tell: Callable[[], StoredRecord]) -> None:
        try:
            self._batch.append(tell())
        except Exception as error:  # noqa: BLE001 - one record that cannot be told blocks no other
            self._give_up(error)

    async def _write_batch(self) -> bool:
        """Write the batch; tell whether the store answers. What remains is tried again."""
        error = await self._save(self._batch)
        if error is None:
            self._batch.clear()
            return True
        answers = len(self._batch) > 1 and await self._write_singly()
        if not answers:
            self.trouble = str(error)
            if not self._pause_s:
                self._on_error(error)
        return answers

    async def _write_singly(self) -> bool:
        """Write the batch one by one, so that a record which is refused blocks nobody.

        Returns:
            Whether any record was taken. If none was, all wait, and what was refused comes last.
        """
        batch, is_answered = self._batch, False
        refused: list[tuple[_Written, Exception]] = []
        try:
            while batch and (is_answered or len(refused) < _REFUSED_IN_A_ROW):
                error = await self._save(batch[:1])
                record = batch.pop(0)
                if error is None:
                    is_answered = True
                else:
                    refused.append((record, error))
        finally:
            if is_answered:
                for _, error in refused:
                    self._give_up(error)
            else:
                batch += [record for record, _ in refused]
        return is_answered

    async def _save(self, records: list[_Written]) -> Exception | None:
        """Have *records* kept; return what the store raised instead."""
        store = self._store
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                if isinstance(store, RecordStore):
                    await store.save_batch(list(records))
                else:
                    await store.save_batch([_readable(record) for record in records])
        except Exception as error:  # noqa: BLE001 - the outermost edge: whatever a store raises, traffic goes on
            return error
        return None

    def _give_up(self, error: Exception) -> None:
        self.dropped += 1
        self._on_error(error)


def _readable(record: _Written) -> StoredRecord:
    return record.decision() if isinstance(record, DecisionRecord) else record


def _is_over(task: asyncio.Task[None]) -> bool:
    return task.get_loop().is_closed()
