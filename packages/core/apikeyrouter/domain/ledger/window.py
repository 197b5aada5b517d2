"""A window: one limit of one scope, as arithmetic over a given now.

Every algorithm has the same few verbs. Nothing here reads a clock, and a window
is refilled when it is read. `take` returns a mark that `give_back` wants
again: how much of a charge may be returned depends on what has been refilled
since it was made. `observe` holds the window against a provider's report, and
moves it only when the report cannot be explained by what we ourselves sent and
have in flight.
"""

import math
from dataclasses import dataclass
from typing import Any

from apikeyrouter.domain.limits.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    MONTH_S,
    Algorithm,
    Dimension,
    Provenance,
)

#: A window's place in a vector of amounts.
INDEX_OF: dict[Dimension, int] = {dimension: i for i, dimension in enumerate(Dimension)}
DIMENSIONS = tuple(Dimension)
#: Slack for sums of floats; far below one unit.
EPSILON = 1e-6
#: The label of a window that is no limit of the provider's, but our own caution.
CAUTIOUS = "cautious"
_DRIFT_MEMORY_S = 15.0
#: Use is sampled at most this often; its average forgets over the second.
SAMPLE_S = 1.0
_PACE_MEMORY_S = 30.0
_PERIOD_NAMES = {1.0: "second", MINUTE_S: "minute", HOUR_S: "hour", DAY_S: "day", MONTH_S: "month"}


@dataclass(slots=True)
class Ballot:
    """What is believed of a window's algorithm: votes above zero say fixed.

    Attributes:
        reset_at, used, at: What the last telling report said, and when.
    """

    votes: int = 0
    reset_at: float = 0.0
    used: float = 0.0
    at: float = 0.0
    longest_reset_s: float = 0.0


