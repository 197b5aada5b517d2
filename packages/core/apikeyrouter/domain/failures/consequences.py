"""What a failure does: the key, the scope, the model or the circuit that failed is cooled.

The failure table decides what follows; here it is done. A wait that a provider
told holds for the scope that was told, whatever the failure was.
"""

from dataclasses import dataclass, replace

from apikeyrouter.domain.accounts.registry import ALL_MODELS
from apikeyrouter.domain.accounts.searching.pace_search import is_one_too_many, under_way
from apikeyrouter.domain.attempt_context import AttemptContext
from apikeyrouter.domain.components.routing_engine import Grant
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.failures.refusals import Refusals
from apikeyrouter.domain.failures.table import (
    CONSEQUENCES,
    LONGEST_TOLD_S,
    Blame,
    Consequence,
    wait_for,
)
from apikeyrouter.domain.feed.events import CircuitMoved, Rested
from apikeyrouter.domain.key_slot import KeyVersion
from apikeyrouter.domain.models.api_key import ALLOWED_MOVES, KeyState
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.candidate import Candidate
from apikeyrouter.domain.routing.demand import Demand

#: An account that fails so often in a row, while others of its provider answer, rests by itself,
#: longer each time.
_FAILURES_TO_REST = 3
_FIRST_REST_S, _LONGEST_REST_S = 0.5, 60.0
_NOT_FOUND = 404
#: A model that was let in so recently works there.
_JUST_S = 60.0
#: How many different requests must be refused before it is believed of the model: first of one
#: that has not worked there just now, then of one that has.
_REQUESTS_TO_BELIEVE = {
    FailureClass.MODEL_UNAVAILABLE: (1, 2),
    FailureClass.UNEXPLAINED: (2, 5),
}
#: Failures of the account itself: they hold for all of its models.
_OF_THE_ACCOUNT = frozenset(
    {FailureClass.QUOTA_BILLING, FailureClass.ACCOUNT_DISABLED, FailureClass.IP_NOT_AUTHORIZED}
)
#: What they tell of a key is over with its secret.
_OF_THE_SECRET = frozenset({Blame.KEY, Blame.KEY_MODEL})


def consequence_of(failure: Failure, grant: Grant, demand: Demand, now: float) -> Consequence:
    """Say what follows from *failure*: the table's row, but for what only this call can tell.

    A model that is not found is found by no key of the account, while one that is forbidden may
    be forbidden to this key alone. What nobody explains may be the request's own fault. A call
    that a busy provider had no room for beside others is no failure of that provider.
    """
    consequence = CONSEQUENCES[failure.kind]
    if grant.generation != grant.slot.generation and consequence.blame in _OF_THE_SECRET:
        return replace(consequence, blame=Blame.NOBODY, key_state=None, same_key_retry=True)
    if failure.kind is FailureClass.OVERLOADED and _is_one_too_many(grant, now):
        # It waits for its turn, however often a slot is tried in vain.
        return replace(consequence, spends_retry=False)
    requests = _REQUESTS_TO_BELIEVE.get(failure.kind)
    if requests is None:
        return consequence
    if failure.status == _NOT_FOUND:
        consequence = replace(consequence, blame=Blame.MODEL_IN_SCOPE, whole_account=True)
    needed = requests[now - grant.candidate.health.answered_at < _JUST_S]
    if needed > 1 and not _refusals_of(grant).is_borne_out_by(demand, needed):
        return replace(consequence, blame=Blame.NOBODY)
    return consequence


