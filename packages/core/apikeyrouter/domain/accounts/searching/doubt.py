"""A guess may be wrong: now and then a call is tried beyond what it lets in.

Else an account would rest for a minute, and its clients with it, because two refusals that had
another reason came at an unlucky moment. Of the accounts of one provider one is tried for all.
"""

import math
from collections import deque
from dataclasses import dataclass

from apikeyrouter.domain.ledger.algorithms import RollingWindow
from apikeyrouter.domain.limits.observation import Dimension, Provenance

#: A guess is first doubted so soon, and more seldom after every refusal.
_FIRST_S, _SELDOMER, _LATEST_S = 5.0, 3.0, 900.0
#: Calls beyond it that were not refused within so long were let in; then more are tried.
_ROUND_S, _ANSWERED_WITHIN_S = 0.5, 1.0
_MORE, _MOST = 2, 64
#: So many calls beyond a guess refute it, and such a part of a minute up to so many.
_REFUTING, _REFUTING_OF, _REFUTING_ALL = 6, 0.05, 20
#: A guessed pace is under the true one, which is this of the refused one: what adds up meanwhile
#: is no more than so much of it.
NEAR, _TRUE, _ADDS_UP = 0.95, 1.1, 1.5
#: A guess that was confirmed so often is a bound on what can be promised to who waits.
_CONFIRMED_BY = 2
NO_BOUND = 1e12
#: After a guess was refuted refusals are taken to pass for so long, where so many calls and so
#: much more than was guessed were let in before.
_TRUST_S, _TELLING, _TELLING_MORE = 300.0, 10, 2.0


class Rounds:
    """When more is tried than is guessed of one provider's accounts.

    Calls go out in rounds: one, and twice as many after each of which none was refused.

    Attributes:
        at: When a call may go out beyond a guess.
        number, refusals: Rounds begun, and how often one of their calls was refused.
        processes: How many share the accounts: each tries so much less often.
    """

    __slots__ = ("_begun_at", "_gap_s", "_left", "_most", "at", "number", "processes", "refusals")

    def __init__(self, now: float) -> None:
        self._gap_s = _FIRST_S
        self._most = self._left = 1
        self._begun_at = -math.inf
        self.at = now + _FIRST_S
        self.number = self.refusals = 0
        self.processes = 1

    def begin(self, now: float) -> None:
        """Note that a call goes out beyond a guess."""
        if self._left == self._most:
            self.number += 1
        self._begun_at = now
        self._left -= 1
        if self._left <= 0:
            self._most = self._left = min(_MOST, _MORE * self._most)
            self.at = now + _ROUND_S

    def is_under_way(self, now: float) -> bool:
        """Tell whether a refusal now may be that of a call beyond."""
        return now - self._begun_at < _ANSWERED_WITHIN_S

    def refuse(self, now: float) -> None:
        """Fold in that one of them was refused."""
        self.refusals += 1
        self._gap_s = min(_LATEST_S, _SELDOMER * self._gap_s)
        self._most = self._left = 1
        self._begun_at = -math.inf
        self.rest(now)

    def rest(self, now: float) -> None:
        """Try no more for a while."""
        self.at = max(self.at, now + self._gap_s * self.processes)


