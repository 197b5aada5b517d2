"""What all attempts share: the components that they use, the event feed, and the clock."""

from collections.abc import Callable
from dataclasses import dataclass

from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.components.quota_awareness_engine import QuotaAwarenessEngine
from apikeyrouter.domain.components.routing_engine import RoutingEngine
from apikeyrouter.domain.feed.event_feed import EventFeed
from apikeyrouter.domain.feed.events import RequestEnded
from apikeyrouter.domain.feed.request_events import ended_event
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Ledger
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
    feed: EventFeed
    cooldown_s: float
    quota_cooldown_s: float
    on_invalid: Callable[[KeySlot], None]
    #: Takes the record of a request that has come to its end.
    keep: Callable[[DecisionRecord], None]

    def end_request(self, record: DecisionRecord, outcome: str, now: float | None = None) -> None:
        """Keep the record of a request that came to its end, and tell; the first end counts."""
        if record.outcome:
            return
        if now is None:
            now = self.clock()
        record.end(outcome, now)
        self.keep(record)
        if self.feed.wants(RequestEnded):
            self.feed.emit(ended_event(record, now))
