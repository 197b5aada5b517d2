"""Who waits, in which order, and who is let in when room comes.

Requests for one route stand in one line. Between clients the line is
weighted-fair by virtual time; inside a client the earliest deadline goes
first; a higher priority goes before a lower one. All lines share the clients'
virtual time, so that a client cannot win by asking for many models.

Nothing here waits or reads a clock: `pump` lets in whoever fits at a given
instant and returns the instant at which it wants to be called again.
"""

import heapq
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from apikeyrouter.domain.components.decision_record import DecisionRecord
from apikeyrouter.domain.components.key_slot import KeySlot
from apikeyrouter.domain.components.routing_engine import Blocked, Grant, RoutingEngine
from apikeyrouter.domain.models.demand import Demand

#: A request too large for the room at hand lets this many smaller ones pass, then the line waits.
_MOST_PASSED = 16
_LOOK_AHEAD = 4
#: A thousand tokens weigh as much as one request in a client's share.
_TOKENS_PER_REQUEST = 1000.0
_CLIENTS_KEPT = 10_000
LineName = tuple[str, str | None, str]


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why a request is not let in, and when it would be worth asking again.

    Attributes:
        retry_at: Epoch seconds; `inf` if no clock tells.
    """

    why: str
    retry_at: float
    blocked: Blocked | None = None


@dataclass(slots=True, eq=False)
class Ticket:
    """One request that waits.

    Attributes:
        deadline: Epoch seconds; at that instant it is refused.
        deliver: Called once with what became of it.
        avoid: Keys that refused it for good.
        passed: Smaller requests that went before it.
    """

    demand: Demand
    record: DecisionRecord
    deadline: float
    deliver: Callable[[Grant | Refusal], None]
    tokens: float
    line: "_Line"
    avoid: Collection[KeySlot] = ()
    passed: int = 0
    is_waiting: bool = True


@dataclass(slots=True, eq=False)
class _Client:
    """One client's share: virtual time grows by what it gets over its weight."""

    virtual_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Row:
    """One client's requests of one priority in one line, earliest deadline first."""

    name: tuple[str, int]
    client: _Client
    tickets: list[tuple[float, int, Ticket]] = field(default_factory=list)

    def head(self) -> Ticket | None:
        while self.tickets and not self.tickets[0][2].is_waiting:
            heapq.heappop(self.tickets)
        return self.tickets[0][2] if self.tickets else None


@dataclass(slots=True, eq=False)
class _Line:
    """All who wait for one route."""

    rows: dict[tuple[str, int], _Row] = field(default_factory=dict)
    heap: list[tuple[int, float, int, _Row]] = field(default_factory=list)
    waiting: int = 0


