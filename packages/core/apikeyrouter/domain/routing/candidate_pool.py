"""A candidate pool: all candidates for one model of one provider at one endpoint.

What is learned of a model belongs here whatever a choice is to be good at: the sizes of its
requests, its circuit, how its candidates fare. An objective only ranks them. A name that nobody
has seen working may exist nowhere: of many keys only as many become candidates as its requests
keep busy, and all of them once it has worked (thousands one by one).
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from apikeyrouter.domain.accounts.charge_learning import Sizes
from apikeyrouter.domain.failures.circuit import Circuit
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Amounts, Shortfall
from apikeyrouter.domain.ledger.window import INDEX_OF
from apikeyrouter.domain.limits.observation import Dimension
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.demand import DEFAULT_OUTPUT_TOKENS, Demand
from apikeyrouter.domain.routing.ranking import SMALL_POOL, Ranking
from apikeyrouter.domain.routing.scoring import RANKS, Scoring

_LEARN = 0.1
#: Of more keys than this, if they are alike, so many are candidates at first; each request that
#: is served brings in one more, whose turn is next.
_MANY_KEYS, _FIRST_OF_MANY = 256, 64
#: Rankings kept at once: one for each objective and size class in use.
_RANKINGS_KEPT = 64
#: No request is larger than this, whatever its caller writes.
MOST_TOKENS = 2.0**40
_TOKENS = INDEX_OF[Dimension.TOKENS]
_INPUT = INDEX_OF[Dimension.INPUT_TOKENS]
_OUTPUT = INDEX_OF[Dimension.OUTPUT_TOKENS]


class CandidatePool:
    """Candidates, and what is learned of the sizes of requests.

    Attributes:
        model: The provider's own name of it.
        pending: Keys that may serve it and are no candidates yet.
        has_worked: A call was answered; until then the name may exist nowhere.
        correction: Counted over estimated input tokens, decaying average.
        usual_output: Output tokens a request usually makes here.
        used_at: When a key of it was last chosen.
        served_turn: Virtual time of who was chosen last among those that it competes with.
    """

    __slots__ = (
        "_place_of", "_rankings", "admission", "candidate_by_key", "candidates", "circuit",
        "correction", "endpoint", "has_worked", "model", "pending", "provider_id", "served_turn",
        "used_at", "usual_output",
    )  # fmt: skip

    def __init__(
        self, provider_id: str, model: str, endpoint: str = "", *, admission: Admission
    ) -> None:
        self.provider_id = provider_id
        self.model = model
        self.endpoint = endpoint
        self.admission = admission
        self.circuit = Circuit()
        self.candidates: list[Candidate] = []
        self.candidate_by_key: dict[tuple[str, int], Candidate] = {}
        self.pending: list[KeySlot] = []
        self.has_worked = False
        self._place_of: dict[Candidate, int] = {}
        self.correction = 1.0
        self.usual_output = float(DEFAULT_OUTPUT_TOKENS)
        self.used_at = 0.0
        self.served_turn = 0.0
        self._rankings: OrderedDict[tuple[Scoring, int], Ranking] = OrderedDict()

    def add(self, slot: KeySlot, scope: QuotaScope, now: float) -> Candidate:
        """Let *slot* serve here under *scope*."""
        candidate = self.candidate_by_key.get((scope.id, slot.priority))
        if candidate is None:
            candidate = Candidate(self, scope, slot.priority)
            self.candidate_by_key[scope.id, slot.priority] = candidate
            self._place_of[candidate] = len(self.candidates)
            self.candidates.append(candidate)
            scope.index.candidates.setdefault(self, []).append(candidate)
        candidate.add(slot)
        slot.candidates.append(candidate)
        for ranking in self._rankings.values():
            ranking.file(candidate, now)
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
        candidates = candidate.scope.index.candidates[self]
        candidates.remove(candidate)
        if not candidates:
            del candidate.scope.index.candidates[self]
        for ranking in self._rankings.values():
            ranking.forget(candidate)

    def slots(self) -> set[KeySlot]:
        """Return the keys that serve here."""
        return {slot for candidate in self.candidates for slot in candidate.slots}

    def dissolve(self) -> None:
        """Remove every candidate: nobody asked for this model in a long time."""
        for candidate in list(self.candidates):
            for slot in list(candidate.slots):
                self.remove(slot, candidate)
        self.pending.clear()
        self._rankings.clear()

    def is_busy(self) -> bool:
        """Tell whether every candidate has a call in flight."""
        return all(candidate.scope.account.in_flight for candidate in self.candidates)

    def amounts(self, demand: Demand, admission: Admission | None = None) -> list[float]:
        """Say what *demand* will be charged when it is let in, a place for each dimension.

        Args:
            admission: How an account was found to charge, in place of the provider's usual way.
        """
        estimate = float(math.ceil(demand.input_tokens * self.correction))
        usual, cap = self.usual_output, demand.output_cap
        rule = admission or self.admission
        given = demand.body_bytes / 4.0 if rule.by_bytes and demand.body_bytes else estimate
        if rule.input_only:
            tokens = given
        elif rule.larger_of:
            tokens = max(given, float(cap or 0))
        elif cap is not None and rule.counts_cap:
            tokens = given + cap
        else:
            tokens = float(math.ceil(given + usual))
        output = usual if cap is None else min(float(cap), usual)
        # Requests, tokens, input and output tokens, concurrency; images, audio seconds, dollars.
        return [1.0, min(tokens, MOST_TOKENS), estimate, output, 1.0, 0.0, 0.0, 0.0]

    def actual(
        self,
        amounts: Amounts,
        input_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        admission: Admission | None = None,
    ) -> list[float]:
        """Say what the provider keeps charged of *amounts* once the true usage is known."""
        kept = list(amounts)
        rule = admission or self.admission
        free = 0 if rule.counts_cached else cached_tokens
        counted = max(0, input_tokens - free)
        if rule.settles:
            kept[_TOKENS] = float(counted + (0 if rule.input_only else output_tokens))
        if rule.settles or admission is not None:
            kept[_INPUT] = float(counted)
            kept[_OUTPUT] = float(output_tokens)
        return kept

    def sizes(self, demand: Demand, amounts: Amounts) -> Sizes:
        """Say what is known of *demand*, that *amounts* were reserved for."""
        cap = demand.output_cap
        estimate = amounts[_INPUT]
        by_bytes = demand.body_bytes / 4.0 if demand.body_bytes else estimate
        expected = amounts[_OUTPUT] if cap is None else min(float(cap), MOST_TOKENS)
        return Sizes(by_bytes, estimate, expected, max(estimate, float(min(cap or 0, MOST_TOKENS))))

    def learn_sizes(
        self, demand: Demand, input_tokens: int, output_tokens: int, cached_tokens: int = 0
    ) -> None:
        """Fold one reported usage into the correction of our estimates.

        Where cached input does not count, the estimate is of the rest.
        """
        if cached_tokens and not self.admission.counts_cached:
            input_tokens = max(1, input_tokens - cached_tokens)
        if demand.input_tokens > 0 and input_tokens > 0:
            ratio = min(8.0, max(0.125, input_tokens / demand.input_tokens))
            self.correction += _LEARN * (ratio - self.correction)
        self.usual_output += _LEARN * (output_tokens - self.usual_output)

    def ranking(self, scoring: Scoring, amounts: Amounts, now: float) -> Ranking:
        """Return the ranking for requests of this size; made at the first such request."""
        name = (scoring, int(amounts[_TOKENS]).bit_length())
        ranking = self._rankings.get(name)
        if ranking is None:
            ranking = self._rankings[name] = Ranking(self.candidates, scoring, now)
            if len(self._rankings) > _RANKINGS_KEPT:
                self._rankings.popitem(last=False)[1].close()
        return ranking

    def drop_rankings(self, scoring: Scoring) -> None:
        """Let go of the rankings of an objective that nobody names any more."""
        for name in [name for name in self._rankings if name[0] is scoring]:
            self._rankings.pop(name).close()

    def calls_by(self, at: float, demand: Demand, now: float) -> float:
        """Return how many calls such as *demand* can begin here until *at*; `inf` when untold.

        Of a large pool that is not asked: somebody among so many has room.
        """
        if self.pending or len(self.candidates) > SMALL_POOL:
            return math.inf
        amounts = self._expected(demand)
        scopes = {candidate.scope for candidate in self.candidates if candidate.may_serve_by(at)}
        return sum(scope.calls_by(at, amounts, now) for scope in scopes)

    def note_end(self, candidate: Candidate) -> None:
        """Note that a call of *candidate* has ended, which may change its score."""
        if len(self.candidates) > SMALL_POOL:
            for ranking in self._rankings.values():
                ranking.note_change(candidate)

    def refresh(self, candidates: Iterable[Candidate], now: float) -> None:
        """Wake *candidates* in every ranking: capacity returned, or a wait ended."""
        for candidate in candidates:
            for ranking in self._rankings.values():
                if ranking.is_asleep(candidate):
                    ranking.file(candidate, now)

    def rest(self, candidates: Iterable[Candidate], why: Shortfall) -> None:
        """Let *candidates* sleep, whatever is asked of them."""
        for candidate in candidates:
            for ranking in self._rankings.values():
                ranking.sleep(candidate, why)

    def _expected(self, demand: Demand) -> list[float]:
        """Say what *demand* will have been charged in the end, as requests go here."""
        amounts = self.amounts(demand)
        if self.admission.settles:
            amounts[_TOKENS] = amounts[_INPUT]
            if not self.admission.input_only:
                amounts[_TOKENS] += amounts[_OUTPUT]
        return amounts


def first_keys(slots: Sequence[KeySlot]) -> int:
    """Return how many of *slots* are to be candidates at once: of many that are alike a part."""
    if len(slots) <= _MANY_KEYS:
        return len(slots)
    kinds = {(slot.priority, slot.weight) for slot in slots}
    is_ranked = any(not RANKS.isdisjoint(slot.record.metadata) for slot in slots)
    return len(slots) if is_ranked or len(kinds) > 1 else _FIRST_OF_MANY
