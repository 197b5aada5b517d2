"""The data types of the queue: tickets in rows, rows in a line, and who stands before whom."""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from apikeyrouter.domain.components.routing_engine import Blocked, Grant
from apikeyrouter.domain.routing.decision_record import reason_of
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.pending_request import PendingRequest


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a request is not let in, and when it would be worth asking again.

    Attributes:
        retry_at: Epoch seconds; `inf` if no clock tells.
    """

    why: str
    retry_at: float
    blocked: Blocked | None = None

    def text(self, demand: Demand, now: float) -> str:
        """Say it in words: what nobody can take, why, and when somebody may."""
        what = f"model '{demand.model}'" if demand.model else demand.endpoint
        text = f"no key for {what} can take it now"
        if self.why:
            text += f" ({self.why})"
        if self.retry_at < math.inf:
            text += f"; soonest in {max(0.0, self.retry_at - now):.1f} s"
        if self.blocked is not None and self.blocked.excluded:
            scope, why = self.blocked.excluded[0]
            text += f"; {scope}: {reason_of(why, now)}"
        return text


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that waits.

    Attributes:
        deadline: Epoch seconds; at that instant it is refused.
        deliver: Called once with what became of it.
        passed: Smaller requests that went before it.
    """

    request: PendingRequest
    deadline: float
    deliver: Callable[[Grant | Refusal], None]
    tokens: float
    line: "WaitingLine"
    passed: int = 0
    is_waiting: bool = True


@dataclass(slots=True, eq=False)
class ClientShare:
    """One client's share: virtual time grows by what it gets over its weight."""

    virtual_s: float = 0.0


@dataclass(slots=True, eq=False)
class Row:
    """One client's requests of one priority in one line, earliest deadline first.

    Attributes:
        name: Client and priority.
        waiting: Tickets that wait; those that left may still be in the heap.
    """

    name: tuple[str, int]
    client: ClientShare
    weight: float
    tickets: list[tuple[float, int, Ticket]] = field(default_factory=list)
    waiting: int = 0

    def add(self, ticket: Ticket, number: int) -> None:
        """Take in *ticket*; equal deadlines go by *number*."""
        heapq.heappush(self.tickets, (ticket.deadline, number, ticket))

    def head(self) -> Ticket | None:
        """Return the ticket whose turn it is; `None` when nobody waits."""
        while self.tickets and not self.tickets[0][2].is_waiting:
            heapq.heappop(self.tickets)
        return self.tickets[0][2] if self.tickets else None


@dataclass(slots=True, eq=False)
class Rank:
    """All who wait in one line with one priority: how many, and the weight of their clients."""

    waiting: int = 0
    weight: float = 0.0


@dataclass(slots=True, eq=False)
class WaitingLine:
    """All who wait for one route.

    Attributes:
        grounds: What they would draw on.
        excludes_keys: They avoid keys that refused them.
        is_over_own_limit: They wait for a limit of their own, which holds nobody else up.
        sure: So many can begin by `sure_by`, as was foretold; good until `sure_until`.
        told_at: When the turn of who had `told_before` before it would come; good until
            `told_until`.
    """

    grounds: frozenset[object] = frozenset()
    excludes_keys: bool = False
    is_over_own_limit: bool = False
    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    heap: list[tuple[int, float, int, Row]] = field(default_factory=list)
    ranks: dict[int, Rank] = field(default_factory=dict)
    waiting: int = 0
    input_tokens: int = 0
    capped_tokens: int = 0
    capped: int = 0
    sure: float = 0.0
    sure_by: float = 0.0
    sure_until: float = 0.0
    told_at: float = 0.0
    told_before: float = 0.0
    told_until: float = 0.0

    def add(self, row: Row) -> None:
        """Take in a row that has nobody yet."""
        self.rows[row.name] = row

    def drop(self, row: Row) -> None:
        """Let a row go that nobody waits in."""
        del self.rows[row.name]

    def count(self, ticket: Ticket, row: Row, step: int) -> None:
        """Count a ticket of *row* that came (1) or went (-1)."""
        rank = self.ranks.setdefault(row.name[1], Rank())
        if row.waiting == 0 or row.waiting + step == 0:
            rank.weight += step * row.weight
        row.waiting += step
        rank.waiting += step
        self.waiting += step
        demand = ticket.request.demand
        self.input_tokens += step * demand.input_tokens
        if demand.output_cap is not None:
            self.capped += step
            self.capped_tokens += step * demand.output_cap

    def turn(self) -> tuple[int, float]:
        """Return rank and virtual time of the row whose turn it is: the least goes first."""
        return (self.heap[0][0], self.heap[0][3].client.virtual_s) if self.heap else (0, 0.0)

    def before(self, demand: Demand) -> float:
        """Return how many begin before *demand* if it joins now.

        All of a higher priority; of its own those of its client, and of the
        others as many as their shares beside its own allow meanwhile.
        """
        higher = sum(r.waiting for priority, r in self.ranks.items() if priority > demand.priority)
        rank = self.ranks.get(demand.priority)
        if rank is None:
            return float(higher)
        row = self.rows.get((demand.client, demand.priority))
        own = row.waiting if row is not None else 0
        others = rank.weight - (row.weight if row is not None and own else 0.0)
        passing = (own + 1) * others / demand.client_weight
        return higher + own + min(passing, rank.waiting - own)

    def typical(self, demand: Demand) -> Demand:
        """Return a request such as those in line, *demand* among them."""
        count = self.waiting + 1
        cap = None
        if self.capped or demand.output_cap is not None:
            caps = self.capped + (demand.output_cap is not None)
            cap = (self.capped_tokens + (demand.output_cap or 0)) // caps
        input_tokens = (self.input_tokens + demand.input_tokens) // count
        return replace(demand, input_tokens=input_tokens, output_cap=cap)
