"""What a failure does: the key, the scope, the model or the circuit that failed is cooled.

The failure table decides what follows; here it is done. A wait that a provider
told holds for the scope that was told, whatever the failure was.
"""

from dataclasses import replace

from apikeyrouter.domain.accounts.registry import ALL_MODELS
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
    be forbidden to this key alone. What nobody explains may be the request's own fault.
    """
    consequence = CONSEQUENCES[failure.kind]
    if grant.generation != grant.slot.generation and consequence.blame in _OF_THE_SECRET:
        return replace(consequence, blame=Blame.NOBODY, key_state=None, same_key_retry=True)
    requests = _REQUESTS_TO_BELIEVE.get(failure.kind)
    if requests is None:
        return consequence
    if failure.status == _NOT_FOUND:
        consequence = replace(consequence, blame=Blame.MODEL_IN_SCOPE, whole_account=True)
    needed = requests[now - grant.candidate.health.answered_at < _JUST_S]
    if needed > 1 and not _refusals_of(grant).is_borne_out_by(demand, needed):
        return replace(consequence, blame=Blame.NOBODY)
    return consequence


def apply_consequence(
    context: AttemptContext,
    grant: Grant,
    failure: Failure,
    consequence: Consequence,
    started_at: float,
    now: float,
) -> None:
    """Cool what *failure* is blamed on.

    Args:
        started_at: When the failed call began.
    """
    blame = consequence.blame
    if blame is Blame.PROVIDER:
        _open_circuit(context, grant, failure, started_at, now)
        return
    if failure.status is not None:
        close_circuit(context, grant)
    elif grant.is_probe:
        grant.pool.circuit.release_probe()
        context.engine.routes.on_change()
    if blame is Blame.SCOPE:
        _cool_scope(context, grant, failure, consequence, started_at, now)
    elif blame is Blame.KEY:
        _cool_key(context, grant, failure, consequence, started_at, now)
    elif blame in (Blame.KEY_MODEL, Blame.MODEL_IN_SCOPE):
        _refuse_model(context, grant, failure, consequence, started_at, now)


def close_circuit(context: AttemptContext, grant: Grant) -> None:
    """Note that the provider answered: whatever it said, it is there."""
    circuit = grant.pool.circuit
    if circuit.note_success():
        _tell_circuit(context, grant, "closed", "answered")
        context.engine.routes.on_change()
    elif circuit.ramp is not None:
        context.engine.routes.on_change()


def _open_circuit(
    context: AttemptContext, grant: Grant, failure: Failure, began_at: float, now: float
) -> None:
    circuit, health, kind = grant.pool.circuit, grant.candidate.health, failure.kind.value
    health.note_failure(began_at, now)
    grant.slot.note_failure(now)
    at_once = failure.kind is FailureClass.UNREACHABLE
    if failure.kind is FailureClass.MID_STREAM:
        at_once = circuit.note_break(began_at, now)
    if circuit.note_failure(now, kind, began_at=began_at, at_once=at_once):
        detail = failure.message if failure.status is None else ""
        _tell_circuit(context, grant, "open", kind, detail)
    elif grant.is_probe:
        context.engine.routes.on_change()
    told_s = min(failure.retry_after_s or 0.0, LONGEST_TOLD_S)
    if told_s > 0.0:
        context.awareness.tell_to_wait(grant.scope(), now + told_s, kind, "told to wait")
        context.engine.routes.rest_scope(grant.scope())
    elif health.failures >= _FAILURES_TO_REST and circuit.answered_at >= health.failing_since:
        # Who answered since then is another account: an answer of its own ends the row.
        doublings = min(health.failures - _FAILURES_TO_REST, 16)
        rest_s = min(_LONGEST_REST_S, _FIRST_REST_S * 2.0**doublings)
        context.awareness.tell_to_wait(grant.scope(), now + rest_s, kind, "fails in a row")
        _tell_rest(context, grant, failure, rest_s)


def forget_refusals(context: AttemptContext, grant: Grant) -> None:
    """Note that an account serves a model after all; what single keys are refused stays."""
    refusals = _refusals_of(grant)
    refusals.forget(grant.slot)
    candidates = _candidates_of(grant)
    for candidate in candidates:
        candidate.refusals = refusals if refusals.cooldown_by_key else None
    grant.pool.refresh(candidates, context.clock())
    context.engine.routes.on_change()


def _refuse_model(
    context: AttemptContext,
    grant: Grant,
    failure: Failure,
    consequence: Consequence,
    began_at: float,
    now: float,
) -> None:
    """Keep the model, at this endpoint, from the account or from the key alone."""
    refusals = _refusals_of(grant)
    in_row = refusals.count(began_at, now)
    wait_s = wait_for(failure, consequence, in_row)
    grant.slot.note_failure(now)
    refusals.rest(
        now + wait_s, failure.kind.value, None if consequence.whole_account else grant.slot
    )
    candidates = _candidates_of(grant)
    for candidate in candidates:
        candidate.refusals = refusals
    grant.pool.refresh(candidates, now)
    _tell_rest(context, grant, failure, wait_s, is_of_model=True)


def _candidates_of(grant: Grant) -> list[Candidate]:
    """Return what stands for the account in the pool: a candidate for each priority."""
    return grant.scope().index.candidates.get(grant.pool) or [grant.candidate]


def _refusals_of(grant: Grant) -> Refusals:
    first = _candidates_of(grant)[0]
    if first.refusals is None:
        first.refusals = Refusals()
    return first.refusals


def _cool_scope(
    context: AttemptContext,
    grant: Grant,
    failure: Failure,
    consequence: Consequence,
    started_at: float,
    now: float,
) -> None:
    scope = grant.scope()
    scope.statistics.refused += 1
    grant.slot.refused += 1
    # Calls that were under way together are refused together: one refusal, one wait.
    is_first = started_at >= scope.statistics.refused_at
    if is_first:
        scope.statistics.refusals_in_row += 1
        scope.statistics.refused_at = now
    believed_s = context.awareness.note_refusal(scope, failure, now, is_first=is_first)
    grant.slot.note_failure(now)
    wait_s = _wait_s(context, failure, consequence, scope.statistics.refusals_in_row)
    if believed_s is not None and not failure.retry_after_s:
        wait_s = believed_s
        if wait_s <= 0.0:
            context.engine.routes.refresh_scope(scope)
            return
    until = now + wait_s
    how = "told to wait" if failure.retry_after_s else ""
    scopes = [scope]
    if failure.kind in _OF_THE_ACCOUNT:
        scopes = list({scope, *context.awareness.book.scopes_of(grant.slot)})
    for told in scopes:
        context.awareness.tell_to_wait(told, until, failure.kind.value, how)
    if scope.group == ALL_MODELS or failure.kind in _OF_THE_ACCOUNT:
        _rest(context, grant, consequence, failure, until, now)
    for told in scopes:
        context.engine.routes.rest_scope(told)


def _cool_key(
    context: AttemptContext,
    grant: Grant,
    failure: Failure,
    consequence: Consequence,
    began_at: float,
    now: float,
) -> None:
    slot = grant.slot
    if began_at >= slot.refused_at:
        slot.streak += 1
        slot.refused_at = now
    slot.note_failure(now)
    until = now + _wait_s(context, failure, consequence, slot.streak)
    if failure.kind in _OF_THE_ACCOUNT:
        for scope in context.awareness.book.scopes_of(slot):
            context.awareness.tell_to_wait(scope, until, failure.kind.value)
            context.engine.routes.rest_scope(scope)
    if consequence.key_state is KeyState.INVALID:
        slot.cooldown.cause = failure.kind.value
        _move(context, grant, KeyState.INVALID, failure, now)
        if slot.record.state is KeyState.INVALID:
            context.on_invalid(slot)
    else:
        _rest(context, grant, consequence, failure, until, now)


def _wait_s(
    context: AttemptContext, failure: Failure, consequence: Consequence, streak: int
) -> float:
    """Return the wait; an untold one begins as the operator has set it."""
    first_s = None
    if consequence.key_state is KeyState.THROTTLED:
        first_s = consequence.cool_s * context.cooldown_s
    if consequence.key_state is KeyState.EXHAUSTED:
        first_s = min(consequence.cool_s, context.quota_cooldown_s)
    return wait_for(failure, consequence, streak=max(1, streak), first_s=first_s)


def _rest(
    context: AttemptContext,
    grant: Grant,
    consequence: Consequence,
    failure: Failure,
    until: float,
    now: float,
) -> None:
    context.manager.sleep(grant.slot, until, failure.kind.value)
    if consequence.key_state is not None:
        _move(context, grant, consequence.key_state, failure, now)
    else:
        context.engine.routes.refresh_slot(grant.slot)


def _move(
    context: AttemptContext, grant: Grant, to: KeyState, failure: Failure, now: float
) -> None:
    slot = grant.slot
    state = slot.record.state
    # Only an operator moves what an operator has disabled.
    if state is not KeyState.DISABLED and to in ALLOWED_MOVES[state]:
        expect = KeyVersion(state, grant.generation)
        context.manager.move(slot, to, failure.kind.value, now, expect=expect)


def _tell_circuit(
    context: AttemptContext, grant: Grant, state: str, trigger: str, detail: str = ""
) -> None:
    pool = grant.pool
    at = context.clock()
    context.feed.emit(CircuitMoved(pool.provider_id, pool.model, state, trigger, detail, at=at))


def _tell_rest(
    context: AttemptContext,
    grant: Grant,
    failure: Failure,
    seconds: float,
    *,
    is_of_model: bool = False,
) -> None:
    pool = grant.pool
    context.feed.emit(
        Rested(
            at=context.clock(),
            provider_id=pool.provider_id,
            scope_id=grant.scope().id,
            model=pool.model if is_of_model else "",
            endpoint=pool.endpoint if is_of_model else "",
            key_id=grant.slot.id,
            seconds=seconds,
            cause=failure.kind.value,
            status=failure.status,
            message=failure.message,
        )
    )
