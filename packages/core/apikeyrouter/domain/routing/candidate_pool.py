"""A pool: all candidates that serve one model of one provider, under one objective."""

import math

from apikeyrouter.domain.failures.circuit import Circuit
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Amounts, Reservation, Scope, Shortfall
from apikeyrouter.domain.ledger.window import INDEX_OF
from apikeyrouter.domain.models.demand import DEFAULT_OUTPUT_TOKENS, Demand
from apikeyrouter.domain.models.observation import Dimension
from apikeyrouter.domain.routing.candidate import Candidate, Health
from apikeyrouter.domain.routing.ranking import Gate, Ranking, Score

_LEARN = 0.1
_FEW = 32
_TOKENS = INDEX_OF[Dimension.TOKENS]
_INPUT = INDEX_OF[Dimension.INPUT_TOKENS]
_OUTPUT = INDEX_OF[Dimension.OUTPUT_TOKENS]


class CandidatePool:
    """Candidates in order, and what is learned of the sizes of requests.

    Attributes:
        model: The provider's own name of it.
        correction: Reported over estimated input tokens, decaying average.
        usual_output: Output tokens a request usually makes here.
        used_at: When a key of it was last chosen.
    """

    __slots__ = (
        "_orders",
        "_place_of",
        "admission",
        "candidate_by_key",
        "candidates",
        "circuit",
        "correction",
        "gate",
        "model",
        "provider_id",
        "score",
        "used_at",
        "usual_output",
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
        self.candidates: list[Candidate] = []
        self.candidate_by_key: dict[tuple[str, int], Candidate] = {}
        self._place_of: dict[Candidate, int] = {}
        self.correction = 1.0
        self.usual_output = float(DEFAULT_OUTPUT_TOKENS)
        self.used_at = 0.0
        self._orders: dict[int, Ranking] = {}

    def add(self, slot: KeySlot, scope: Scope) -> Candidate:
        """Let *slot* serve here under *scope*."""
        candidate = self.candidate_by_key.get((scope.id, slot.priority))
        if candidate is None:
            health = scope.health_by_model.setdefault(self.model, Health())
            candidate = Candidate(self, scope, slot.priority, health=health)
            self.candidate_by_key[scope.id, slot.priority] = candidate
            self._place_of[candidate] = len(self.candidates)
            self.candidates.append(candidate)
            scope.candidates.setdefault(self, []).append(candidate)
        candidate.add(slot)
        slot.candidates.append(candidate)
        for order in self._orders.values():
            order.file(candidate, 0.0)
        return candidate

    def remove(self, slot: KeySlot, candidate: Candidate) -> None:
        """Let *slot* serve here no more; an empty candidate goes with it."""
        candidate.remove(slot)
        slot.candidates.remove(candidate)
        if candidate.slots:
            return
        # The last candidate takes the place that became free: nobody else moves.
        last, place = self.candidates.pop(), self._place_of.pop(candidate)
        if last is not candidate:
            self.candidates[place] = last
            self._place_of[last] = place
        del self.candidate_by_key[candidate.scope.id, candidate.priority]
        candidates = candidate.scope.candidates[self]
        candidates.remove(candidate)
        if not candidates:
            del candidate.scope.candidates[self]
        for order in self._orders.values():
            order.forget(candidate)

    def slots(self) -> set[KeySlot]:
        """Return the keys that serve here."""
        return {slot for candidate in self.candidates for slot in candidate.slots}

    def dissolve(self) -> None:
        """Take every candidate apart: nobody asked for this model in a long time."""
        for candidate in list(self.candidates):
            for slot in list(candidate.slots):
                self.remove(slot, candidate)
            candidate.scope.health_by_model.pop(self.model, None)
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

    def order(self, amounts: Amounts) -> Ranking:
        """Return the order for requests of this size; made at the first such request."""
        size = int(amounts[_TOKENS]).bit_length()
        order = self._orders.get(size)
        if order is None:
            order = self._orders[size] = Ranking(self.candidates, self.score, self.gate)
        return order

    def calls_by(self, at: float, demand: Demand, now: float) -> float:
        """Return how many calls such as *demand* can begin here until *at*; `inf` when untold.

        Of a large pool that is not asked: somebody among so many has room.
        """
        if len(self.candidates) > _FEW:
            return math.inf
        amounts = self._expected(demand)
        scopes = {candidate.scope for candidate in self.candidates if candidate.may_serve_by(at)}
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
        """File the candidates of *scope* afresh: room came, or a wait ended."""
        for candidate in scope.candidates.get(self, ()):
            self.refresh_candidate(candidate, now)

    def rest(self, scope: Scope, why: Shortfall) -> None:
        """Put the candidates of *scope* to sleep: it waits, whatever is asked of it."""
        for candidate in scope.candidates.get(self, ()):
            for order in self._orders.values():
                order.sleep(candidate, why)

    def refresh_candidate(self, candidate: Candidate, now: float) -> None:
        """File *candidate* afresh wherever it sleeps."""
        for order in self._orders.values():
            if order.is_asleep(candidate):
                order.file(candidate, now)
