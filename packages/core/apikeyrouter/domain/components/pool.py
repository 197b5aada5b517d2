"""A pool: all lanes that serve one model of one provider, under one objective."""

import math

from apikeyrouter.domain.components.candidate_index import Gate, Order, Score
from apikeyrouter.domain.components.circuit import Circuit
from apikeyrouter.domain.components.key_slot import KeySlot
from apikeyrouter.domain.components.lane import Health, Lane
from apikeyrouter.domain.components.quota_ledger import Amounts, Reservation, Scope, Shortfall
from apikeyrouter.domain.components.window import INDEX_OF
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.models.demand import DEFAULT_OUTPUT_TOKENS, Demand
from apikeyrouter.domain.models.observation import Dimension

_LEARN = 0.1
_FEW = 32
_TOKENS = INDEX_OF[Dimension.TOKENS]
_INPUT = INDEX_OF[Dimension.INPUT_TOKENS]
_OUTPUT = INDEX_OF[Dimension.OUTPUT_TOKENS]


class Pool:
    """Lanes in order, and what is learned of the sizes of requests.

    Attributes:
        model: The provider's own name of it.
        correction: Reported over estimated input tokens, decaying average.
        usual_output: Output tokens a request usually makes here.
        used_at: When a key of it was last chosen.
    """

    __slots__ = (
        "_orders", "_place_of", "admission", "circuit", "correction", "gate", "lane_by_key",
        "lanes", "model", "provider_id", "score", "used_at", "usual_output",
    )  # fmt: skip

    def __init__(
        self,
        provider_id: str,
        model: str,
        *,
        score: Score,
        admission: Admission,
        circuit: Circuit,
        gate: Gate | None = None,
    ) -> None:
        self.provider_id = provider_id
        self.model = model
        self.score = score
        self.gate = gate
        self.admission = admission
        self.circuit = circuit
        self.lanes: list[Lane] = []
        self.lane_by_key: dict[tuple[str, int], Lane] = {}
        self._place_of: dict[Lane, int] = {}
        self.correction = 1.0
        self.usual_output = float(DEFAULT_OUTPUT_TOKENS)
        self.used_at = 0.0
        self._orders: dict[int, Order] = {}

    def add(self, slot: KeySlot, scope: Scope) -> Lane:
        """Let *slot* serve here under *scope*."""
        lane = self.lane_by_key.get((scope.id, slot.priority))
        if lane is None:
            health = scope.health_by_model.setdefault(self.model, Health())
            lane = Lane(self, scope, slot.priority, health=health)
            self.lane_by_key[scope.id, slot.priority] = lane
            self._place_of[lane] = len(self.lanes)
            self.lanes.append(lane)
            scope.lanes.setdefault(self, []).append(lane)
        lane.add(slot)
        slot.lanes.append(lane)
        for order in self._orders.values():
            order.file(lane, 0.0)
        return lane

    def remove(self, slot: KeySlot, lane: Lane) -> None:
        """Let *slot* serve here no more; an empty lane goes with it."""
        lane.remove(slot)
        slot.lanes.remove(lane)
        if lane.slots:
            return
        # The last lane takes the place that became free: nobody else moves.
        last, place = self.lanes.pop(), self._place_of.pop(lane)
        if last is not lane:
            self.lanes[place] = last
            self._place_of[last] = place
        del self.lane_by_key[lane.scope.id, lane.priority]
        lanes = lane.scope.lanes[self]
        lanes.remove(lane)
        if not lanes:
            del lane.scope.lanes[self]
        for order in self._orders.values():
            order.forget(lane)

    def dissolve(self) -> None:
        """Take every lane apart: nobody asked for this model in a long time."""
        for lane in list(self.lanes):
            for slot in list(lane.slots):
                self.remove(slot, lane)
            lane.scope.health_by_model.pop(self.model, None)
        self._orders.clear()

    def amounts(self, demand: Demand) -> list[float]:
        """Say what *demand* will be charged when it is let in, a place for each dimension."""
        estimate = float(math.ceil(demand.input_tokens * self.correction))
        usual, cap, admission = self.usual_output, demand.output_cap, self.admission
        if admission.input_only:
            tokens = estimate
        elif admission.larger_of:
            tokens = max(estimate, float(cap or 0))
        elif cap is not None and admission.counts_cap:
            tokens = estimate + cap
        else:
            tokens = float(math.ceil(estimate + usual))
        output = usual if cap is None else min(float(cap), usual)
        # Requests, tokens, input and output tokens, concurrency; images, audio seconds, dollars.
        return [1.0, tokens, estimate, output, 1.0, 0.0, 0.0, 0.0]

    def actual(
        self, hold: Reservation, input_tokens: int, output_tokens: int, cached_tokens: int = 0
    ) -> list[float]:
        """Say what the provider keeps charged once the true usage is known."""
        amounts = list(hold.amounts)
        admission = self.admission
        if admission.settles:
            free = 0 if admission.counts_cached else cached_tokens
            counted = max(0, input_tokens - free)
            amounts[_TOKENS] = float(counted + (0 if admission.input_only else output_tokens))
            amounts[_INPUT] = float(counted)
            amounts[_OUTPUT] = float(output_tokens)
        return amounts

    def learn_sizes(self, demand: Demand, input_tokens: int, output_tokens: int) -> None:
        """Fold one reported usage into the correction of our estimates."""
        if demand.input_tokens > 0 and input_tokens > 0:
            ratio = min(8.0, max(0.125, input_tokens / demand.input_tokens))
            self.correction += _LEARN * (ratio - self.correction)
        self.usual_output += _LEARN * (output_tokens - self.usual_output)

    def order(self, amounts: Amounts) -> Order:
        """Return the order for requests of this size; made at the first such request."""
        size = int(amounts[_TOKENS]).bit_length()
        order = self._orders.get(size)
        if order is None:
            order = self._orders[size] = Order(self.lanes, self.score, self.gate)
        return order

    def calls_by(self, at: float, demand: Demand, now: float) -> float:
        """Return how many calls such as *demand* can begin here until *at*; `inf` when untold.

        Of a large pool that is not asked: somebody among so many has room.
        """
        if len(self.lanes) > _FEW:
            return math.inf
        amounts = self._expected(demand)
        scopes = {lane.scope for lane in self.lanes if lane.may_serve_by(at)}
        return sum(scope.calls_by(at, amounts, now) for scope in scopes)

    def _expected(self, demand: Demand) -> list[float]:
        """Say what *demand* will have been charged in the end, as requests go here."""
        amounts = self.amounts(demand)
        if self.admission.settles:
            amounts[_TOKENS] = amounts[_INPUT]
            if not self.admission.input_only:
                amounts[_TOKENS] += amounts[_OUTPUT]
        return amounts

    def refresh(self, scope: Scope, now: float) -> None:
        """File the lanes of *scope* afresh: room came, or a wait ended."""
        for lane in scope.lanes.get(self, ()):
            self.refresh_lane(lane, now)

    def rest(self, scope: Scope, why: Shortfall) -> None:
        """Put the lanes of *scope* to sleep: it waits, whatever is asked of it."""
        for lane in scope.lanes.get(self, ()):
            for order in self._orders.values():
                order.sleep(lane, why)

    def refresh_lane(self, lane: Lane, now: float) -> None:
        """File *lane* afresh wherever it sleeps."""
        for order in self._orders.values():
            if order.is_asleep(lane):
                order.file(lane, now)
