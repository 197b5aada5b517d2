"""Which key draws on which scope.

A scope is (provider, account, group). The account is the operator's word, else
the provider's, else an inference, else the key itself. The group is the model
where a provider limits each model apart, else all models together. Keys that
come to share an account share its scopes from then on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from apikeyrouter.domain.components.key_slot import KeySlot
from apikeyrouter.domain.components.quota_ledger import QuotaLedger, Scope
from apikeyrouter.domain.components.windows import Concurrent, TokenBucket
from apikeyrouter.domain.models.events import Event, ScopesJoined
from apikeyrouter.domain.models.observation import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Dimension,
    Provenance,
)

ALL_MODELS = "*"
#: Limits by the names that a configuration gives them: what is counted, over how many seconds.
DECLARABLE: dict[str, tuple[Dimension, float]] = {
    "rpm": (Dimension.REQUESTS, MINUTE_S),
    "rph": (Dimension.REQUESTS, HOUR_S),
    "rpd": (Dimension.REQUESTS, DAY_S),
    "tpm": (Dimension.TOKENS, MINUTE_S),
    "tph": (Dimension.TOKENS, HOUR_S),
    "tpd": (Dimension.TOKENS, DAY_S),
    "itpm": (Dimension.INPUT_TOKENS, MINUTE_S),
    "otpm": (Dimension.OUTPUT_TOKENS, MINUTE_S),
    "concurrency": (Dimension.CONCURRENCY, 0.0),
}
FIRST_CONTACT = "first contact"
#: Calls at once on a scope of which nothing is known; one more for each that succeeds.
FIRST_CALLS = 8
#: A scope that took this many calls without a word of limits is not held back any more.
TRUSTED_CALLS = 64


@dataclass(slots=True, frozen=True)
class Membership:
    """Whose account a key is of, how that is known, and how surely."""

    account: str
    basis: str
    confidence: float


class ScopeBook:
    """Scopes by owner, and the owner of each key."""

    def __init__(
        self,
        ledger: QuotaLedger,
        *,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        on_room: Callable[[Scope], None],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._on_room = on_room
        self._scopes: dict[tuple[str, str, str], Scope] = {}
        self._membership: dict[str, Membership] = {}
        #: Told when a key moved from one account to another.
        self.on_move: Callable[[KeySlot], None] = lambda _: None

    def __iter__(self) -> Iterator[Scope]:
        return iter(self._scopes.values())

    def scope_for(self, slot: KeySlot, group: str) -> Scope:
        """Return the scope that *slot* draws on for *group*; made at first sight."""
        member = self.membership(slot)
        name = (slot.provider_id, member.account, group)
        scope = self._scopes.get(name)
        if scope is None:
            scope = self._scopes[name] = self._found(slot, member, group)
        return scope

    def scopes_of(self, slot: KeySlot) -> list[Scope]:
        """Return every scope of the key's account, one a group in use."""
        account = self.membership(slot).account
        return [
            scope
            for scope in self._scopes.values()
            if scope.provider_id == slot.provider_id and scope.account == account
        ]

    def membership(self, slot: KeySlot) -> Membership:
        """Return whose account *slot* is of, and how we know."""
        member = self._membership.get(slot.id)
        if member is None:
            declared = slot.record.metadata.get("scope")
            member = (
                Membership(str(declared), "configured", 1.0)
                if declared
                else Membership(slot.id, "own", 1.0)
            )
            self._membership[slot.id] = member
        return member

    def join(self, slot: KeySlot, account: str, *, basis: str, confidence: float) -> bool:
        """Move *slot* to *account* unless something surer is known; tell whether it moved."""
        before = self.membership(slot)
        if account == before.account or before.basis == "configured":
            return False
        if before.basis == "told" and basis != "told":
            return False
        self._move(slot, Membership(account, basis, confidence))
        self._emit(ScopesJoined(account, slot.id, True, basis, confidence))
        return True

    def part(self, slot: KeySlot, *, basis: str) -> None:
        """Give *slot* an account of its own again: evidence turned."""
        before = self.membership(slot)
        self._move(slot, Membership(slot.id, "own", 1.0))
        self._emit(ScopesJoined(before.account, slot.id, False, basis, before.confidence))

    def overrule(self, slot: KeySlot, account: str | None) -> None:
        """Put *slot* where the operator says; `None` makes it its own."""
        self._move(slot, Membership(account or slot.id, "configured", 1.0))

    def _move(self, slot: KeySlot, member: Membership) -> None:
        self._membership[slot.id] = member
        self.on_move(slot)

    def _found(self, slot: KeySlot, member: Membership, group: str) -> Scope:
        now = self._clock()
        name = f"{slot.provider_id}/{member.account}"
        scope = Scope(
            id=name if group == ALL_MODELS else f"{name}/{group}",
            provider_id=slot.provider_id,
            account=member.account,
            group=group,
            basis=member.basis,
            confidence=member.confidence,
            on_room=self._on_room,
        )
        self.declare(scope, slot.record.metadata.get("limits") or {}, now)
        if not scope.windows:
            self.hold_back(scope, FIRST_CALLS, now)
        return scope

    def declare(self, scope: Scope, limits: dict[str, float], now: float) -> None:
        """Put declared *limits* (`rpm`, `tpm`, …) on *scope*; what reports say corrects them."""
        for name, capacity in limits.items():
            dimension, period_s = DECLARABLE[name]
            known = scope.window(dimension, period_s)
            if known is not None:
                known.resize(capacity, Provenance.DECLARED)
                known.declared = float(capacity)
            elif dimension is Dimension.CONCURRENCY:
                self._ledger.adopt(Concurrent(dimension, capacity, 0.0, now), scope, now, None)
            else:
                window = TokenBucket(dimension, capacity, period_s, now)
                self._ledger.adopt(window, scope, now, None)

    def hold_back(self, scope: Scope, calls: int, now: float) -> None:
        """Let at most *calls* run at once until something is learned of the limits."""
        window = scope.window(Dimension.CONCURRENCY, pool=FIRST_CONTACT)
        if window is not None:
            window.resize(max(1, calls), Provenance.INFERRED)
            return
        window = Concurrent(
            Dimension.CONCURRENCY, max(1, calls), 0.0, now,
            provenance=Provenance.INFERRED, pool=FIRST_CONTACT,
        )  # fmt: skip
        self._ledger.adopt(window, scope, now, None)

    def trust(self, scope: Scope) -> None:
        """Let one more call run at once after a success; none is held back when much is known."""
        window = scope.window(Dimension.CONCURRENCY, pool=FIRST_CONTACT)
        if window is None:
            return
        window.capacity += 1
        if len(scope.windows) > 1 or window.capacity > TRUSTED_CALLS:
            scope.windows.remove(window)
