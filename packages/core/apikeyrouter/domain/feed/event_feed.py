"""The event feed: who receives events, and which kinds anybody reads."""

from collections.abc import Callable
from typing import get_args

from apikeyrouter.domain.feed.events import Event
from apikeyrouter.domain.interfaces.observability_manager import ObservabilityManager


class EventFeed:
    """Passes events to the observability manager and to listeners, at once and in order.

    Attributes:
        listeners: Told of every event, such as a table that shows the router at work.
    """

    __slots__ = ("_manager", "_wanted", "listeners")

    def __init__(self, manager: ObservabilityManager) -> None:
        self._manager = manager
        self._wanted = frozenset(kind for kind in get_args(Event) if manager.wants(kind))
        self.listeners: list[Callable[[Event], None]] = []

    def wants(self, kind: type[Event]) -> bool:
        """Tell whether anybody reads events of *kind*; ask before you make one for each request."""
        return kind in self._wanted or bool(self.listeners)

    def emit(self, event: Event) -> None:
        """Deliver *event* to everybody who reads it."""
        if type(event) in self._wanted:
            self._manager.emit(event)
        for listener in self.listeners:
            listener(event)
