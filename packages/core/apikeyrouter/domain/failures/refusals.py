"""What one account refuses of one model at one endpoint, and for how long that is believed.

Any client can bring a refusal about, so the first rest is short and grows with each refusal that
follows it; an answer ends all of them. A refusal without a reason, or of a model that has just
worked, may be the request's own fault: it counts once other requests, of other sizes, are refused
as well while none succeeds.
Refusals live with their candidate and are forgotten with it.
"""

from dataclasses import dataclass, field

from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.models.demand import Demand

#: Requests that are told apart; of more than these the oldest is forgotten.
_SUSPECTS_KEPT = 8
#: Keys of one account with a refusal of their own.
_KEYS_KEPT = 256


@dataclass(slots=True)
class Refusals:
    """Refusals in a row.

    Attributes:
        until: No key of the account is asked before this instant.
        until_by_key: No call before that instant with these keys.
        cause: The failure class of the last one.
        rests: How often in a row it was put aside.
        noted_at: When that was the last time.
        suspects: Sizes of requests that may have been at fault themselves.
    """

    until: float = 0.0
    until_by_key: dict[KeySlot, float] = field(default_factory=dict)
    cause: str = ""
    rests: int = 0
    noted_at: float = 0.0
    suspects: list[int] = field(default_factory=list)

    def holds(self, now: float) -> bool:
        """Tell whether nobody of the account is asked now; a rest that is over is forgotten."""
        if self.until and self.until <= now:
            self.until = 0.0
        return self.until > 0.0

    def ends_at(self, slot: KeySlot) -> float:
        """Return the instant before which *slot* is not asked; 0 if it may be."""
        return max(self.until, self.until_by_key.get(slot, 0.0))

    def is_borne_out_by(self, demand: Demand, requests: int) -> bool:
        """Note a refusal; tell whether so many different *requests* have met it by now.

        One that was sent again tells nothing new.
        """
        size = hash((demand.input_tokens, demand.output_cap, demand.stream))
        if size in self.suspects:
            return False
        self.suspects.append(size)
        del self.suspects[:-_SUSPECTS_KEPT]
        return len(self.suspects) >= requests

    def count(self, cause: str, began_at: float, now: float) -> int:
        """Count one more; return how many in a row. Calls under way together count once."""
        if not self.rests or began_at >= self.noted_at:
            self.rests += 1
            self.noted_at = now
        self.cause = cause
        return self.rests

    def forget(self, slot: KeySlot) -> None:
        """Note an answer to *slot*; what other keys alone are refused stays."""
        self.until, self.rests = 0.0, 0
        self.suspects.clear()
        self.until_by_key.pop(slot, None)

    def rest(self, until: float, slot: KeySlot | None = None) -> None:
        """Ask nobody of the account before *until*, or only *slot* not."""
        if slot is None:
            self.until = max(self.until, until)
            return
        if len(self.until_by_key) >= _KEYS_KEPT:
            del self.until_by_key[next(iter(self.until_by_key))]
        self.until_by_key[slot] = until
