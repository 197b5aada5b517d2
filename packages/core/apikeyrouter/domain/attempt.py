"""One try on one key: ends in exactly one of settle, fail, cancel.

An `Attempt` owns its reservation. How it ends updates the ledger, the key, the candidate
and the circuit. The failure table decides what follows from a failure; `consequences`
applies it.
"""

from collections.abc import Sequence
from typing import Self

from apikeyrouter.domain.accounts.charge_learning import CallCharge
from apikeyrouter.domain.attempt_context import AttemptContext
from apikeyrouter.domain.components.routing_engine import Grant
from apikeyrouter.domain.failures.consequences import (
    FailedCall,
    close_circuit,
    consequence_of,
    forget_refusals,
)
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.failures.table import Consequence
from apikeyrouter.domain.feed.events import AttemptEnded, AttemptStarted
from apikeyrouter.domain.feed.request_events import attempt_ended_event, attempt_started_event
from apikeyrouter.domain.interfaces.provider_adapter import Serving
from apikeyrouter.domain.key_slot import KeyVersion
from apikeyrouter.domain.ledger.ledger import NOTHING, Amounts, amounts_of_call
from apikeyrouter.domain.limits.observation import ObservedLimit
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.domain.routing.pending_request import PendingRequest
from apikeyrouter.domain.routing.provider_entry import ProviderEntry

