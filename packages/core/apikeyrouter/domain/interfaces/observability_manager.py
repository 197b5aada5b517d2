"""The contract of whatever receives events and log lines."""

from abc import ABC, abstractmethod
from typing import Any

from apikeyrouter.domain.feed.events import Event


class ObservabilityManager(ABC):
    """Two outputs: events for machines, log lines for people. Neither may wait or raise."""

    @abstractmethod
    def emit(self, event: Event) -> None:
        """Take one event."""

    def wants(self, kind: type[Event]) -> bool:
        """Tell whether events of *kind* are to be made at all; asked once, at the start."""
        del kind
        return True

    @abstractmethod
    def log(self, level: str, message: str, **context: Any) -> None:
        """Take one line; *context* never holds a secret."""
