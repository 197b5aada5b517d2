"""A provider's circuit for one model: closed, open, or half-open with one probe.

Refusals and client errors never count; streams that break off after their beginning
have a count of their own. An open circuit is a wait like any
other: requests queue for its next probe instead of failing. Calls that were under
way together when it opened are one outage: what becomes of them later neither
opens it again nor lets it rest for longer. When it closes,
waiting requests are not released all at once: each answer admits two more calls, so that
their number doubles with every round until all are admitted.
"""

import math
from dataclasses import dataclass, field

from apikeyrouter.domain.cooldown import Cooldown
from apikeyrouter.domain.ledger.ledger import Shortfall

#: Failures in a row that open a circuit; one that nobody answered at all opens at once.
FAILURES_TO_OPEN = 5
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
#: Streams in a row that break off midway before it opens; those that run together are one.
BREAKS_TO_OPEN = 3
#: A probe that nobody reported back on is forgotten after this long.
PROBE_PATIENCE_S = 30.0
_SHORTEST_PATIENCE_S = 1.0
#: Calls that each answer admits after an outage, and the number from which all are admitted.
_RAMP_STEP = 2
_RAMP_ENDS_AT = 64
_IS_OPEN = "the provider fails; its circuit is open"


@dataclass(slots=True)
class Circuit:
    """Counts failures in a row.

    Attributes:
        cooldown: Until the next probe, and the class of the failure that asks for it; its end
            is 0 while closed.
        opened_at: When it opened last; 0 if it never did.
        answered_at: When the provider let a call in for the last time.
        ramp: Calls that may begin while it recovers; `None` when any may.
        breaks: Streams in a row that broke off; only one that comes to its end ends the row.
    """

    failures: int = 0
    cooldown: Cooldown = field(default_factory=Cooldown)
    opened_at: float = 0.0
    answered_at: float = 0.0
    pause_s: float = 0.0
    probe_since: float | None = None
    ramp: int | None = None
    breaks: int = 0
    broke_at: float = 0.0
    #: How long a probe may take to report back.
    patience_s: float = PROBE_PATIENCE_S

    @property
    def breaks_off(self) -> bool:
        """Whether the head of a stream says nothing: its end has to come too."""
        return self.breaks >= BREAKS_TO_OPEN

    @property
    def is_open(self) -> bool:
        """Whether it is anything but closed."""
        return self.cooldown.until > 0.0

    def blocked_until(self, now: float) -> float:
        """Return the instant at which one call may pass; 0 when one may now."""
        if self.cooldown.until <= 0.0:
            return now + PROBE_PATIENCE_S if self.ramp is not None and self.ramp <= 0 else 0.0
        if now < self.cooldown.until:
            return self.cooldown.until
        if self.probe_since is not None and now - self.probe_since < self.patience_s:
            return now + self.pause_s
        return 0.0

    def shortfall(self, now: float) -> Shortfall | None:
        """Return what keeps calls out now, and until when; `None` when one may pass."""
        opens_at, cause = self.blocked_until(now), self.cooldown.cause
        return Shortfall(_IS_OPEN, 0.0, 0.0, opens_at, cause=cause) if opens_at else None

    @property
    def awaits_answer(self) -> bool:
        """Whether the answer to a running call may let others in."""
        return self.probe_since is not None or self.ramp is not None

    def note_call(self, now: float) -> bool:
        """Mark a call that passes while half-open as the probe, and count it while it recovers.

        Returns:
            Whether it was marked or counted: then its end has to be told.
        """
        if self.cooldown.until > 0.0:
            self.probe_since = now
        elif self.ramp is not None:
            self.ramp -= 1
        else:
            return False
        return True

    def note_success(self) -> bool:
        """Close it; tell whether it had been open."""
        was_open = self.cooldown.until > 0.0
        self.failures, self.probe_since = 0, None
        self.cooldown.end()
        if not self.breaks_off:
            self.pause_s = 0.0
        if was_open:
            self.ramp = _RAMP_STEP
        elif self.ramp is not None:
            self.ramp += _RAMP_STEP
            if self.ramp >= _RAMP_ENDS_AT:
                self.ramp = None
        return was_open

    def note_break(self, began_at: float, now: float) -> bool:
        """Count a stream that broke off midway; tell whether too many did so in a row.

        From then on a probe need only live twice as long as this one for the next to pass.
        """
        if began_at >= self.broke_at:
            self.breaks += 1
            self.broke_at = now
            lived_s = max(_SHORTEST_PATIENCE_S, 2.0 * (now - began_at))
            self.patience_s = min(PROBE_PATIENCE_S, lived_s)
        return self.breaks_off

    def note_end(self) -> None:
        """Note that a stream came to its end."""
        self.breaks, self.patience_s = 0, PROBE_PATIENCE_S

    def release_probe(self) -> None:
        """Let another call be the probe: this one told nothing of the provider."""
        self.probe_since = None
        if self.ramp is not None:
            self.ramp += 1

    def note_failure(
        self, now: float, cause: str = "", *, began_at: float = math.inf, at_once: bool = False
    ) -> bool:
        """Count a failure of class *cause*; tell whether it opened, or stays open for longer.

        Args:
            began_at: When the failed call began; from before the last opening it tells nothing new.
            at_once: It opens whatever went before.
        """
        if began_at < self.opened_at:
            return False
        self.failures += 1
        if self.ramp is not None:
            self.ramp += 1
        if not at_once and self.failures < FAILURES_TO_OPEN and not self.is_open:
            return False
        if now >= self.cooldown.until:
            self.pause_s = min(LONGEST_PAUSE_S, self.pause_s * 2.0 or FIRST_PAUSE_S)
            self.cooldown.extend(now + self.pause_s, cause)
            self.opened_at = now
        self.probe_since = self.ramp = None
        return True