_TOO_MANY = 429
#: A provider that does not answer within this is failing, however long its caller would wait.
_LONG_ENOUGH_S = 60.0
_FRESH_REPORT_S = 0.05
_ROOMY = 0.5


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
        "_call", "_caps", "_context", "_has_answered", "_report", "consequence", "demand",
        "failure", "grant", "is_last", "is_open", "is_streaming", "provider", "record", "slot",
        "started_at",
    )  # fmt: skip

    def __init__(self, context: AttemptContext, grant: Grant, request: PendingRequest) -> None:
        self._context = context
        self.grant = grant
        self.demand = request.demand
        self.record = request.record
        self._caps = request.caps
        #: Nobody makes another attempt after it, whatever becomes of it.
        self.is_last = False
        self.started_at = grant.note.at
        self.is_open = True
        self.is_streaming = False
        self._has_answered = False
        self.failure: Failure | None = None
        self.consequence: Consequence | None = None
        self.provider: ProviderEntry = context.engine.routes.providers[grant.pool.provider_id]
        self.slot = slot = grant.slot
        slot.in_flight += 1
        self.provider.in_flight += 1
        learner = grant.candidate.scope.charge
        self._call: CallCharge | None = None
        self._report: tuple[ObservedLimit, ...] = ()
        if learner is not None and learner.follows_next():
            sizes = grant.pool.sizes(self.demand, grant.hold.amounts)
            self._call = CallCharge(learner, sizes, self.started_at)
        if slot.record.state is not KeyState.AVAILABLE:
            context.manager.recover(slot, self.started_at)
        if context.feed.wants(AttemptStarted):
            hold = grant.hold
            context.feed.emit(
                attempt_started_event(self.record, grant.note, hold.account.id, hold.amounts)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End as cancelled what nobody has ended, unless a stream is to end it."""
        if self.is_open and not self.is_streaming:
            self.cancel()

    def __del__(self) -> None:
        # Whoever makes calls of its own may forget to end one.
        if getattr(self, "is_open", False):
            self.cancel()

    @property
    def model(self) -> str:
        """The provider's own name of the model."""
        return self.grant.pool.model

    @property
    def account(self) -> str:
        """Whose its key is, as far as that is known."""
        return self.grant.scope().membership.account

    def now(self) -> float:
        """Return the instant by the router's clock."""
        return self._context.clock()

    def wall(self) -> float:
        """Return the wall clock's epoch second, by which providers name instants."""
        return self._context.wall()

    def wants_limits(self, now: float) -> bool:
        """Tell whether the answer's figures are worth reading.

        A report is skipped when the scope's last one is milliseconds old and
        half of every limit was left: it could change no decision.
        """
        if self._call is not None and self._call.mark is not None:
            return True
        account = self.grant.hold.account
        seen_at = account.observed_at
        return seen_at is None or now - seen_at > _FRESH_REPORT_S or account.last_strain > _ROOMY

    @property
    def is_native(self) -> bool:
        """Whether its provider speaks the dialect of the request, so that bytes pass."""
        return self.provider.serving(self.demand.endpoint) is not Serving.TRANSLATED

    def note_tried(self, *, is_spoken: bool) -> None:
        """Remember whether its provider serves the endpoint as it is, which nobody knew."""
        if self.provider.wire is not None:
            self.provider.wire.note_tried(self.demand.endpoint, is_spoken=is_spoken)
        if not is_spoken:
            self._context.engine.routes.forget_servings()

    @property
    def asks_usage(self) -> bool:
        """Whether its provider tells the usage of a stream when the client's bytes ask for it."""
        wire = self.provider.wire
        return wire is not None and self.is_native and wire.asks_usage(self.model)

    def reads_packed(self, coding: str) -> bool:
        """Tell whether its provider may read a request of this content coding."""
        wire = self.provider.wire
        return wire is None or coding.lower() not in wire.unread_codings

    @property
    def tries_next(self) -> bool:
        """Whether its failure is a reason to try elsewhere."""
        return self.consequence is not None and self.consequence.try_next

    def answered(
        self,
        limits: tuple[ObservedLimit, ...] = (),
        account: str = "",
        *,
        is_whole: bool = False,
    ) -> None:
        """Note that the provider let the request in: its head has come.

        Args:
            is_whole: The answer is all there. Its figures may count already what it did not
                use, so that they are held against the ledger once this call is settled.
        """
        context, grant = self._context, self.grant
        slot, awareness = self.slot, context.awareness
        now = context.clock()
        self._has_answered = True
        grant.note.answered_at = now
        grant.reservation.confirm()
        grant.candidate.health.note_success(now - self.started_at, now)
        slot.note_success(now - self.started_at, now)
        if slot.record.state is KeyState.INVALID and self.started_at >= slot.refused_at:
            refused = KeyVersion(KeyState.INVALID, grant.generation)
            context.manager.restore(slot, "a request was accepted", expect=refused)
        if account and account != slot.account:
            awareness.note_account(slot, account)
        scope = grant.scope()
        if is_whole:
            self._report = limits
        elif limits:
            awareness.learn(scope, limits, now, grant.hold, self._call)
        awareness.note_success(scope, now)
        if grant.candidate.refusals is not None:
            forget_refusals(context, grant)
        if not grant.pool.has_worked:
            context.engine.routes.prove(grant.pool)
        circuit = grant.pool.circuit
        circuit.answered_at = now
        if self.demand.stream and circuit.breaks_off:
            return
        if circuit.failures or circuit.awaits_answer or circuit.is_open:
            close_circuit(context, grant)

    def settle(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int = 0,
        *,
        usage: Usage | None = None,
        counted: Usage | None = None,
    ) -> None:
        """End well: correct the hold to what was used; `None` leaves it at the estimate.

        Args:
            cached_tokens: How many of the input tokens came from a prompt cache.
            usage: All that the provider counted, in place of the other arguments.
            counted: What we counted ourselves; it is told, and nothing is charged by it.
        """
        now = self._end("ok", "")
        if not self._has_answered:
            self.answered()
        circuit = self.grant.pool.circuit
        if self.demand.stream and circuit.breaks:
            circuit.note_end()
            close_circuit(self._context, self.grant)
        if usage is None and input_tokens is not None:
            usage = Usage(input_tokens, output_tokens or 0, cached_tokens)
        charged = self._keep_hold(now) if usage is None else self._settle_at(usage, now)
        self._learn_report(now)
        if usage is not None:
            used = usage.input_tokens, usage.output_tokens
            self.grant.scope().statistics.served_tokens += sum(used)
            if usage.exact:
                self.grant.pool.learn_sizes(self.demand, *used, usage.cached_tokens)
        self._tell(usage or counted, charged, now)
        self._context.end_request(self.record, "ok", now)

    def out_of_time(self, silent_s: float | None = None) -> Failure:
        """Return the failure of a call that the caller's own deadline has ended.

        A provider is to blame only where it had long enough.

        Args:
            silent_s: How long the provider has been awaited; since the beginning if `None`.
        """
        lasted_s = self.now() - self.started_at
        is_late = (lasted_s if silent_s is None else silent_s) >= _LONG_ENOUGH_S
        kind = FailureClass.TIMEOUT if is_late else FailureClass.OUT_OF_TIME
        return Failure(kind, f"no answer within {lasted_s:.1f} s, when the request's time was over")

    def cancel(self, *, sent: bool = True, counted: Usage | None = None) -> None:
        """End because the caller left; what was sent stays charged at the estimate.

        Args:
            counted: As with `settle`.
        """
        now = self._end("cancelled", "")
        if self.grant.is_probe:
            self.grant.pool.circuit.release_probe()
            self._context.engine.routes.on_change()
        charged = self._keep_hold(now) if sent else self._return_hold(now)
        self._tell(counted, charged, now)
        self._context.end_request(self.record, "cancelled", now)

    def fail(
        self, failure: Failure, usage: Usage | None = None, *, counted: Usage | None = None
    ) -> Consequence:
        """End badly: apply what the failure's class asks for, and return it.

        What may have been served stays charged, at the estimate unless *usage* is told.

        Args:
            usage: What an answer that broke off has told of its use.
            counted: As with `settle`.
        """
        now = self._end(failure.kind.value, failure.message)
        context, grant = self._context, self.grant
        consequence = consequence_of(failure, grant, self.demand, now)
        charged = self._settle_failed(failure, consequence, usage, now)
        if failure.account:
            context.awareness.note_account(grant.slot, failure.account)
        if failure.limits:
            context.awareness.learn(grant.scope(), failure.limits, now, grant.hold)
        self.failure, self.consequence = failure, consequence
        FailedCall(context, grant, failure, consequence, self.started_at, now).apply()
        self._tell(usage or counted, charged, now)
        if self.is_last or not consequence.try_next:
            context.end_request(self.record, failure.kind.value)
        return consequence

    def _settle_failed(
        self, failure: Failure, consequence: Consequence, usage: Usage | None, now: float
    ) -> Amounts:
        """End the reservation: what was or may have been served stays charged."""
        if usage is not None:
            return self._settle_at(usage, now)
        if self._has_answered or failure.may_be_served:
            return self._keep_hold(now)
        # A refusal may count as a request all the same. Of its client's requests only that
        # counts which no other attempt follows.
        is_counted = failure.status is not None and failure.status != _TOO_MANY
        others = [hold.account for hold in self.grant.reservation.holds[1:]]
        counted = [
            is_counted if account.counts_attempts else not consequence.try_next
            for account in others
        ]
        return self._return_hold(now, (is_counted, *counted))

    def _keep_hold(self, now: float) -> Amounts:
        """End the reservation at the estimate; return what the provider's account is charged."""
        self._context.ledger.keep(self.grant.reservation, now)
        return self.grant.hold.amounts

    def _return_hold(self, now: float, counted: Sequence[bool] = ()) -> Amounts:
        """End the reservation and give it back, but for requests that are counted."""
        self._context.ledger.cancel(self.grant.reservation, now, counted=counted)
        if self._call is not None:
            self._call.returned()
        return NOTHING

    def _settle_at(self, usage: Usage, now: float) -> Amounts:
        """End the reservation at what was used, as the provider charges it, or plainly."""
        reservation, pool = self.grant.reservation, self.grant.pool
        told = usage.input_tokens, usage.output_tokens
        learner = self.grant.candidate.scope.charge
        rule = learner.belief.admission if learner is not None else None
        amounts = self.grant.hold.amounts
        charged = pool.actual(amounts, *told, usage.cached_tokens, rule)
        if self._call is not None:
            counts_cached = (rule or pool.admission).counts_cached
            self._call.done(told[0] - (0 if counts_cached else usage.cached_tokens), told[1])
        actuals: list[Amounts] = [charged]
        if self._caps is not None:
            others = [hold.account for hold in reservation.holds[1:]]
            actuals += self._caps.charge(others, amounts_of_call(*told), pool, usage)
        elif len(reservation.holds) > 1:
            actuals += [amounts_of_call(*told)] * (len(reservation.holds) - 1)
        self._context.ledger.settle(reservation, actuals, now)
        return charged

    def _learn_report(self, now: float) -> None:
        if self._report:
            awareness = self._context.awareness
            awareness.learn(self.grant.scope(), self._report, now, self.grant.hold, self._call)

    def _end(self, outcome: str, message: str) -> float:
        if not self.is_open:
            raise RuntimeError("an attempt ends once; this one has ended already")
        self.is_open = False
        now = self._context.clock()
        self.grant.note.end(outcome, message, now)
        self.grant.pool.note_end(self.grant.candidate)
        self.grant.slot.in_flight -= 1
        self.provider.in_flight -= 1
        return now

    def _tell(self, usage: Usage | None, charged: Amounts, now: float) -> None:
        if usage is not None:
            record = self.record
            record.usage = usage
            record.input_tokens, record.output_tokens = usage.input_tokens, usage.output_tokens
        feed = self._context.feed
        if feed.wants(AttemptEnded):
            note = self.grant.note
            feed.emit(attempt_ended_event(self.record, note, usage, charged, now))
