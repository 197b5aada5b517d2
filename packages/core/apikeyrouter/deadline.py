"""A moment after which whatever is awaited is given up.

`asyncio.timeout_at` does the same as an asynchronous context manager; a
request pays for it in the coroutines of its entry and its exit, and the
current task is asked for twice.
"""

import asyncio
from types import TracebackType
from typing import Self


class Deadline:
    """`with Deadline(at): await …` raises `TimeoutError` at the loop's time *at*."""

    __slots__ = ("_at", "_cancelling", "_handle", "_is_over", "_task")

    def __init__(self, at: float) -> None:
        self._at = at
        self._is_over = False

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline needs a task that it can interrupt")
        self._task = task
        self._cancelling = task.cancelling()
        self._handle = loop.call_at(self._at, self._interrupt)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.cancel()
        if not self._is_over:
            return
        # Whoever else cancelled the task meanwhile is not to be robbed of it.
        is_ours = self._task.uncancel() <= self._cancelling
        if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def _interrupt(self) -> None:
        self._is_over = True
        self._task.cancel()
