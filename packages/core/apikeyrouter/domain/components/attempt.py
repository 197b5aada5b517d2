"""One try on one key: ends in exactly one of settle, fail, cancel.

An `Attempt` carries the hold, says what became of it, and thereby teaches the
ledger, the key, the lane and the circuit. `AttemptDesk` is what all attempts
share. A failure's class decides what follows; the table decides, not this room.
"""

from collections.abc import Callable
from dataclasses import dataclass

from apikeyrouter.domain.components.decision_record import DecisionRecord
from apikeyrouter.domain.components.failure_table import (
    CONSEQUENCES,
    Blame,
    Consequence,
    wait_for,
)
from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.components.key_slot import KeySlot
from apikeyrouter.domain.components.quota_awareness_engine import QuotaAwarenessEngine
from apikeyrouter.domain.components.routing_engine import Grant, ProviderEntry, RoutingEngine
from apikeyrouter.domain.models.api_key import ALLOWED_MOVES, KeyState
from apikeyrouter.domain.models.demand import Demand
from apikeyrouter.domain.models.events import AttemptEnded, CircuitMoved, Event
from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter.domain.models.observation import ObservedLimit

_TOO_MANY = 429
_FRESH_REPORT_S = 0.02
_ROOMY = 0.5


@dataclass(slots=True, frozen=True)
class AttemptDesk:
    """What all attempts share.

    Attributes:
        quota_cooldown_s: First rest of an exhausted key whose provider named no moment.
        on_invalid: Told when a key was refused as a credential.
    """

    engine: RoutingEngine
    awareness: QuotaAwarenessEngine
    manager: KeyManager
    clock: Callable[[], float]
    emit: Callable[[Event], None]
    quota_cooldown_s: float
    on_invalid: Callable[[KeySlot], None]
    #: Lets the queue look again: something got better without room coming back.
    wake: Callable[[], None]
    #: Takes the record of a request that has come to its end.
    keep: Callable[[DecisionRecord], None]