class Window:
    """One limit. Subclasses give it an algorithm.

    Attributes:
        capacity: Units per period (or at once, for concurrency).
        period_s: Seconds; 0 for concurrency.
        used: Units taken and not yet refilled, valid at `at`.
        name: What it counts and over how long: `tokens per minute`.
        charged: All units ever taken; tells how much went out since a mark.
        returned: All units ever given back of them.
        corrected: All that reports added to what we took ourselves, less what they took off.
        disproved: All that we believed to be used and reports took off.
        unconfirmed: Units sent whose answer has not been seen yet.
        drift_per_s: Units a second that somebody else takes, decaying average.
        ballot: The votes on its algorithm, while reports tell of it.
        observed_at: When the provider last spoke of it; `None` never.
    """

    __slots__ = (
        "_pace",
        "_paced",
        "_paced_at",
        "_spread",
        "_watched_from",
        "at",
        "ballot",
        "capacity",
        "charged",
        "confidence",
        "corrected",
        "declared",
        "dimension",
        "disproved",
        "drift_per_s",
        "index",
        "label",
        "name",
        "observed_at",
        "period_s",
        "provenance",
        "returned",
        "unconfirmed",
        "used",
    )
    algorithm: Algorithm

    def __init__(
        self,
        dimension: Dimension,
        capacity: float,
        period_s: float,
        now: float,
        *,
        provenance: Provenance = Provenance.DECLARED,
        label: str = "",
    ) -> None:
        self.dimension = dimension
        self.index = INDEX_OF[dimension]
        self.capacity = float(capacity)
        self.period_s = period_s
        self.at = now
        self.used = 0.0
        self.charged = 0.0
        self.returned = 0.0
        self.corrected = 0.0
        self.disproved = 0.0
        self.unconfirmed = 0.0
        self.provenance = provenance
        self.declared: float | None = float(capacity) if provenance is Provenance.DECLARED else None
        self.confidence = 1.0 if provenance is not Provenance.INFERRED else 0.3
        self.observed_at: float | None = None
        self.ballot: Ballot | None = None
        self.drift_per_s = 0.0
        self.label = label
        self._rename()
        self._watched_from = self._paced_at = now
        self._paced = self._pace = self._spread = 0.0

    def _rename(self) -> None:
        """Say what it counts and over how long: `tokens per minute`."""
        if self.algorithm is Algorithm.CONCURRENT:
            self.name = f"{self.label} calls at once".lstrip()
            return
        period = _PERIOD_NAMES.get(self.period_s, f"{self.period_s:g} s")
        self.name = f"{self.label} {self.dimension.value} per {period}".lstrip()

    @property
    def is_guess(self) -> bool:
        """Whether it is our own caution alone, which no word of the provider's supports."""
        return False

    def room(self, now: float) -> float:
        """Return the units that fit now, refilling first."""
        raise NotImplementedError

    def lacks(self, amount: float, now: float) -> bool:
        """Tell whether *amount* does not fit now; what jitter may refuse does not fit."""
        return amount > self.room(now) + EPSILON

    def take(self, amount: float, now: float) -> Any:
        """Charge *amount* whether or not it fits; return the mark of this charge."""
        raise NotImplementedError

    def give_back(self, amount: float, mark: Any, now: float) -> None:
        """Return up to *amount* of the charge that got *mark*, never what has refilled since."""
        raise NotImplementedError

    def fits_at(self, amount: float, now: float) -> float:
        """Return the instant at which *amount* fits if nobody else takes; `inf` if never."""
        raise NotImplementedError

    def units_by(self, at: float, now: float) -> float:
        """Return all units that can be taken from now until *at*, if nobody else takes.

        What comes back when a call ends is not foretold: a window of such is no bound.
        """
        raise NotImplementedError

    def resets_in(self, now: float) -> float | None:
        """Return seconds until it is as new; `None` when that is not a matter of time."""
        raise NotImplementedError

    def refills_per_s(self) -> float:
        """Return the units that come back a second by time alone; 0 where that is no rate."""
        return 0.0

    def strain(self, now: float) -> float:
        """Return the used share as a choice should weigh it, 0 to 1 (or more when overdrawn)."""
        return self.pressure(now)

    def pressure(self, now: float) -> float:
        """Return the share that is used, 0 to 1 (or more when overdrawn)."""
        return 1.0 - self.room(now) / self.capacity if self.capacity > 0 else 1.0

    def pace(self, now: float) -> tuple[float, float]:
        """Return units used a second, decaying average, and its spread as a share of it."""
        self._sample(now)
        return self._pace, min(1.0, self._spread / self._pace) if self._pace > 0 else 0.0

    def watched_s(self, now: float) -> float:
        """Return seconds since the pace is being watched."""
        return now - self._watched_from

    def counted(self, now: float) -> float:
        """Return all units that the provider has counted, ours and others', as far as it told.

        Its growth is what two windows of one scope have in common.
        """
        self.room(now)
        return self.charged - self.returned + self.corrected

    def observe(
        self, used_low: float, used_high: float, *, since: float, age_s: float, now: float
    ) -> float:
        """Hold the window against a report of what was used.

        Args:
            used_low: The least that the report can mean (figures are rounded).
            used_high: The most.
            since: Units we charged after the reported request was sent.
            age_s: Seconds since that request was sent: the report's age at most.
            now: Epoch seconds.

        Returns:
            The correction made: positive when somebody else had taken units,
            negative when less was used than we believed, 0 when it agrees.
        """
        self.room(now)
        refilled = self.refills_per_s() * age_s
        # Calls overtake each other: what we sent since may be counted already, or not yet.
        low = max(0.0, used_low - refilled)
        high = max(low, used_high + max(0.0, since - refilled, self.unconfirmed))
        before, first = self.used, self.observed_at is None
        if first and self.provenance is not Provenance.DECLARED:
            self._move_to(max(high, 0.0), now)
            self.observed_at = now
            return 0.0
        if before < low:
            self._move_to(low, now)
        elif before > high:
            self._move_to(high, now)
        correction = self.used - before
        self.corrected += correction
        if correction < 0.0:
            self.disproved -= correction
        self._note_drift(correction, now)
        self.observed_at = now
        return correction

    def mirror(self, used: float, now: float) -> None:
        """Take over how much of it all processes have used."""
        self.room(now)
        self._move_to(max(0.0, used), now)

    def keep_no_slack(self) -> None:
        """Give out all that there is: no network lies between it and its calls."""

    def widen_margin(self) -> None:
        """Leave more over from now on: a call was refused that should have fit."""

    def forget_drift(self) -> None:
        """Believe that nobody else takes from it, until a report says so again."""
        self._set_drift(0.0)

    def resize(self, capacity: float, provenance: Provenance) -> None:
        """Change the capacity; what is used stays used."""
        self.capacity = float(capacity)
        self.provenance = provenance
        self.confidence = 1.0

    def _sample(self, now: float) -> None:
        elapsed = now - self._paced_at
        if elapsed < SAMPLE_S:
            return
        used_in_all = self.counted(now)
        now_pace = max(0.0, used_in_all - self._paced) / elapsed
        weight = 1.0 - math.exp(-elapsed / _PACE_MEMORY_S)
        if self._paced_at == self._watched_from:
            weight = 1.0
        self._spread += weight * (abs(now_pace - self._pace) - self._spread)
        self._pace += weight * (now_pace - self._pace)
        self._paced_at, self._paced = now, used_in_all

    def _move_to(self, used: float, now: float) -> None:
        del now
        self.used = used

    def _note_drift(self, correction: float, now: float) -> None:
        """Fold a correction into the decaying rate at which others take from this window."""
        if self.observed_at is None or self.period_s <= 0:
            return
        drift = self.drift_per_s
        if correction:
            drift += correction / _DRIFT_MEMORY_S
        elif not drift:
            return
        elif drift < self.capacity * 1e-5:
            drift = 0.0
        else:
            drift *= math.exp(-max(0.0, now - self.observed_at) / _DRIFT_MEMORY_S)
        self._set_drift(max(0.0, drift))

    def _set_drift(self, drift_per_s: float) -> None:
        self.drift_per_s = drift_per_s