@dataclass(slots=True, frozen=True)
class FailedCall:
    """One call that failed, and what follows from it.

    Attributes:
        began_at: When it began; calls that were under way together fail once.
        now: When it failed.
    """

    context: AttemptContext
    grant: Grant
    failure: Failure
    consequence: Consequence
    began_at: float
    now: float

    @property
    def cause(self) -> str:
        """The name of its failure class."""
        return self.failure.kind.value

    def apply(self) -> None:
        """Cool what the failure is blamed on."""
        self._cool_blamed()
        if self.consequence.blame is not Blame.NOBODY:
            self.context.engine.on_learned(self.grant)

    def _cool_blamed(self) -> None:
        blame = self.consequence.blame
        if blame is Blame.PROVIDER:
            self._open_circuit()
            return
        if self.failure.status is not None:
            close_circuit(self.context, self.grant)
        elif self.grant.is_probe:
            self.grant.pool.circuit.release_probe()
            self.context.engine.routes.on_change()
        if blame is Blame.SCOPE:
            self._cool_scope()
        elif blame is Blame.KEY:
            self._cool_key()
        elif blame in (Blame.KEY_MODEL, Blame.MODEL_IN_SCOPE):
            self._refuse_model()

    def _open_circuit(self) -> None:
        circuit, health = self.grant.pool.circuit, self.grant.candidate.health
        health.note_failure(self.began_at, self.now)
        self.grant.slot.note_failure(self.now)
        if self.failure.kind is FailureClass.OVERLOADED:
            self.context.awareness.note_busy(self.grant.scope(), self.began_at, self.now)
        at_once = self.failure.kind is FailureClass.UNREACHABLE
        if self.failure.kind is FailureClass.MID_STREAM:
            at_once = circuit.note_break(self.began_at, self.now)
        if circuit.note_failure(self.now, self.cause, began_at=self.began_at, at_once=at_once):
            detail = self.failure.message if self.failure.status is None else ""
            _tell_circuit(self.context, self.grant, "open", self.cause, detail)
        elif self.grant.is_probe:
            self.context.engine.routes.on_change()
        told_s = min(self.failure.retry_after_s or 0.0, LONGEST_TOLD_S)
        if told_s > 0.0:
            self._cool(self.grant.scope(), self.now + told_s, "told to wait")
            self.context.engine.routes.rest_scope(self.grant.scope())
        elif health.failures >= _FAILURES_TO_REST and circuit.answered_at >= health.failing_since:
            # Who answered since then is another account: an answer of its own ends the row.
            doublings = min(health.failures - _FAILURES_TO_REST, 16)
            rest_s = min(_LONGEST_REST_S, _FIRST_REST_S * 2.0**doublings)
            self._cool(self.grant.scope(), self.now + rest_s, "fails in a row")
            self._tell_rest(rest_s)

    def _refuse_model(self) -> None:
        """Keep the model, at this endpoint, from the account or from the key alone."""
        refusals = _refusals_of(self.grant)
        in_row = refusals.count(self.began_at, self.now)
        wait_s = wait_for(self.failure, self.consequence, in_row)
        self.grant.slot.note_failure(self.now)
        slot = None if self.consequence.whole_account else self.grant.slot
        refusals.rest(self.now + wait_s, self.cause, slot)
        candidates = _candidates_of(self.grant)
        for candidate in candidates:
            candidate.refusals = refusals
        self.grant.pool.refresh(candidates, self.now)
        self._tell_rest(wait_s, is_of_model=True)

    def _cool_scope(self) -> None:
        scope = self.grant.scope()
        scope.statistics.refused += 1
        self.grant.slot.refused += 1
        # Calls that were under way together are refused together: one refusal, one wait.
        is_first = self.began_at >= scope.statistics.refused_at
        if is_first:
            scope.statistics.refusals_in_row += 1
            scope.statistics.refused_at = self.now
        believed_s = self.context.awareness.note_refusal(
            scope, self.failure, self.now, is_first=is_first
        )
        self.grant.slot.note_failure(self.now)
        wait_s = self._wait_s(scope.statistics.refusals_in_row)
        if believed_s is not None and not self.failure.retry_after_s:
            wait_s = believed_s
            if wait_s <= 0.0:
                self.context.engine.routes.refresh_scope(scope)
                return
        until = self.now + wait_s
        how = "told to wait" if self.failure.retry_after_s else ""
        scopes = [scope]
        if self.failure.kind in _OF_THE_ACCOUNT:
            scopes = list({scope, *self.context.awareness.book.scopes_of(self.grant.slot)})
        for told in scopes:
            self._cool(told, until, how)
        if scope.group == ALL_MODELS or self.failure.kind in _OF_THE_ACCOUNT:
            self._rest(until)
        for told in scopes:
            self.context.engine.routes.rest_scope(told)

    def _cool_key(self) -> None:
        slot = self.grant.slot
        if self.began_at >= slot.refused_at:
            slot.streak += 1
            slot.refused_at = self.now
        slot.note_failure(self.now)
        until = self.now + self._wait_s(slot.streak)
        if self.failure.kind in _OF_THE_ACCOUNT:
            for scope in self.context.awareness.book.scopes_of(slot):
                self._cool(scope, until)
                self.context.engine.routes.rest_scope(scope)
        if self.consequence.key_state is KeyState.INVALID:
            slot.cooldown.cause = self.cause
            self._move(KeyState.INVALID)
            if slot.record.state is KeyState.INVALID:
                self.context.on_invalid(slot)
        else:
            self._rest(until)

    def _wait_s(self, streak: int) -> float:
        """Return the wait; an untold one begins as the operator has set it."""
        first_s = None
        if self.consequence.key_state is KeyState.THROTTLED:
            first_s = self.consequence.cool_s * self.context.cooldown_s
        if self.consequence.key_state is KeyState.EXHAUSTED:
            first_s = min(self.consequence.cool_s, self.context.quota_cooldown_s)
        return wait_for(self.failure, self.consequence, streak=max(1, streak), first_s=first_s)

    def _cool(self, scope: QuotaScope, until: float, how: str = "") -> None:
        self.context.awareness.tell_to_wait(scope, until, self.cause, how)

    def _rest(self, until: float) -> None:
        self.context.manager.sleep(self.grant.slot, until, self.cause)
        if self.consequence.key_state is not None:
            self._move(self.consequence.key_state)
        else:
            self.context.engine.routes.refresh_slot(self.grant.slot)

    def _move(self, to: KeyState) -> None:
        slot = self.grant.slot
        state = slot.record.state
        # Only an operator moves what an operator has disabled.
        if state is not KeyState.DISABLED and to in ALLOWED_MOVES[state]:
            expect = KeyVersion(state, self.grant.generation)
            self.context.manager.move(slot, to, self.cause, self.now, expect=expect)

    def _tell_rest(self, seconds: float, *, is_of_model: bool = False) -> None:
        pool = self.grant.pool
        self.context.feed.emit(
            Rested(
                at=self.context.clock(),
                provider_id=pool.provider_id,
                scope_id=self.grant.scope().id,
                model=pool.model if is_of_model else "",
                endpoint=pool.endpoint if is_of_model else "",
                key_id=self.grant.slot.id,
                seconds=seconds,
                cause=self.cause,
                status=self.failure.status,
                message=self.failure.message,
            )
        )


