"""Reads again from the store what another process has changed there: one name at a time."""

import asyncio
from collections.abc import Awaitable, Callable

#: A call of a store that takes longer has failed.
_CALL_TIMEOUT_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_MOST_WAITING = 20_000


class Rereading:
    """Names that are to be read again; a store that fails is asked again later.

    Args:
        read: Reads one name and puts to use what it finds.
        on_error: Told why a name could not be read, once until one can.
    """

    def __init__(
        self, read: Callable[[str], Awaitable[None]], *, on_error: Callable[[Exception], None]
    ) -> None:
        self._read = read
        self._on_error = on_error
        self._waiting: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def want(self, name: str) -> None:
        """Read *name* again, soon."""
        self._waiting[name] = None
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Read no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self) -> None:
        pause_s = 0.0
        while self._waiting:
            name = next(iter(self._waiting))
            del self._waiting[name]
            try:
                async with asyncio.timeout(_CALL_TIMEOUT_S):
                    await self._read(name)
                pause_s = 0.0
            except Exception as error:  # noqa: BLE001 - whatever a store raises, the others are read
                if not pause_s:
                    self._on_error(error)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2.0 or _FIRST_PAUSE_S)
                self._waiting.setdefault(name)
                await asyncio.sleep(pause_s)
