"""What all attempts share: whom they ask, whom they tell, and the clock."""

from collections.abc import Callable
from dataclasses import dataclass

from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.components.quota_awareness_engine import QuotaAwarenessEngine
from apikeyrouter.domain.components.routing_engine import RoutingEngine
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Ledger
from apikeyrouter.domain.models.events import Event
from apikeyrouter.domain.routing.decision_record import DecisionRecord


@dataclass(slots=True, frozen=True)
class AttemptContext:
    """What all attempts share.

    Attributes:
        clock: The router's steady time: of waits, windows and deadlines.
        wall: The wall clock's epoch seconds, by which providers name instants.
        cooldown_s: First rest of a throttled key whose provider named no moment.
        quota_cooldown_s: First rest of an exhausted key whose provider named no moment.
        on_invalid: Told when a key was refused as a credential.
    """

    engine: RoutingEngine
    ledger: Ledger
    awareness: QuotaAwarenessEngine
    manager: KeyManager
    clock: Callable[[], float]
    wall: Callable[[], float]
    emit: Callable[[Event], None]
    #: Whether anybody reads of attempts that end: they are many.
    tells_attempts: Callable[[], bool]
    cooldown_s: float
    quota_cooldown_s: float
    on_invalid: Callable[[KeySlot], None]
    #: Takes the record of a request that has come to its end.
    keep: Callable[[DecisionRecord], None]
