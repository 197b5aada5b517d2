"""What one account refuses of one model at one endpoint, and for how long that is believed.

Any client can bring a refusal about, so the first rest is short and grows with each refusal that
follows it; an answer ends all of them. A refusal without a reason, or of a model that has just
worked, may be the request's own fault: it counts once other requests, of other sizes, are refused
as well while none succeeds.
Refusals live with their candidate and are forgotten with it.
"""

from dataclasses import dataclass, field

from apikeyrouter.domain.cooldown import Cooldown
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.routing.demand import Demand

#: Requests that are told apart; of more than these the oldest is forgotten.
_SUSPECTS_KEPT = 8
#: Keys of one account with a refusal of their own.
_KEYS_KEPT = 256


@dataclass(slots=True)
class Refusals:
    """Refusals in a row.

    Attributes:
        cooldown: No key of the account is asked before it is over.
        cooldown_by_key: Nor are these keys before their own.
        rests: How often in a row it was put aside.
        noted_at: When that was the last time.
        suspects: Sizes of requests that may have been at fault themselves.
    """

    cooldown: Cooldown = field(default_factory=Cooldown)
    cooldown_by_key: dict[KeySlot, Cooldown] = field(default_factory=dict)
    rests: int = 0
    noted_at: float = 0.0
    suspects: list[int] = field(default_factory=list)

    def holds(self, now: float) -> bool:
        """Tell whether nobody of the account is asked now; a rest that is over is forgotten."""
        if self.cooldown.until and self.cooldown.until <= now:
            self.cooldown.end()
        return self.cooldown.until > 0.0

    def cooldown_of(self, slot: KeySlot) -> Cooldown:
        """Return what keeps *slot* from being asked for the longest."""
        own = self.cooldown_by_key.get(slot)
        return own if own is not None and own.until > self.cooldown.until else self.cooldown

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

    def count(self, began_at: float, now: float) -> int:
        """Count one more; return how many in a row. Calls under way together count once."""
        if not self.rests or began_at >= self.noted_at:
            self.rests += 1
            self.noted_at = now
        return self.rests

    def forget(self, slot: KeySlot) -> None:
        """Note an answer to *slot*; what other keys alone are refused stays."""
        self.cooldown.end()
        self.rests = 0
        self.suspects.clear()
        self.cooldown_by_key.pop(slot, None)

    def rest(self, until: float, cause: str, slot: KeySlot | None = None) -> None:
        """Ask nobody of the account before *until*, or only *slot* not."""
        if slot is None:
            self.cooldown.extend(until, cause)
            return
        if len(self.cooldown_by_key) >= _KEYS_KEPT:
            del self.cooldown_by_key[next(iter(self.cooldown_by_key))]
        self.cooldown_by_key[slot] = Cooldown(until, cause)
