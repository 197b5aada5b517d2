"""Few calls at once: where nothing is known yet, and after a refusal; more as they are let in."""

import math

from apikeyrouter.domain.ledger.algorithms import Concurrent
from apikeyrouter.domain.ledger.window import CAUTIOUS, EPSILON
from apikeyrouter.domain.limits.observation import Dimension, Provenance

#: Answers may take long: after the first second so many more calls a second may begin without any.
_PATIENCE_S, _MORE_PER_S = 1.0, 8.0


class Ramp(Concurrent):
    """Calls at once that are let through while a limit is searched for.

    Attributes:
        is_met: A refusal has shown a limit: time alone raises it no more.
    """

    __slots__ = ("_begun_at", "is_met")

    def __init__(self, calls: int, now: float) -> None:
        super().__init__(
            Dimension.CONCURRENCY, calls, 0.0, now, provenance=Provenance.INFERRED, label=CAUTIOUS
        )
        self._begun_at = now
        self.is_met = False

    @property
    def begun_at(self) -> float:
        """When it began to grow by time."""
        return self._begun_at

    @property
    def is_guess(self) -> bool:
        """Whether no refusal has shown a limit yet."""
        return not self.is_met

    def room(self, now: float) -> float:
        """Return the calls that may begin now."""
        return self.capacity + self._grown(now) - self.used

    def fits_at(self, amount: float, now: float) -> float:
        """Return the instant at which *amount* more calls fit if none ends."""
        short = amount - self.room(now)
        if short <= EPSILON:
            return now
        if self.is_met:
            return math.inf
        return max(now, self._begun_at + _PATIENCE_S) + short / _MORE_PER_S

    def _grown(self, now: float) -> float:
        if self.is_met:
            return 0.0
        return max(0.0, now - self._begun_at - _PATIENCE_S) * _MORE_PER_S


class Scouts(Concurrent):
    """One call after a refusal, and one more at once with each that ended.

    Those under way by then are not counted.

    Attributes:
        ended: How many have ended.
    """

    __slots__ = ("ended",)

    def __init__(self, now: float) -> None:
        super().__init__(
            Dimension.CONCURRENCY, 1, 0.0, now, provenance=Provenance.INFERRED, label="trying"
        )
        self.ended = 0

    def room(self, now: float) -> float:
        """Return how many more may begin."""
        return super().room(now) + self.ended

    def fits_at(self, amount: float, now: float) -> float:
        """Return *now* if *amount* more may begin, else never: only an end makes room."""
        return super().fits_at(amount - self.ended, now)

    def give_back(self, amount: float, mark: None, now: float) -> None:
        """Note that a call has ended."""
        super().give_back(amount, mark, now)
        self.ended += 1
