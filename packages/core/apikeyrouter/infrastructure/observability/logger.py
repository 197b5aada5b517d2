"""Events and lines as structured log on stderr, with secrets masked.

The host application's own logging, and its structlog, are left as they are.
"""

import logging
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import structlog

from apikeyrouter.domain.feed.events import (
    AttemptEnded,
    AttemptStarted,
    CircuitMoved,
    Event,
    KeyMoved,
    RequestArrived,
    RequestDequeued,
    RequestEnded,
    RequestQueued,
    Rested,
)
from apikeyrouter.domain.interfaces.observability_manager import ObservabilityManager
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.domain.models.routing_decision import instant
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.errors import ConfigurationError

_LEVELS: Mapping[str, int] = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
}
#: Levels of events that are not written as INFO.
_EVENTS: Mapping[type[Event], int] = {
    CircuitMoved: logging.WARNING,
    Rested: logging.WARNING,
    RequestArrived: logging.DEBUG,
    RequestQueued: logging.DEBUG,
    RequestDequeued: logging.DEBUG,
    AttemptStarted: logging.DEBUG,
    AttemptEnded: logging.DEBUG,
    RequestEnded: logging.DEBUG,
}
_OTHER = logging.INFO
#: Those that may be told at a higher level than their own.
_HIGHEST: Mapping[type[Event], int] = {KeyMoved: logging.WARNING}
_SECRET = re.compile(
    r"\b(?:(?:sk|xai|pplx|csk)-|(?:gsk|tgp|fw|hf)_|AIza|Bearer\s+)[\w.\-*+/=~]{4,}",
    re.IGNORECASE,
)
#: What a line says of itself; a context of the same name gets another one.
_OWN_NAMES = frozenset(("event", "timestamp"))


class DefaultObservabilityManager(ObservabilityManager):
    """Writes to stderr, one JSON object a line, what is at or above *level*.

    Args:
        level: `DEBUG`, `INFO`, `WARNING`, `ERROR` or `CRITICAL`.

    Raises:
        ConfigurationError: Another level.
    """

    def __init__(self, level: str = "INFO") -> None:
        if level.upper() not in _LEVELS:
            raise ConfigurationError(f"unknown log level '{level}'; known are {', '.join(_LEVELS)}")
        self._least = _LEVELS[level.upper()]
        self._log = structlog.wrap_logger(
            _Stderr(),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
                _mask_line,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self._least),
            context_class=dict,
            cache_logger_on_first_use=True,
        )

    def wants(self, kind: type[Event]) -> bool:
        """Tell whether facts of *kind* are ever written at this level.

        A subclass that takes facts itself wants all of them, unless it says otherwise.
        """
        takes_itself = type(self).emit is not DefaultObservabilityManager.emit
        return takes_itself or _HIGHEST.get(kind, _EVENTS.get(kind, _OTHER)) >= self._least

    def emit(self, event: Event) -> None:
        """Write one fact, if its level is asked for."""
        level = _EVENTS.get(type(event), _OTHER)
        if isinstance(event, KeyMoved) and event.to_state == KeyState.INVALID:
            level = _HIGHEST[KeyMoved]
        if level >= self._least:
            facts = msgspec.structs.asdict(event)
            if isinstance(usage := facts.get("usage"), Usage):
                del facts["usage"]
                facts |= usage.parts()
            facts["at"] = instant(event.at).isoformat(timespec="milliseconds")
            self._write(level, _words_of(type(event)), facts)

    def log(self, level: str, message: str, **context: Any) -> None:
        """Write one line; a level that is none counts as `INFO`."""
        number = _LEVELS.get(level.upper(), logging.INFO)
        if number >= self._least:
            self._write(number, message, context)

    def _write(self, level: int, text: str, context: dict[str, Any]) -> None:
        named = {f"{k}_" if k in _OWN_NAMES else k: v for k, v in context.items()}
        try:
            self._log.log(level, text, **named)
        except Exception:  # noqa: BLE001 - a repr that raises, a closed stderr: no line is worth a request
            return


@cache
def _words_of(kind: type[Event]) -> str:
    """Name an event as its class is named: `key moved`."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower()


class _Stderr:
    """The stream that is stderr when a line is written, if there is one."""

    def msg(self, line: str) -> None:
        """Write one line."""
        stream = sys.stderr
        if stream is not None:
            stream.write(line + "\n")

    debug = info = warning = error = critical = msg


def mask_secrets(text: str) -> str:
    """Replace whatever looks like a credential."""
    return _SECRET.sub("[masked]", text)


def _mask_line(_: Any, __: str, line: Any) -> str:
    """Mask the line as it will be written, so that nothing inside of a value is missed."""
    return mask_secrets(line)