def close_circuit(context: AttemptContext, grant: Grant) -> None:
    """Note that the provider answered: whatever it said, it is there."""
    circuit = grant.pool.circuit
    if circuit.note_success():
        _tell_circuit(context, grant, "closed", "answered")
        context.engine.routes.on_change()
        context.engine.on_learned(grant)
    elif circuit.ramp is not None:
        context.engine.routes.on_change()


def forget_refusals(context: AttemptContext, grant: Grant) -> None:
    """Note that an account serves a model after all; what single keys are refused stays."""
    refusals = _refusals_of(grant)
    has_rested = refusals.rests > 0
    refusals.forget(grant.slot)
    candidates = _candidates_of(grant)
    for candidate in candidates:
        candidate.refusals = refusals if refusals.cooldown_by_key else None
    grant.pool.refresh(candidates, context.clock())
    context.engine.routes.on_change()
    if has_rested:
        context.engine.on_learned(grant)


def _is_one_too_many(grant: Grant, now: float) -> bool:
    scope = grant.scope()
    return is_one_too_many(scope, under_way(scope) - 1, now)


def _candidates_of(grant: Grant) -> list[Candidate]:
    """Return what stands for the account in the pool: a candidate for each priority."""
    return grant.scope().index.candidates.get(grant.pool) or [grant.candidate]


def _refusals_of(grant: Grant) -> Refusals:
    first = _candidates_of(grant)[0]
    if first.refusals is None:
        first.refusals = Refusals()
    return first.refusals


def _tell_circuit(
    context: AttemptContext, grant: Grant, state: str, trigger: str, detail: str = ""
) -> None:
    pool = grant.pool
    at = context.clock()
    context.feed.emit(CircuitMoved(pool.provider_id, pool.model, state, trigger, detail, at=at))
