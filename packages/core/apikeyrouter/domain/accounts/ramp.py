"""Few calls at once where nothing is known yet; more as time passes without a refusal."""

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
