"""One request while it is placed: what it demands, what else it must fit into, whom it avoids."""

from dataclasses import dataclass, field

from apikeyrouter.domain.costs.cap_account import CapAccount
from apikeyrouter.domain.costs.cap_book import Accounts, CapBook, Priced
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import LedgerAccount, Lines, Shortfall, amounts_of_call
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.domain.routing.demand import Demand

#: So many keys of one candidate may be short of caps of their own.
_MOST_PASSED = 64
NOBODY: frozenset[KeySlot] = frozenset()


@dataclass(slots=True, eq=False)
class PendingRequest:
    """One request while it is placed.

    Attributes:
        record: What is kept of its way through the router.
        accounts: Further accounts that it draws on, such as its client's; each attempt
            reserves on them and on the provider's in one step.
        caps: What knows of hard caps and budgets; `None` where there are none.
        avoid: Keys that must not serve it.
        skipped: Pools that must not: their provider does not have the model, or it cannot answer.
        is_last_chance: It can wait no longer: what only our own caution keeps out is let through.
        kept: Who served its session last, and is chosen among equals.
        own_lines: Those accounts with what it asks of them, but for caps.
        cap_accounts: The caps that it draws on whoever serves it.
        lack: The cap that was last in the way.
    """

    demand: Demand
    record: DecisionRecord
    accounts: tuple[LedgerAccount, ...] = ()
    caps: CapBook | None = None
    avoid: frozenset[KeySlot] = NOBODY
    skipped: frozenset[object] = frozenset()
    is_last_chance: bool = False
    kept: Candidate | None = None
    own_lines: Lines = field(init=False)
    cap_accounts: Accounts = ()
    lack: Shortfall | None = None

    def __post_init__(self) -> None:
        if self.caps is not None:
            self.cap_accounts = self.caps.accounts_for(self.demand, self.accounts)
        if not self.accounts:
            self.own_lines = ()
            return
        demand = self.demand
        amounts = amounts_of_call(demand.input_tokens, demand.output_cap or 0, calls=1.0)
        lines = [(account, amounts) for account in self.accounts]
        if self.cap_accounts:
            lines = [line for line in lines if not isinstance(line[0], CapAccount)]
        self.own_lines = tuple(lines)

    def lines(self, pool: Priced, slot: KeySlot) -> Lines:
        """Return all that it draws on beside the provider's account if this key serves it."""
        if self.caps is None:
            return self.own_lines
        return (*self.own_lines, *self.caps.lines(self.demand, self.cap_accounts, pool, slot))

    def is_short_of_key(self, lack: Shortfall, slot: KeySlot, passed: int) -> bool:
        """Note the cap in its way; tell whether it bounds this one key, and others may do.

        Args:
            passed: Keys that were short of theirs before.
        """
        self.lack = lack
        is_own = self.caps is not None and self.caps.is_of_key(lack.account_id, slot)
        return is_own and passed < _MOST_PASSED

    def shortfall(self, now: float) -> Shortfall | None:
        """Return what it is short of whoever serves it, such as its client's limit."""
        for account, amounts in self.own_lines:
            lack = account.shortfall(amounts, now)
            if lack is not None:
                return lack
        return None