class Attempt:
    """One call on one key, from the reservation to its end.

    Attributes:
        slot: The key; `slot.secret` is its credential.
        provider: The provider that is tried.
        model: The provider's own name of the model.
        started_at: Epoch seconds at which the hold was taken.
        failure: Why it failed; `None` while it runs, and when it ended otherwise.
        consequence: What its failure asks for.
        is_streaming: Its end has been handed to a stream.
    """

    __slots__ = (
        "_desk", "_has_answered", "consequence", "demand", "failure", "grant", "is_open",
        "is_streaming", "provider", "record", "slot", "started_at",
    )  # fmt: skip

    def __init__(
        self, desk: AttemptDesk, grant: Grant, demand: Demand, record: DecisionRecord
    ) -> None:
        self._desk = desk
        self.grant = grant
        self.demand = demand
        self.record = record
        self.started_at = grant.note.at
        self.is_open = True
        self.is_streaming = False
        self._has_answered = False
        self.failure: Failure | None = None
        self.consequence: Consequence | None = None
        self.provider: ProviderEntry = desk.engine.providers[grant.pool.provider_id]
        self.slot = slot = grant.slot
        slot.in_flight += 1
        if slot.record.state is not KeyState.AVAILABLE:
            desk.manager.recover(slot, self.started_at)

    @property
    def model(self) -> str:
        """The provider's own name of the model."""
        return self.grant.pool.model

    def now(self) -> float:
        """Return the instant by the router's clock."""
        return self._desk.clock()

    def wants_limits(self, now: float) -> bool:
        """Tell whether the answer's figures are worth reading.

        A report is skipped when the scope's last one is milliseconds old and
        half of every limit is left: it could change no decision.
        """
        scope = self.grant.hold.scope
        seen_at = scope.observed_at
        return seen_at is None or now - seen_at > _FRESH_REPORT_S or scope.strain(now) > _ROOMY

    @property
    def tries_next(self) -> bool:
        """Whether its failure is a reason to try elsewhere."""
        return self.consequence is not None and self.consequence.try_next

    def answered(self, limits: tuple[ObservedLimit, ...] = (), account: str = "") -> None:
        """Note that the provider let the request in: its head has come."""
        desk, grant = self._desk, self.grant
        hold, slot, awareness = grant.hold, self.slot, desk.awareness
        now = desk.clock()
        self._has_answered = True
        hold.confirm()
        grant.lane.note(now - self.started_at)
        slot.note_success(now - self.started_at, now)
        if limits:
            awareness.learn(hold.scope, limits, now, hold)
        if account:
            awareness.note_account(slot, account)
        awareness.note_success(hold.scope, now)
        circuit = grant.pool.circuit
        if circuit.failures or circuit.awaits_answer or circuit.is_open:
            self._close_circuit()

    def settle(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int = 0,
    ) -> None:
        """End well: correct the hold to what was used; `None` leaves it at the estimate.

        Args:
            cached_tokens: How many of the input tokens came from a prompt cache.
        """
        now = self._end("ok", "")
        hold, pool = self.grant.hold, self.grant.pool
        if not self._has_answered:
            self.answered()
        ledger = self._desk.awareness.ledger
        if input_tokens is None:
            ledger.settle(hold, hold.amounts, now)
            self._tell("ok", now)
            return
        used_out = output_tokens or 0
        ledger.settle(hold, pool.actual(hold, input_tokens, used_out, cached_tokens), now)
        pool.learn_sizes(self.demand, input_tokens, used_out)
        self.record.input_tokens, self.record.output_tokens = input_tokens, used_out
        self._tell("ok", now, input_tokens, used_out)

    def cancel(self, *, sent: bool = True) -> None:
        """End because the caller left; what was sent stays charged at the estimate."""
        now = self._end("cancelled", "")
        self.grant.pool.circuit.release_probe()
        ledger = self._desk.awareness.ledger
        if sent:
            ledger.settle(self.grant.hold, self.grant.hold.amounts, now)
        else:
            ledger.cancel(self.grant.hold, now)
        self._tell("cancelled", now)

    def fail(self, failure: Failure) -> Consequence:
        """End badly: apply what the failure's class asks for, and return it."""
        now = self._end(failure.kind.value, failure.message)
        desk, grant = self._desk, self.grant
        counted = failure.status is not None and failure.status != _TOO_MANY
        desk.awareness.ledger.cancel(grant.hold, now, counted=counted)
        if failure.limits:
            desk.awareness.learn(grant.hold.scope, failure.limits, now, grant.hold)
        if failure.account:
            desk.awareness.note_account(grant.slot, failure.account)
        consequence = CONSEQUENCES[failure.kind]
        self.failure, self.consequence = failure, consequence
        self._blame(failure, consequence, now)
        self._tell(failure.kind.value, now)
        return consequence

    def _end(self, outcome: str, message: str) -> float:
        if not self.is_open:
            raise RuntimeError("an attempt ends once; this one has ended already")
        self.is_open = False
        now = self._desk.clock()
        note = self.grant.note
        note.outcome, note.message, note.ended_at = outcome, message[:200], now
        self.grant.slot.in_flight -= 1
        return now

    def _tell(
        self, outcome: str, now: float, input_tokens: int = 0, output_tokens: int = 0
    ) -> None:
        grant = self.grant
        self._desk.emit(
            AttemptEnded(
                request_id=self.demand.request_id,
                key_id=grant.slot.id,
                provider_id=grant.pool.provider_id,
                model=grant.pool.model,
                outcome=outcome,
                seconds=now - self.started_at,
                input_tokens=input_tokens,
                output_tokens=output_tokens,
            )
        )

    def _blame(self, failure: Failure, consequence: Consequence, now: float) -> None:
        blame = consequence.blame
        if blame is Blame.PROVIDER:
            self._open_circuit(failure, now)
            return
        if failure.status is not None:
            self._close_circuit()
        if blame is Blame.SCOPE:
            self._cool_scope(failure, consequence, now)
        elif blame is Blame.KEY:
            self._cool_key(failure, consequence, now)
        elif blame in (Blame.KEY_MODEL, Blame.MODEL_IN_SCOPE):
            self._refuse_model(failure, consequence, now)

    def _refuse_model(self, failure: Failure, consequence: Consequence, now: float) -> None:
        """Keep the model from the key, or from every key of the scope if it has no allowance."""
        pool, slot = self.grant.pool, self.grant.slot
        slots = [slot]
        if consequence.blame is Blame.MODEL_IN_SCOPE:
            lanes = self.grant.hold.scope.lanes.get(pool, ())
            slots = [member for lane in lanes for member in lane.slots]
        until = now + wait_for(failure, consequence, streak=1, now=now)
        slot.note_failure(now)
        for member in slots:
            member.refused_models[pool.model] = until
            self._desk.engine.refresh_slot(member)

    def _cool_scope(self, failure: Failure, consequence: Consequence, now: float) -> None:
        scope, slot = self.grant.hold.scope, self.grant.slot
        scope.refused += 1
        # Calls that were under way together are refused together: one refusal, one wait.
        is_first = self.started_at >= scope.refused_at
        if is_first:
            scope.streak += 1
            scope.refused_at = now
        until = now + self._wait_s(failure, consequence, scope.streak, now)
        why = f"{failure.kind.value}: told to wait" if failure.retry_after_s else failure.kind.value
        self._desk.awareness.tell_to_wait(scope, until, why)
        self._desk.awareness.note_refusal(scope, failure, now, is_first=is_first)
        slot.note_failure(now)
        self._rest(consequence, failure, until, now)

    def _cool_key(self, failure: Failure, consequence: Consequence, now: float) -> None:
        slot = self.grant.slot
        slot.streak += 1
        slot.note_failure(now)
        until = now + self._wait_s(failure, consequence, slot.streak, now)
        if consequence.key_state is KeyState.INVALID:
            self._move(KeyState.INVALID, failure, now)
            self._desk.on_invalid(slot)
        else:
            self._rest(consequence, failure, until, now)

    def _wait_s(self, failure: Failure, consequence: Consequence, streak: int, now: float) -> float:
        """Return the wait; where an account is empty, the operator's setting is the first one."""
        first_s = None
        if consequence.key_state is KeyState.EXHAUSTED:
            first_s = min(consequence.cool_s, self._desk.quota_cooldown_s)
        return wait_for(failure, consequence, streak=max(1, streak), now=now, first_s=first_s)

    def _rest(self, consequence: Consequence, failure: Failure, until: float, now: float) -> None:
        manager, slot = self._desk.manager, self.grant.slot
        manager.sleep(slot, until, failure.kind.value)
        if consequence.key_state is not None:
            self._move(consequence.key_state, failure, now)
        else:
            self._desk.engine.refresh_slot(slot)

    def _move(self, to: KeyState, failure: Failure, now: float) -> None:
        slot = self.grant.slot
        if to in ALLOWED_MOVES[slot.record.state]:
            self._desk.manager.move(slot, to, failure.kind.value, now)

    def _open_circuit(self, failure: Failure, now: float) -> None:
        grant = self.grant
        grant.lane.note(None)
        grant.slot.note_failure(now)
        at_once = failure.kind is FailureClass.UNREACHABLE
        if grant.pool.circuit.note_failure(now, at_once=at_once):
            self._tell_circuit("open", failure.kind.value)

    def _close_circuit(self) -> None:
        circuit = self.grant.pool.circuit
        if circuit.note_success():
            self._tell_circuit("closed", "answered")
            self._desk.wake()
        elif circuit.ramp is not None:
            self._desk.wake()

    def _tell_circuit(self, state: str, trigger: str) -> None:
        pool = self.grant.pool
        self._desk.emit(CircuitMoved(pool.provider_id, pool.model, state, trigger))
