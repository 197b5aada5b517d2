"""What was served of one key or one scope, in counts."""

from dataclasses import dataclass, field
from typing import Any

from apikeyrouter_simulator.quotas.limits import ScopeLimits
from apikeyrouter_simulator.scenario import ScopeFacts


@dataclass(slots=True)
class Tally:
    """What was served of one key or one scope."""

    accepted: int = 0
    refused: int = 0
    failed: int = 0
    cancelled: int = 0
    listed: int = 0
    free: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    refused_by: dict[str, int] = field(default_factory=dict)
    failed_by: dict[str, int] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {name: getattr(self, name) for name in Tally.__slots__}


@dataclass(slots=True, eq=False)
class SimScope:
    """A scope at work.

    Attributes:
        is_drawn_on: A key draws on it now.
        past_ideal: The most calls that it could serve while keys drew on it before.
    """

    name: str
    facts: ScopeFacts
    limits: ScopeLimits
    is_drawn_on: bool = True
    past_ideal: float = 0.0
    tally: Tally = field(default_factory=Tally)
