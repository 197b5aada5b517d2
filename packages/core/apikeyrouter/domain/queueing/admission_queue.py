"""The admission queue: who waits, in which order, and who is admitted when capacity returns.

Requests for one route stand in one line. Between clients the line is
weighted-fair by virtual time; inside a client the earliest deadline goes
first; a higher priority goes before a lower one. All lines share the clients'
virtual time, so that a client cannot win by asking for many models. A request
that cannot be served before its deadline, given what waits before it and what
refills until then, is refused at once.

Nothing here waits or reads a clock: `pump` lets in whoever fits at a given
instant and returns the instant at which it wants to be called again.
"""

import heapq
import math
from collections.abc import Callable, Collection

from apikeyrouter.domain.components.routing_engine import Blocked, Grant, RoutingEngine
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.domain.queueing.line import ClientShare, Refusal, Row, Ticket, WaitingLine
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.pending_request import PendingRequest
from apikeyrouter.domain.routing.route import Route
from apikeyrouter.domain.routing.scoring import Scoring
from apikeyrouter.errors import PinnedKeyError, UnknownModelError

__all__ = ["AdmissionQueue", "Refusal", "Ticket"]

#: A request that does not fit yet lets this many smaller ones pass; then the line waits for it.
_MOST_PASSED = 16
_LOOK_AHEAD = 4
#: A thousand tokens weigh as much as one request in a client's share.
_TOKENS_PER_REQUEST = 1000.0
_CLIENTS_KEPT = 10_000
#: A forecast has to be wrong by less than this for a refusal to be wrong.
_MARGIN = 1.25
#: No wait beyond this is told: a forecast that far ahead is worthless.
_FURTHEST_S = 86_400.0
_NEAREST_S = 0.1
#: A forecast that is this fresh is not made again for whoever stands well within it.
_SURE_FOR_S = 0.1
LineName = tuple[
    str, str | None, str, str | None, bool, Scoring,
    frozenset[KeySlot], frozenset[object], tuple[LedgerAccount, ...],
]  # fmt: skip


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
        self._lines: dict[LineName, WaitingLine] = {}
        self._clients: dict[str, ClientShare] = {}
        self._deadlines: list[tuple[float, int, Ticket]] = []
        self._virtual_s = 0.0
        self._number = 0
        self.waiting = 0
        self.waiting_tokens = 0.0

    def has_line(self, route: Route) -> bool:
        """Tell whether somebody waits for the same room: then nobody overtakes.

        Those who avoid keys that refused them, or wait for a limit of their own, hold
        nobody else up.
        """
        return any(
            line.waiting
            and not (line.excludes_keys or line.is_over_own_limit)
            and not line.grounds.isdisjoint(route.grounds)
            for line in self._lines.values()
        )

    def join(
        self,
        request: PendingRequest,
        *,
        deadline: float,
        deliver: Callable[[Grant | Refusal], None],
        now: float,
    ) -> Ticket | Refusal:
        """Wait in line until *deadline*.

        Refused at once when the queue is full, or when so many stand before it
        that its turn would come after its deadline.
        """
        demand = request.demand
        tokens = float(demand.input_tokens + (demand.output_cap or 0))
        name = self._line_name(request)
        line = self._lines.get(name)
        if self.waiting >= self._max_waiting or (
            self.waiting and self.waiting_tokens + tokens > self._max_tokens
        ):
            retry_at = self._turn_at(line, demand, now) if line is not None else math.inf
            return Refusal(f"{self.waiting:,} requests wait already", retry_at)
        if line is not None and line.waiting:
            late = self._too_late(line, demand, deadline, now)
            if late is not None:
                return late
        if line is None:
            grounds = self._engine.routes.route_for(demand).grounds
            line = self._lines[name] = WaitingLine(grounds, bool(request.avoid or request.skipped))
        ticket = Ticket(request, deadline, deliver, tokens, line)
        client = self._client(demand.client)
        client.virtual_s = max(client.virtual_s, self._virtual_s)
        row = line.rows.get((demand.client, demand.priority))
        if row is None:
            row = Row((demand.client, demand.priority), client, demand.client_weight)
            line.add(row)
            self._push(line, row)
        self._number += 1
        row.add(ticket, self._number)
        heapq.heappush(self._deadlines, (deadline, self._number, ticket))
        line.count(ticket, row, 1)
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
        # Lines may compete for the same capacity: they take turns, one request at a time.
        turns = [(*line.turn(), number, line) for number, line in enumerate(self._lines.values())]
        heapq.heapify(turns)
        while turns:
            *_, number, line = heapq.heappop(turns)
            blocked_until = self._serve_one(line, now)
            if blocked_until is not None:
                wakes_at = min(wakes_at, blocked_until)
            elif line.waiting:
                heapq.heappush(turns, (*line.turn(), number, line))
        self._expire(now)
        self._lines = {name: line for name, line in self._lines.items() if line.waiting}
        if self._deadlines:
            wakes_at = min(wakes_at, self._deadlines[0][0])
        return wakes_at

    # -- forecasts ----------------------------------------------------------

    def _too_late(
        self, line: WaitingLine, demand: Demand, deadline: float, now: float
    ) -> Refusal | None:
        """Say when the turn of *demand* would come, if that is after its deadline for sure."""
        before = line.before(demand)
        if before < line.sure and deadline >= line.sure_by and now < line.sure_until:
            return None
        try:
            possible = self._engine.calls_by(deadline, line.typical(demand), now)
        except (UnknownModelError, PinnedKeyError):
            return None
        line.sure, line.sure_by, line.sure_until = possible, deadline, now + _SURE_FOR_S
        if before <= _MARGIN * possible:
            return None
        retry_at = self._turn_at(line, demand, now)
        return Refusal(f"{line.waiting:,} requests wait for the same", retry_at)

    def _turn_at(self, line: WaitingLine, demand: Demand, now: float) -> float:
        """Return the instant at which all that stand before *demand* can have begun."""
        before, typical = line.before(demand) + 1.0, line.typical(demand)
        if now < line.told_until and line.told_before <= before <= _MARGIN * line.told_before:
            return line.told_at
        ahead_s = _NEAREST_S
        while self._engine.calls_by(now + ahead_s, typical, now) < before:
            ahead_s *= 1.25
            if ahead_s > _FURTHEST_S:
                return math.inf
        line.told_at, line.told_before, line.told_until = now + ahead_s, before, now + _SURE_FOR_S
        return line.told_at

    # -- letting in ---------------------------------------------------------

    def _serve_one(self, line: WaitingLine, now: float) -> float | None:
        """Let one in from *line*; return when to look again if nobody can be, else `None`."""
        aside: list[Row] = []
        smallest = wakes_at = math.inf
        try:
            while len(aside) < _LOOK_AHEAD and (row := self._pop(line)) is not None:
                ticket = row.head()
                assert ticket is not None  # noqa: S101 - _pop drops empty rows
                aside.append(row)
                if ticket.tokens >= smallest:
                    continue
                smallest = ticket.tokens
                outcome = self._try(ticket, now)
                if not isinstance(outcome, Blocked):
                    if isinstance(outcome, Grant):
                        _note_passed(aside[:-1])
                    return None
                line.is_over_own_limit = outcome.own is not None
                wakes_at = min(wakes_at, outcome.wakes_at)
                if ticket.passed >= _MOST_PASSED:
                    break
        finally:
            for row in aside:
                self._push(line, row)
        return wakes_at

    def _try(self, ticket: Ticket, now: float) -> Grant | Blocked | None:
        """Let one request in if it fits; `None` when it was refused for good."""
        demand = ticket.request.demand
        outcome = self._engine.decide_again(ticket.request, now)
        if isinstance(outcome, Grant):
            self._take_out(ticket)
            client = ticket.line.rows[demand.client, demand.priority].client
            self._virtual_s = max(self._virtual_s, client.virtual_s)
            client.virtual_s += (1.0 + ticket.tokens / _TOKENS_PER_REQUEST) / demand.client_weight
            ticket.deliver(outcome)
            return outcome
        if outcome.is_too_late_for(ticket.deadline):
            self._take_out(ticket)
            why = (
                "nobody can take it any more"
                if outcome.cannot_free_up
                else "its turn comes too late"
            )
            ticket.deliver(Refusal(why, outcome.wakes_at, outcome))
            return None
        return outcome

    def _expire(self, now: float) -> None:
        deadlines = self._deadlines
        while deadlines and (deadlines[0][0] <= now or not deadlines[0][2].is_waiting):
            _, _, ticket = heapq.heappop(deadlines)
            if not ticket.is_waiting:
                continue
            self._take_out(ticket)
            ticket.request.is_last_chance = True
            outcome = self._engine.decide_again(ticket.request, now)
            ticket.request.is_last_chance = False
            if isinstance(outcome, Grant):
                ticket.deliver(outcome)
            else:
                ticket.deliver(Refusal("it waited as long as it may", outcome.wakes_at, outcome))

    def _take_out(self, ticket: Ticket) -> None:
        ticket.is_waiting = False
        demand = ticket.request.demand
        row = ticket.line.rows[demand.client, demand.priority]
        ticket.line.count(ticket, row, -1)
        self.waiting -= 1
        self.waiting_tokens -= ticket.tokens

    def _push(self, line: WaitingLine, row: Row) -> None:
        self._number += 1
        heapq.heappush(line.heap, (-row.name[1], row.client.virtual_s, self._number, row))

    def _pop(self, line: WaitingLine) -> Row | None:
        """Take out the row whose turn it is; rows that emptied are dropped."""
        while line.heap:
            _, virtual_s, _, row = heapq.heappop(line.heap)
            if row.head() is None:
                line.drop(row)
            elif virtual_s < row.client.virtual_s:
                self._push(line, row)
            else:
                return row
        return None

    def _line_name(self, request: PendingRequest) -> LineName:
        """Name the line of those who may be served by the same candidates in the same order."""
        demand = request.demand
        scoring = self._engine.routes.scorings.scoring_of(demand.objective)
        name = (
            demand.model, demand.provider_id, demand.endpoint, demand.key_id, demand.may_leave_key,
        )  # fmt: skip
        return *name, scoring, request.avoid, request.skipped, request.accounts

    def _client(self, name: str) -> ClientShare:
        client = self._clients.get(name)
        if client is None:
            if len(self._clients) >= _CLIENTS_KEPT:
                self._clients = {
                    n: c for n, c in self._clients.items() if c.virtual_s > self._virtual_s
                }
            client = self._clients[name] = ClientShare(self._virtual_s)
        return client


def _note_passed(rows: Collection[Row]) -> None:
    for row in rows:
        ticket = row.head()
        if ticket is not None:
            ticket.passed += 1
