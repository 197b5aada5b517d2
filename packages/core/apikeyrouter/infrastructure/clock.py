"""The clock of a router: monotonic inside, the wall clock beside it.

Waits, windows and deadlines are measured by a clock that only goes forward, at
the pace of real time, suspended hours included. It starts at the wall clock's
epoch second and takes no part in its later steps (NTP, a resumed machine, an
administrator). What providers and calendars name as an instant is read by the wall clock.
"""

import time
from collections.abc import Callable
from functools import partial

#: Linux: `CLOCK_MONOTONIC` stands still while the machine is suspended, the limits of
#: providers do not. Elsewhere the monotonic clock itself goes on.
_GOES_ON = getattr(time, "CLOCK_BOOTTIME", None) or getattr(time, "CLOCK_MONOTONIC", None)


_steady: Callable[[], float] = (
    time.monotonic if _GOES_ON is None else partial(time.clock_gettime, _GOES_ON)
)


class SteadyClock:
    """Seconds since the epoch that never go backward.

    A later step of the wall clock leaves the instants of records in their order;
    until the process starts anew they differ from the wall's by that step.

    Args:
        source: In place of the machine's clock, such as a test's. It may jump
            forward, and time jumps with it; when it steps back, time goes on by
            what passes really.
        steady: Seconds that never go backward, from any origin.

    Attributes:
        wall: Epoch seconds as people and providers read them.
    """

    __slots__ = ("_ahead_s", "_latest", "_seen", "_source", "_steady", "wall")

    def __init__(
        self,
        source: Callable[[], float] | None = None,
        *,
        steady: Callable[[], float] = _steady,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._steady = steady
        self.wall = source or wall
        self._seen = steady()
        #: What is added to the source, or to the steady seconds when there is none.
        self._ahead_s = 0.0 if source is not None else wall() - self._seen
        self._latest = source() if source is not None else 0.0

    def __call__(self) -> float:
        """Return the present instant."""
        if self._source is None:
            return self._steady() + self._ahead_s
        return self._of_source(self._source())

    def _of_source(self, told: float) -> float:
        seen = self._steady()
        if told < self._latest:
            self._ahead_s += self._latest + (seen - self._seen) - told
        self._latest, self._seen = told, seen
        return told + self._ahead_s
