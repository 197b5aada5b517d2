"""A moment after which whatever is awaited is given up.

`asyncio.timeout_at` does the same as an asynchronous context manager with a
timer of its own; almost every answer is there long before its deadline, and the
timer was for nothing. Here far deadlines are only looked at now and then, and
get their timer when they have come near.
"""

import asyncio
from types import TracebackType
from typing import Self

#: How often far deadlines are looked at; one that is nearer has a timer of its own.
_LOOK_EVERY_S = 1.0


class Deadline:
    """`with Deadline(at): await …` raises `TimeoutError` at the loop's time *at*."""

    __slots__ = ("_at", "_cancelling", "_handle", "_is_over", "_lookout", "_task")

    def __init__(self, at: float) -> None:
        self._at = at
        self._is_over = False
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a deadline needs a task that it can interrupt")
        self._task = task
        self._cancelling = task.cancelling()
        if self._at - loop.time() > _LOOK_EVERY_S:
            self._lookout = _lookout_of(loop)
            self._lookout.add(self)
        else:
            self.arm(loop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is None:
            self._lookout.far.discard(self)
        else:
            self._handle.cancel()
        if not self._is_over:
            return
        # A cancellation that came from elsewhere must not be swallowed.
        is_ours = self._task.uncancel() <= self._cancelling
        if is_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    @property
    def is_over(self) -> bool:
        """Whether it has interrupted what was awaited."""
        return self._is_over

    def is_near(self, now: float) -> bool:
        """Tell whether it comes before the next look."""
        return self._at - now <= _LOOK_EVERY_S

    def arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set its timer."""
        self._handle = loop.call_at(self._at, self._interrupt)

    def _interrupt(self) -> None:
        self._is_over = True
        self._task.cancel()


class _Lookout:
    """Looks at the far deadlines of one loop, as long as there are some."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.far: set[Deadline] = set()
        self._is_looking = False

    def add(self, deadline: Deadline) -> None:
        """Look at *deadline* from now on."""
        self.far.add(deadline)
        if not self._is_looking:
            self._is_looking = True
            self.loop.call_later(_LOOK_EVERY_S / 2.0, self._look)

    def _look(self) -> None:
        self._is_looking = False
        loop = self.loop
        now = loop.time()
        for deadline in [deadline for deadline in self.far if deadline.is_near(now)]:
            self.far.discard(deadline)
            deadline.arm(loop)
        if self.far:
            self._is_looking = True
            loop.call_later(_LOOK_EVERY_S / 2.0, self._look)


_lookout: _Lookout | None = None


def _lookout_of(loop: asyncio.AbstractEventLoop) -> _Lookout:
    """Return the lookout of *loop*; that of a loop before it is left behind."""
    global _lookout
    if _lookout is None or _lookout.loop is not loop:
        _lookout = _Lookout(loop)
    return _lookout