class AdmissionQueue:
    """Lines of requests, bounded in requests and in tokens."""

    def __init__(
        self,
        engine: RoutingEngine,
        *,
        max_waiting: int = 10_000,
        max_waiting_tokens: float = 50_000_000.0,
    ) -> None:
        self._engine = engine
        self._max_waiting = max_waiting
        self._max_tokens = max_waiting_tokens
        self._lines: dict[LineName, _Line] = {}
        self._clients: dict[str, _Client] = {}
        self._deadlines: list[tuple[float, int, Ticket]] = []
        self._virtual_s = 0.0
        self._number = 0
        self.waiting = 0
        self.waiting_tokens = 0.0

    def has_line(self, demand: Demand) -> bool:
        """Tell whether somebody waits for the same: then nobody overtakes."""
        if not self.waiting:
            return False
        line = self._lines.get(_line_name(demand))
        return line is not None and line.waiting > 0

    def join(
        self,
        demand: Demand,
        record: DecisionRecord,
        *,
        deadline: float,
        deliver: Callable[[Grant | Refusal], None],
        avoid: Collection[KeySlot] = (),
    ) -> Ticket | Refusal:
        """Stand in line until *deadline*; refused at once when the queue is full."""
        tokens = float(demand.input_tokens + (demand.output_cap or 0))
        if self.waiting >= self._max_waiting or (
            self.waiting and self.waiting_tokens + tokens > self._max_tokens
        ):
            return Refusal(f"{self.waiting:,} requests wait already", math.inf)
        line = self._lines.setdefault(_line_name(demand), _Line())
        ticket = Ticket(demand, record, deadline, deliver, tokens, line, avoid)
        client = self._client(demand.client)
        client.virtual_s = max(client.virtual_s, self._virtual_s)
        name = (demand.client, demand.priority)
        row = line.rows.get(name)
        if row is None:
            row = line.rows[name] = _Row(name, client)
            self._push(line, row)
        self._number += 1
        heapq.heappush(row.tickets, (deadline, self._number, ticket))
        heapq.heappush(self._deadlines, (deadline, self._number, ticket))
        line.waiting += 1
        self.waiting += 1
        self.waiting_tokens += tokens
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Stop waiting: the client has gone. Leaving twice is nothing."""
        if ticket.is_waiting:
            self._take_out(ticket)

    def pump(self, now: float) -> float:
        """Let in whoever fits now, and refuse whoever ran out of time.

        Returns:
            The instant at which to call again; `inf` when only an event can help.
        """
        wakes_at = math.inf
        for line in [line for line in self._lines.values() if line.waiting]:
            wakes_at = min(wakes_at, self._serve(line, now))
        self._expire(now)
        self._lines = {name: line for name, line in self._lines.items() if line.waiting}
        if self._deadlines:
            wakes_at = min(wakes_at, self._deadlines[0][0])
        return wakes_at

    def _serve(self, line: _Line, now: float) -> float:
        """Let in from one line until its head is blocked; return when to look again."""
        while line.waiting:
            aside: list[_Row] = []
            blocked: Blocked | None = None
            granted = False
            smallest = math.inf
            while len(aside) < _LOOK_AHEAD and (row := self._pop(line)) is not None:
                ticket = row.head()
                assert ticket is not None  # noqa: S101 - _pop drops empty rows
                aside.append(row)
                if ticket.tokens >= smallest:
                    continue
                smallest = ticket.tokens
                outcome = self._try(ticket, now)
                if isinstance(outcome, Grant):
                    granted = True
                    self._note_passed(aside[:-1])
                    break
                if outcome is not None:
                    blocked = blocked or outcome
                    if ticket.passed >= _MOST_PASSED:
                        break
            for row in aside:
                self._push(line, row)
            if blocked is not None and not granted:
                return blocked.wakes_at
            if not aside:
                break
        return math.inf

    def _try(self, ticket: Ticket, now: float) -> Grant | Blocked | None:
        """Let one request in if it fits; `None` when it was refused for good."""
        demand = ticket.demand
        outcome = self._engine.decide_again(demand, ticket.record, now, avoid=ticket.avoid)
        if isinstance(outcome, Grant):
            self._take_out(ticket)
            client = self._client(demand.client)
            self._virtual_s = max(self._virtual_s, client.virtual_s)
            client.virtual_s += (1.0 + ticket.tokens / _TOKENS_PER_REQUEST) / demand.client_weight
            ticket.deliver(outcome)
            return outcome
        if outcome.is_hopeless:
            self._take_out(ticket)
            ticket.deliver(Refusal("nobody can take it any more", math.inf, outcome))
            return None
        return outcome

    def _expire(self, now: float) -> None:
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or not deadlines[0][2].is_waiting):
            _, _, ticket = heapq.heappop(deadlines)
            if not ticket.is_waiting:
                continue
            self._take_out(ticket)
            outcome = self._engine.decide_again(
                ticket.demand, ticket.record, now, avoid=ticket.avoid
            )
            if isinstance(outcome, Grant):
                ticket.deliver(outcome)
            else:
                ticket.deliver(Refusal("it waited as long as it may", outcome.wakes_at, outcome))

    def _take_out(self, ticket: Ticket) -> None:
        ticket.is_waiting = False
        ticket.line.waiting -= 1
        self.waiting -= 1
        self.waiting_tokens -= ticket.tokens

    def _note_passed(self, rows: list[_Row]) -> None:
        for row in rows:
            ticket = row.head()
            if ticket is not None:
                ticket.passed += 1

    def _push(self, line: _Line, row: _Row) -> None:
        self._number += 1
        heapq.heappush(line.heap, (-row.name[1], row.client.virtual_s, self._number, row))

    def _pop(self, line: _Line) -> _Row | None:
        """Take out the row whose turn it is; rows that emptied are dropped."""
        while line.heap:
            _, virtual_s, _, row = heapq.heappop(line.heap)
            if row.head() is None:
                del line.rows[row.name]
            elif virtual_s < row.client.virtual_s:
                self._push(line, row)
            else:
                return row
        return None

    def _client(self, name: str) -> _Client:
        client = self._clients.get(name)
        if client is None:
            if len(self._clients) >= _CLIENTS_KEPT:
                self._clients = {
                    n: c for n, c in self._clients.items() if c.virtual_s > self._virtual_s
                }
            client = self._clients[name] = _Client(self._virtual_s)
        return client


def _line_name(demand: Demand) -> LineName:
    objective = demand.objective
    return demand.model, demand.provider_id, objective.primary.value if objective else ""
