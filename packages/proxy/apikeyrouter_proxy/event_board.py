"""The router's events, counted and put into words for a screen.

Events come on the router's thread and are read on another one: what is read is replaced,
never changed in place.
"""

from collections import Counter

from apikeyrouter.service import events, instant

_LINES_KEPT = 6
#: Attempts that ended so have gone into a limit.
_REFUSED = frozenset({"rate_limited", "rate_limited_day", "slow_down", "in_flight_budget"})


class EventBoard:
    """Counts what it is told.

    Attributes:
        waiting: Requests that wait for room now.
        in_flight: Attempts under way by key.
        served: Attempts that ended well by key.
        refused: Attempts that went into a limit by key.
        lines: What happened of late to keys, limits and providers, in words.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.in_flight: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.lines: tuple[str, ...] = ()

    def note(self, event: events.Event) -> None:
        """Take in one event."""
        match event:
            case events.RequestQueued() | events.RequestDequeued():
                self.waiting = event.waiting
            case events.AttemptStarted():
                self.in_flight[event.key_id] += 1
            case events.AttemptEnded():
                self._note_end(event)
            case _ if words := words_of(event):
                line = f"{instant(event.at):%H:%M:%S} {words}"
                self.lines = (*self.lines, line)[-_LINES_KEPT:]

    def _note_end(self, event: events.AttemptEnded) -> None:
        self.in_flight[event.key_id] -= 1
        self.served[event.key_id] += event.outcome == "ok"
        self.refused[event.key_id] += event.outcome in _REFUSED


def words_of(event: events.Event) -> str:
    """Put what happened to a key, a limit or a provider into words; nothing for a request."""
    match event:
        case events.LimitLearned():
            return f"{event.scope_id} allows {event.after:,.0f} {event.window} ({event.provenance})"
        case events.ScopesJoined():
            verb = "shares the limits of" if event.joined else "has limits apart from"
            return f"{event.other_id} {verb} {event.scope_id} ({event.basis})"
        case events.KeyMoved():
            return f"{event.key_id} is {event.to_state} ({event.trigger})"
        case events.CircuitMoved():
            circuit = f"{event.provider_id}/{event.model}"
            return f"the circuit of {circuit} is {event.to_state} ({event.trigger})"
        case events.Rested():
            return f"{event.scope_id} is left alone for {event.seconds:.1f} s ({event.cause})"
        case _:
            return ""
