"""A provider's circuit for one model: closed, open, or half-open with one probe.

Refusals and client errors never count. An open circuit is a wait like any
other: requests queue for its next probe instead of failing.
"""

from dataclasses import dataclass

#: Failures in a row that open a circuit; one that nobody answered at all opens at once.
FAILURES_TO_OPEN = 5
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
#: A probe that nobody reported back on is forgotten after this long.
PROBE_PATIENCE_S = 30.0


@dataclass(slots=True)
class Circuit:
    """Counts failures in a row; `open_until` is the instant of the next probe."""

    failures: int = 0
    open_until: float = 0.0
    pause_s: float = 0.0
    probe_since: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is anything but closed."""
        return self.open_until > 0.0

    def blocked_until(self, now: float) -> float:
        """Return the instant at which one call may pass; 0 when one may now."""
        if self.open_until <= 0.0:
            return 0.0
        if now < self.open_until:
            return self.open_until
        if self.probe_since is not None and now - self.probe_since < PROBE_PATIENCE_S:
            return now + self.pause_s
        return 0.0

    def note_call(self, now: float) -> None:
        """Mark a call that passes while half-open as the probe."""
        if self.open_until > 0.0:
            self.probe_since = now

    def note_success(self) -> bool:
        """Close it; tell whether it had been open."""
        was_open = self.open_until > 0.0
        self.failures, self.open_until, self.pause_s, self.probe_since = 0, 0.0, 0.0, None
        return was_open

    def release_probe(self) -> None:
        """Let another call be the probe: this one told nothing of the provider."""
        self.probe_since = None

    def note_failure(self, now: float, *, at_once: bool = False) -> bool:
        """Count a failure; tell whether the circuit opened or stays open for longer."""
        self.failures += 1
        if not at_once and self.failures < FAILURES_TO_OPEN and not self.is_open:
            return False
        if now >= self.open_until:
            self.pause_s = min(LONGEST_PAUSE_S, self.pause_s * 2.0 or FIRST_PAUSE_S)
            self.open_until = now + self.pause_s
        self.probe_since = None
        return True