class Doubt:
    """What came of trying more than one guess lets in.

    Attributes:
        let_in: How many calls were let in beyond it; a refusal takes half of them for chance.
    """

    __slots__ = ("_refusals", "_round", "_tried", "let_in", "rounds")

    def __init__(self, rounds: Rounds) -> None:
        self.rounds = rounds
        self._refusals = rounds.refusals
        self._round = self._tried = self.let_in = 0

    def is_due(self, now: float) -> bool:
        """Tell whether a call may go out beyond the guess."""
        return now >= self.rounds.at

    def begin(self, now: float) -> None:
        """Note that one does."""
        rounds = self.rounds
        rounds.begin(now)
        if self._refusals != rounds.refusals:
            self._refusals, self._tried = rounds.refusals, 0
            self.let_in //= 2
        elif self._round != rounds.number:
            self.let_in += self._tried
            self._tried = 0
        self._round = rounds.number
        self._tried += 1

    def restart(self, now: float) -> None:
        """Forget what was let in: the guess itself was refused, and has changed."""
        self._tried = self.let_in = 0
        self.rounds.rest(now)

    def is_settled(self) -> bool:
        """Tell whether trying more was refused often enough to count on it."""
        return self.rounds.refusals >= _CONFIRMED_BY

    def refutes_pace(self, per_s: float, refused_per_s: float, elapsed_s: float) -> bool:
        """Tell whether far more was let in than *per_s* leaves over of the pace that was refused.

        Args:
            elapsed_s: Since that refusal.
        """
        least = min(per_s, NEAR * refused_per_s)
        left_over = (_TRUE * refused_per_s - least) * elapsed_s
        return self.let_in >= max(_REFUTING, _ADDS_UP * left_over)

    def refutes_minute(self, capacity: float) -> bool:
        """Tell whether far more was let in than *capacity*."""
        return self.let_in >= max(_REFUTING, min(_REFUTING_ALL, _REFUTING_OF * capacity))


@dataclass(frozen=True, slots=True)
class _Trust:
    """Until when refusals are taken to pass, and the calls a second that were too low a guess."""

    until: float
    per_s: float


class Doubts:
    """The doubts of all providers' guesses, and what was refuted of late."""

    def __init__(self) -> None:
        self._rounds: dict[str, Rounds] = {}
        self._trusted: dict[str, _Trust] = {}

    def of(self, provider_id: str, now: float) -> Doubt:
        """Return the doubt of a new guess; its provider's accounts are tried in turn."""
        rounds = self._rounds.get(provider_id)
        if rounds is None:
            rounds = self._rounds[provider_id] = Rounds(now)
        return Doubt(rounds)

    def refute(self, provider_id: str, per_s: float, now: float) -> None:
        """Note that far more was let in than *per_s*."""
        self._trusted[provider_id] = _Trust(now + _TRUST_S, per_s)
        self._rounds.pop(provider_id, None)

    def is_passing(self, provider_id: str, let_in: int, elapsed_s: float, now: float) -> bool:
        """Tell whether a refusal should soon be over: a guess was refuted, and more let in again.

        Args:
            let_in: Since the last refusal, in *elapsed_s*.
        """
        trusted = self._trusted.get(provider_id)
        if trusted is None or now >= trusted.until:
            return False
        return let_in >= _TELLING + _TELLING_MORE * trusted.per_s * elapsed_s


class GuessedMinute(RollingWindow):
    """What may be let in within a minute, as found by refusals.

    Attributes:
        doubt: When more is tried.
        tried_at: When it last was.
    """

    __slots__ = ("doubt", "tried_at")

    def __init__(
        self, dimension: Dimension, capacity: float, period_s: float, now: float, *, label: str
    ) -> None:
        super().__init__(
            dimension, capacity, period_s, now, provenance=Provenance.INFERRED, label=label
        )
        self.doubt = Doubt(Rounds(now))
        self.tried_at = -math.inf

    @classmethod
    def of(
        cls, counted: RollingWindow, capacity: float, period_s: float, now: float, label: str
    ) -> "GuessedMinute":
        """Return a guess of *capacity* that has counted what *counted* has."""
        counted.room(now)
        made = cls(counted.dimension, capacity, period_s, now, label=label)
        made._entries = deque(counted.charges())
        made.used = counted.used
        return made

    def lacks(self, amount: float, now: float) -> bool:
        """Tell whether *amount* does not fit and is not to be tried all the same."""
        return super().lacks(amount, now) and not self.doubt.is_due(now)

    def take(self, amount: float, now: float) -> list[float]:
        """Charge *amount*; beyond the guess it is a trial."""
        if super().lacks(amount, now):
            self.doubt.begin(now)
            self.tried_at = now
        return super().take(amount, now)

    def fits_at(self, amount: float, now: float) -> float:
        """Return when *amount* fits, or is tried all the same."""
        return max(now, min(super().fits_at(amount, now), self.doubt.rounds.at))

    def units_by(self, at: float, now: float) -> float:
        """Return what can be taken until *at*; a fresh guess is no bound."""
        return super().units_by(at, now) if self.doubt.is_settled() else NO_BOUND
