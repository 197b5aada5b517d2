"""Many writers, one transaction: what comes while one is under way goes together in the next."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

Connection = TypeVar("Connection")
Result = TypeVar("Result")
_Write = Callable[[Connection], Any]


class GroupCommit(Generic[Connection]):
    """Runs writes in their order; each is durable when its caller goes on.

    Args:
        transact: Runs what it is given within one transaction.
        is_shared: Tells whether an error would meet every write, such as that nobody answers;
            after any other the writes are tried one by one.
    """

    def __init__(
        self,
        transact: Callable[[Callable[[Connection], list[Any]]], Awaitable[list[Any]]],
        *,
        is_shared: Callable[[BaseException], bool],
    ) -> None:
        self._transact = transact
        self._is_shared = is_shared
        self._waiting: list[tuple[_Write[Connection], asyncio.Future[Any]]] = []
        self._task: asyncio.Task[None] | None = None

    async def run(self, write: Callable[[Connection], Result]) -> Result:
        """Run *write* and return its result once it is committed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((write, future))
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._work())
        return await future

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None and self._task.get_loop() is asyncio.get_running_loop():
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await self._commit(batch)
            except asyncio.CancelledError:
                for _, future in batch + self._waiting:
                    future.cancel()
                raise

    async def _commit(self, batch: list[tuple[_Write[Connection], asyncio.Future[Any]]]) -> None:
        """Commit a batch and tell its writers how it ended."""

        def write_all(connection: Connection) -> list[Any]:
            return [write(connection) for write, _ in batch]

        try:
            results = await self._transact(write_all)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            if len(batch) == 1 or self._is_shared(error):
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                return
            # One that cannot be written must not take the others with it.
            for one in batch:
                await self._commit([one])
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
