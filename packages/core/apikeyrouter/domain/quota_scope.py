"""A quota scope alive in memory: who owns limits, and what is known of how it fares.

A scope is a provider's account and model group. Keys draw on it; its windows and open holds are
its ledger account. What else is known of it is kept apart by subject: when it may be called
again, what was counted, whose it is, where it takes turns.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apikeyrouter.domain.accounts.charge_learning import ChargeLearner
from apikeyrouter.domain.ledger.ledger import Amounts, LedgerAccount, Shortfall


@dataclass(slots=True, eq=False)
class Cooldown:
    """Not before: the one notion of a wait that was told, or follows from a failure.

    Attributes:
        until: Epoch seconds; 0 when there is none, `inf` when no clock ends it.
        cause: The failure class that it follows from, or an operator's reason.
        detail: What else people should read, such as who told it.
    """

    until: float = 0.0
    cause: str = ""
    detail: str = ""

    @property
    def why(self) -> str:
        """What is waited for, in words."""
        return f"{self.cause}: {self.detail}" if self.detail else self.cause

    def extend(self, until: float, cause: str, detail: str = "") -> bool:
        """Wait until *until*; never shortens a wait. Tell whether it grew."""
        if until <= self.until:
            return False
        self.until, self.cause, self.detail = until, cause, detail
        return True

    def take_over(self, other: "Cooldown") -> bool:
        """Wait as long as *other*, if that is longer; tell whether it grew."""
        return self.extend(other.until, other.cause, other.detail)

    def end(self) -> None:
        """Wait no longer."""
        self.until, self.cause, self.detail = 0.0, "", ""

    def shortfall(self) -> Shortfall:
        """Return the wait as what keeps a request out."""
        return Shortfall(self.why or "told to wait", 0.0, 0.0, self.until, cause=self.cause)


@dataclass(slots=True, frozen=True)
class Membership:
    """Whose account something is of, how that is known, and how surely.

    Attributes:
        account: The owner's name: configured, told by the provider, or the key's id.
        basis: `configured`, `alone`, `told`, `inferred` or `own`.
    """

    account: str
    basis: str = "own"
    confidence: float = 1.0


@dataclass(slots=True, eq=False)
class ScopeStatistics:
    """What was counted of one scope's calls.

    Attributes:
        refused: Calls that went into a limit.
        refused_at: When the last of them was refused.
        refusals_in_row: Refusals without a success between.
    """

    served: int = 0
    served_tokens: int = 0
    refused: int = 0
    refused_at: float = 0.0
    refusals_in_row: int = 0


@dataclass(slots=True, eq=False)
class RoutingIndex:
    """Where a scope takes turns; kept by the routing.

    Attributes:
        candidates: Its candidates by pool.
        asleep: In how many rankings a candidate of it sleeps.
    """

    candidates: dict[Any, list[Any]] = field(default_factory=dict)
    asleep: int = 0


@dataclass(slots=True, eq=False)
class QuotaScope:
    """Who owns limits: a provider's account and model group.

    Attributes:
        group: The model's name when limits are per model, `*` when all models share.
        account: Its windows and open holds.
        charge: Learns how its tokens are charged; `None` until a limit of tokens was told.
        is_searched: Some of its windows are guesses that every answer may change.
        is_watched: It is compared with others that may draw on the same account.
        on_capacity: Told when something may fit sooner than was thought.
    """

    id: str
    provider_id: str
    membership: Membership
    group: str = "*"
    account: LedgerAccount = field(init=False)
    cooldown: Cooldown = field(default_factory=Cooldown)
    statistics: ScopeStatistics = field(default_factory=ScopeStatistics)
    index: RoutingIndex = field(default_factory=RoutingIndex, repr=False)
    charge: ChargeLearner | None = None
    is_searched: bool = False
    is_watched: bool = False
    on_capacity: Callable[["QuotaScope"], None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.account = LedgerAccount(self.id)
        self.account.on_capacity = self.notify_capacity

    def calls_by(self, at: float, amounts: Amounts, now: float) -> float:
        """Return how many calls of *amounts* can begin here from now until *at*."""
        return 0.0 if self.cooldown.until >= at else self.account.calls_by(at, amounts, now)

    def notify_capacity(self) -> None:
        """Tell whoever sleeps over this scope that something may fit sooner than was thought."""
        if self.index.asleep and self.on_capacity is not None:
            self.on_capacity(self)
