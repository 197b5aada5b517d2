"""What is being found out of one scope whose limits nobody tells."""

from dataclasses import dataclass, field
from enum import Enum

from apikeyrouter.domain.accounts.searching.doubt import Doubt, GuessedMinute
from apikeyrouter.domain.accounts.searching.pace import Pace
from apikeyrouter.domain.accounts.searching.ramp import Ramp
from apikeyrouter.domain.ledger.algorithms import Concurrent, RollingWindow
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension

#: A limit is raised by one call at once no sooner than this after the last time, and later with
#: every refusal that confirms it.
ONE_MORE_AFTER_S, LATEST_ONE_MORE_S = 20.0, 80.0
#: A pace that was guessed so short a time ago, and confirmed by so few calls, is a guess still.
_NEW_S, _CONFIRMED_BY = 5.0, 6


class Explanation(Enum):
    """Why calls are refused."""

    CALLS_AT_ONCE = "calls at once"
    PACE = "pace"
    LAST_MINUTE = "last minute"


@dataclass(slots=True)
class Gate:
    """One call finds out whether a refusal was chance; no more than those under way beside it.

    Attributes:
        since, served, calls: When it began, the answers by then, the calls under way.
        refused: How many of those were refused as well.
    """

    window: Concurrent
    since: float
    served: int
    calls: int
    refused: int = 0


@dataclass(slots=True)
class Trial:
    """Calls at once are tried as the explanation.

    Attributes:
        since, served: When it began, and how many calls had been let in.
        per_s: What a bucket would let in.
        refused: How often since.
    """

    since: float
    served: int
    per_s: float
    refused: int = 0


def _log() -> RollingWindow:
    return RollingWindow(Dimension.REQUESTS, float("inf"), MINUTE_S, 0.0)


@dataclass(slots=True)
class SearchState:
    """What is being found out of one scope.

    Attributes:
        ramp: Lets few calls at once through; one more with every answer until `is_met`.
        since: When counting began, at the first call or the last refusal.
        served: The count of calls let in at that instant.
        has_stood_still: Nothing was let in since that refusal.
        is_paced: A pace has let in what it foretold: a bucket it is.
        has_begun_anew: A guess was refuted before.
        puzzled: The count of calls let in at the last refusal that may be chance.
        one_more_s: How long calls at once stay as they are before one more is tried.
        busy_step: So many more are tried where a busy provider has refused, not a limit; 0 if none
            has.
        served_before: Calls served until the last refusal that calls at once explained.
        log: What was let in within the last minute.
    """

    since: float
    served: int
    has_stood_still: bool = False
    ramp: Ramp | None = None
    is_met: bool = False
    raised_at: float = 0.0
    one_more_s: float = ONE_MORE_AFTER_S
    busy_step: int = 0
    explanation: Explanation | None = None
    trial: Trial | None = None
    served_before: int = -1
    pace: Pace | None = None
    minute: GuessedMinute | None = None
    minute_grown_at: float = 0.0
    puzzled: int = -1
    gate: Gate | None = None
    is_paced: bool = False
    has_begun_anew: bool = False
    log: RollingWindow = field(default_factory=_log)

    def discount_one(self) -> None:
        """Count one of the calls that were under way at a refusal as refused as well."""
        self.served -= 1
        if self.puzzled > 0:
            self.puzzled -= 1

    def windows(self) -> list[Window]:
        """Return the guesses that are in force."""
        gate = self.gate.window if self.gate is not None else None
        return [w for w in (self.ramp, self.pace, self.minute, gate) if w is not None]

    def doubt(self) -> Doubt | None:
        """Return when more is tried than is guessed; `None` where nothing is guessed."""
        if self.minute is not None:
            return self.minute.doubt
        return self.pace.doubt if self.pace is not None else None

    def is_refuted(self, now: float) -> bool:
        """Tell whether far more was let in than was guessed."""
        if self.minute is not None:
            return self.minute.doubt.refutes_minute(self.minute.capacity)
        pace, doubt = self.pace, self.doubt()
        return (
            pace is not None
            and doubt is not None
            and doubt.refutes_pace(pace.rate, pace.ceiling, now - self.since)
        )

    def guessed_per_s(self) -> float:
        """Return the calls a second that are guessed to be let in."""
        if self.minute is not None:
            return self.minute.capacity / self.minute.period_s
        return self.pace.rate if self.pace is not None else 0.0

    def begin_anew(self, served: int, now: float) -> None:
        """Forget what was guessed, once its windows are lifted."""
        self.since, self.served, self.puzzled = now, served, -1
        self.explanation = self.trial = None
        self.is_met = self.is_paced = self.has_stood_still = False
        self.has_begun_anew = True
        if self.ramp is not None:
            self.ramp.is_met = False

    def has_guessed_pace(self, served: int, now: float) -> bool:
        """Tell whether a pace was guessed a moment ago that no answer has confirmed."""
        is_new = now - self.since < _NEW_S and served - self.served < _CONFIRMED_BY
        return self.pace is not None and self.minute is None and is_new
