"""A quota scope in memory: who owns limits, and its state.

A scope is a provider's account and model group. Keys draw on it; its windows and open holds are
its ledger account. What else is known of it is kept apart by subject: when it may be called
again, what was counted, whose it is, where it takes turns.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from apikeyrouter.domain.accounts.charge_learning import ChargeLearner
from apikeyrouter.domain.cooldown import Cooldown
from apikeyrouter.domain.ledger.ledger import Amounts, LedgerAccount


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


#: The most calls at once that were let in are remembered for so long, up to twice.
_LEVEL_S = 10.0


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
    _levels: tuple[int, int] = (0, 0)
    _levels_at: float = 0.0

    def note_level(self, calls: int, now: float) -> None:
        """Note that so many calls were under way when one of them was let in."""
        if now - self._levels_at >= _LEVEL_S:
            is_old = now - self._levels_at >= 2.0 * _LEVEL_S
            self._levels = (calls, 0 if is_old else self._levels[0])
            self._levels_at = now
        elif calls > self._levels[0]:
            self._levels = (calls, self._levels[1])

    def proven_calls(self, now: float) -> int:
        """Return the most calls at once that were let in of late."""
        self.note_level(0, now)
        return max(self._levels)


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
        """Wake candidates that are asleep because of this scope: something may fit sooner."""
        if self.index.asleep and self.on_capacity is not None:
            self.on_capacity(self)
