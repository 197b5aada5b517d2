"""One request while it is placed: what it demands, what else it must fit into, whom it avoids."""

from dataclasses import dataclass, field

from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import LedgerAccount, Lines, Shortfall, amounts_of_call
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.domain.routing.demand import Demand

NOBODY: frozenset[KeySlot] = frozenset()


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One request while it is placed.

    Attributes:
        record: What is kept of its way through the router.
        accounts: Further accounts that it draws on, such as its client's; each attempt
            reserves on them and on the provider's in one step.
        avoid: Keys that must not serve it.
        skipped: Pools that must not: their provider does not have the model, or it cannot answer.
        is_last_chance: It can wait no longer: what only our own caution keeps out is let through.
        kept: Who served its session last, and is chosen among equals.
        own_lines: Those accounts with what it asks of them.
    """

    demand: Demand
    record: DecisionRecord
    accounts: tuple[LedgerAccount, ...] = ()
    avoid: frozenset[KeySlot] = NOBODY
    skipped: frozenset[object] = frozenset()
    is_last_chance: bool = False
    kept: Candidate | None = None
    own_lines: Lines = field(init=False)

    def __post_init__(self) -> None:
        if not self.accounts:
            self.own_lines = ()
            return
        demand = self.demand
        amounts = amounts_of_call(demand.input_tokens, demand.output_cap or 0, calls=1.0)
        self.own_lines = tuple([(account, amounts) for account in self.accounts])

    def shortfall(self, now: float) -> Shortfall | None:
        """Return what it is short of whoever serves it, such as its client's limit."""
        for account, amounts in self.own_lines:
            lack = account.shortfall(amounts, now)
            if lack is not None:
                return lack
        return None
