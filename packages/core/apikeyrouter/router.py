"""`ApiKeyRouter`: composition root and public API.

    async with ApiKeyRouter() as router:
        await router.register_provider("openai", OpenAIAdapter())
        await router.register_key("sk-...", "openai")
        response = await router.route(intent)

It can be built outside a running loop. Nothing is started until it is used.
"""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Self

from apikeyrouter.domain.accounts.limit_search import LimitSearch
from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.attempt_context import AttemptContext
from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.components.quota_awareness_engine import QuotaAwarenessEngine
from apikeyrouter.domain.components.routing_engine import RoutingEngine
from apikeyrouter.domain.event_feed import EventFeed
from apikeyrouter.domain.interfaces.observability_manager import ObservabilityManager
from apikeyrouter.domain.interfaces.provider_adapter import ProviderAdapter, WireAdapter
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.backend import LedgerBackend
from apikeyrouter.domain.ledger.ledger import Ledger, LedgerAccount
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.declared_limits import check_limits
from apikeyrouter.domain.models.demand import MOST_OUTPUT_TOKENS, Demand
from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter.domain.models.request_intent import RequestIntent
from apikeyrouter.domain.models.routing_decision import ObjectiveType, RoutingObjective
from apikeyrouter.domain.models.system_response import ResponseChunk, SystemResponse
from apikeyrouter.domain.models.wire import WireRequest
from apikeyrouter.domain.queueing.admission_queue import AdmissionQueue
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.domain.routing.decision_record import DecisionRecord, explain
from apikeyrouter.domain.routing.provider_entry import ProviderEntry
from apikeyrouter.domain.routing.request import Request
from apikeyrouter.domain.routing.route_table import RouteTable
from apikeyrouter.domain.token_estimate import estimate_tokens
from apikeyrouter.errors import ConfigurationError, NoEligibleKeysError
from apikeyrouter.infrastructure.adapters.error_classification import classify_embedded
from apikeyrouter.infrastructure.adapters.http_adapter import system_error_of
from apikeyrouter.infrastructure.adapters.sse import data_of_events
from apikeyrouter.infrastructure.clock import SteadyClock
from apikeyrouter.infrastructure.config.settings import RouterSettings
from apikeyrouter.infrastructure.observability.logger import DefaultObservabilityManager
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore
from apikeyrouter.infrastructure.state_store.write_behind import WriteBehind
from apikeyrouter.infrastructure.utils.encryption import EncryptionService
from apikeyrouter.keys.key_lock import KeyLock
from apikeyrouter.keys.prober import KeyProber
from apikeyrouter.request.attempt_loop import AttemptLoop
from apikeyrouter.request.custom_adapter import call_adapter, complete
from apikeyrouter.request.exchange import Answer, exchange
from apikeyrouter.request.waiting_room import WaitingRoom
from apikeyrouter.state_summary import key_summary, scope_summary

#: Less than this is drift, and no step of the wall clock.
_WALL_STEP_S = 1.0


class ApiKeyRouter:
    """Sends each request to the key that can take it now, and can say why.

    Args:
        state_store: Where keys and records are kept; memory if `None`.
        observability_manager: Where events and log lines go; structlog if `None`.
        config: `RouterSettings`, a dict of its fields, or `None` for the environment.
        clock: Seconds since the epoch in place of the machine's clock, such as a test's.
            It may jump forward; when it steps back, time inside goes on.

    Raises:
        ConfigurationError: A setting is wrong.
    """

    def __init__(
        self,
        state_store: StateStore | None = None,
        observability_manager: ObservabilityManager | None = None,
        config: RouterSettings | dict[str, Any] | None = None,
        *,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings = RouterSettings.load(config)
        self._clock = clock if isinstance(clock, SteadyClock) else SteadyClock(clock)
        self.state_store = state_store or InMemoryStateStore(
            max_decisions=settings.max_decisions, max_transitions=settings.max_transitions
        )
        self.observability_manager = observability_manager or DefaultObservabilityManager(
            level=settings.log_level
        )
        self._feed = EventFeed(self.observability_manager)
        #: Also told of every event, such as a table that shows the router at work.
        self.listeners = self._feed.listeners
        #: Has the last word on reservations where several processes share a ledger.
        self.ledger_backend: LedgerBackend | None = None
        self._records: OrderedDict[str, DecisionRecord] = OrderedDict()
        self._outbox = WriteBehind(self.state_store, on_error=self._note_store_error)
        self._build()

    def _build(self) -> None:
        settings = self.settings
        secret = settings.encryption_key
        sealer = EncryptionService(secret.get_secret_value() if secret else None)
        ledger = Ledger()
        search = LimitSearch(ledger, emit=self._feed.emit)
        self._book = AccountRegistry(
            ledger, search, clock=self._clock, emit=self._feed.emit, on_capacity=self._on_capacity
        )
        self.key_manager = KeyManager(
            self.state_store, sealer,
            clock=self._clock, emit=self._feed.emit, record=self._outbox.put, lock=KeyLock(),
        )  # fmt: skip
        self.routes = RouteTable(
            self._book, clock=self._clock, default_objective=RoutingObjective()
        )
        self.routing_engine = RoutingEngine(
            self.routes, ledger, clock=self._clock, find_record=self._records.get
        )
        self.quota_awareness_engine = QuotaAwarenessEngine(
            ledger, self._book, self.key_manager, search, clock=self._clock, emit=self._feed.emit
        )
        self._room = WaitingRoom(AdmissionQueue(self.routing_engine), self._clock, self._feed)
        self.routes.on_change = self._room.nudge
        self._prober = KeyProber(self.key_manager, self.routes)
        self.key_manager.on_change = self._on_key
        self.key_manager.on_wake = self._on_wake
        self._context = AttemptContext(
            engine=self.routing_engine,
            ledger=ledger,
            awareness=self.quota_awareness_engine,
            manager=self.key_manager,
            clock=self._clock,
            wall=self._clock.wall,
            feed=self._feed,
            cooldown_s=settings.default_cooldown_seconds,
            quota_cooldown_s=settings.quota_default_cooldown_seconds,
            on_invalid=self._prober.watch,
            keep=self._outbox.put,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Write what is waiting to be written, and close connections and store."""
        await self._prober.close()
        for entry in self.routes.providers.values():
            if isinstance(entry.adapter, WireAdapter):
                await entry.adapter.close()
        await self._outbox.drain()
        await self.state_store.close()

    # -- who there is -------------------------------------------------------

    async def register_provider(
        self,
        provider_id: str,
        adapter: ProviderAdapter,
        overwrite: bool = False,
        *,
        models: tuple[str, ...] | None = None,
    ) -> None:
        """Let a provider be used.

        Args:
            overwrite: Replace one of the same id; its keys stay.
            models: Patterns (`gpt-*`) of what it serves; the adapter's own if `None`.

        Raises:
            ValueError: The id is empty or taken, or the adapter is none.
        """
        if not provider_id or not provider_id.strip():
            raise ValueError("a provider needs an id")
        if not isinstance(adapter, ProviderAdapter):
            raise ValueError(f"adapter of '{provider_id}' is not a ProviderAdapter")
        if provider_id in self.routes.providers and not overwrite:
            raise ValueError(f"provider '{provider_id}' is registered; overwrite=True replaces it")
        own = None
        if isinstance(adapter, WireAdapter):
            own = adapter.models
            self._book.calendars[provider_id] = adapter.calendars
            self._book.admissions[provider_id] = adapter.admission
        self.routes.add_provider(
            ProviderEntry(provider_id, adapter, models if models is not None else own)
        )

    async def register_key(
        self, key_material: str, provider_id: str, metadata: dict[str, Any] | None = None
    ) -> APIKey:
        """Take in a key of a registered provider.

        Args:
            metadata: `id`, `scope`, `models`, `weight`, `priority`, `tags` and
                `limits` (such as `{"rpm": 60}`) are understood; the rest is kept.

        Raises:
            ValueError: The provider is not registered.
            KeyRegistrationError: The material cannot be a key, or is known already.
        """
        if provider_id not in self.routes.providers:
            known = ", ".join(self.routes.providers) or "none"
            raise ValueError(f"provider '{provider_id}' is not registered; known: {known}")
        return await self.key_manager.register_key(key_material, provider_id, metadata)

    async def rotate_key(self, key_id: str, new_material: str) -> APIKey:
        """Replace a key's secret; it keeps its id and history, and is usable again."""
        return await self.key_manager.rotate_key(key_id, new_material)

    async def revoke_key(self, key_id: str, reason: str = "revoked") -> APIKey:
        """Take a key out of use."""
        return await self.key_manager.revoke_key(key_id, reason)

    async def configure_quota(self, key_id: str, limits: Mapping[str, float]) -> None:
        """Declare limits (`rpm`, `tpm`, …) of a key's account; reports still correct them."""
        await self.quota_awareness_engine.update_capacity(key_id, limits)

    def open_account(self, account_id: str, limits: Mapping[str, float]) -> LedgerAccount:
        """Return an account of its own limits (`rpm`, `tpm`, …) for requests to draw on.

        Args:
            account_id: How refusals name it, such as `client search-team`.

        Raises:
            ConfigurationError: An unknown name, or a figure that is no limit.
        """
        check_limits(limits)
        account = LedgerAccount(account_id)
        self._book.declare(account, dict(limits), self._clock())
        account.on_capacity = self._room.nudge
        return account

    def configure_objective(self, objective: RoutingObjective | str) -> None:
        """Set what choices should be good at unless a request says otherwise."""
        self.routes.set_default_objective(_objective_of(objective) or RoutingObjective())

    # -- requests -----------------------------------------------------------

    async def route(
        self,
        request_intent: RequestIntent | dict[str, Any],
        objective: RoutingObjective | str | None = None,
    ) -> SystemResponse:
        """Answer one request by the best key that has room, waiting for one if need be.

        Raises:
            NoEligibleKeysError: Nobody has room in time; `retry_after` says when.
            SystemError: The provider failed it for good, or it is the request's fault.
        """
        intent = _intent_of(request_intent)
        attempts = self.attempts(self._demand_of(intent, objective))
        deadline = self._loop_deadline(attempts.demand)
        try:
            async for attempt in attempts:
                response = await self._route_once(attempt, intent, deadline)
                if response is not None:
                    return response
        finally:
            attempts.close()
        raise system_error_of(_failure_of(attempts))

    async def route_stream(
        self,
        request_intent: RequestIntent | dict[str, Any],
        objective: RoutingObjective | str | None = None,
    ) -> AsyncIterator[ResponseChunk]:
        """Answer one request piece by piece.

        Keys are changed until the first piece is there, never after.

        Raises:
            NoEligibleKeysError: Nobody has room in time.
            SystemError: The provider failed it, at once or midway.
        """
        intent = _intent_of(request_intent)
        intent = _with(intent, stream=True)
        demand = self._demand_of(intent, objective)
        demand.stream = True

        def request_for(attempt: Attempt) -> WireRequest:
            adapter, wanted = _wire(attempt), _for_model(intent, attempt.model)
            if "stream_options" in intent.parameters or not adapter.asks_usage(attempt.model):
                return adapter.prepare(wanted)
            request = adapter.prepare(_with(wanted, stream_options={"include_usage": True}))
            request.asks_usage = True
            return request

        answer = await self.forward(demand, request_for)
        if answer.failure is not None or answer.stream is None:
            raise system_error_of(answer.failure or Failure(FailureClass.SERVER_ERROR, "no stream"))
        adapter = _wire(answer.attempt)
        failure: Failure | None = None
        try:
            async for data in data_of_events(answer.stream):
                # What follows an error is read to its end, so that the attempt ends as it should.
                failure = failure or (
                    classify_embedded(adapter.kind, data, self._clock.wall())
                    if b'"error"' in data
                    else None
                )
                chunk = adapter.normalize_chunk(data) if failure is None else None
                if chunk is not None:
                    yield chunk
        finally:
            answer.stream.close()
        if failure is not None:
            raise system_error_of(failure)

    def attempts(self, demand: Demand, *, accounts: tuple[LedgerAccount, ...] = ()) -> AttemptLoop:
        """Return the attempts for one request, to be made by the caller's own loop.

            async for attempt in router.attempts(Demand(model="gpt-4o", request_id="r1")):
                with attempt:                # ends it as cancelled if nothing else does
                    ...                      # call with attempt.slot.secret
                    attempt.settle(120, 80)  # or attempt.fail(failure), or attempt.cancel()

        Args:
            accounts: Further accounts that each attempt reserves on, such as a client's
                limits (see `open_account`).

        Raises:
            NoEligibleKeysError: While iterating: nobody has room in time.
        """
        now = self._clock()
        self._follow_wall(now)
        if demand.deadline is None:
            demand.deadline = now + self.settings.request_timeout_seconds
        wait_s = demand.max_wait
        if wait_s is None:
            wait_s = self.settings.max_queue_wait_seconds
        record = DecisionRecord(
            request_id=demand.request_id,
            model=demand.model,
            client=demand.client,
            objective=demand.objective or self.routes.scorings.default.objective,
            arrived_at=now,
        )
        self._remember(record)
        request = Request(demand, record, accounts)
        return AttemptLoop(
            self._context, self._room, request, wait_s=wait_s, backend=self.ledger_backend
        )

    async def forward(
        self,
        demand: Demand,
        request_for: Callable[[Attempt], WireRequest],
        *,
        accounts: tuple[LedgerAccount, ...] = (),
        withhold_usage: Callable[[Attempt], bool] | None = None,
    ) -> Answer:
        """Pass raw bytes to whichever key has room, and its answer back.

        Args:
            request_for: Builds the outgoing request for the key and model of an attempt.
            accounts: Further accounts to reserve on, such as a client's limits.
            withhold_usage: Tells whether the usage event was our own wish.

        Returns:
            The answer. With `failure` set it is the last provider's refusal.
            A `stream` in it must be iterated to its end or closed.

        Raises:
            NoEligibleKeysError: Nobody has room in time.
        """
        attempts = self.attempts(demand, accounts=accounts)
        deadline = self._loop_deadline(demand)
        answer: Answer | None = None
        try:
            async for attempt in attempts:
                answer = await exchange(
                    attempt, request_for,
                    deadline=deadline,
                    withhold_usage=withhold_usage is not None and withhold_usage(attempt),
                )  # fmt: skip
                if answer is not None and (answer.failure is None or not attempt.tries_next):
                    return answer
        finally:
            attempts.close()
        failure = _failure_of(attempts)
        if answer is not None and answer.failure is failure and failure.kind.is_fault_of_request:
            # No other model could serve it: its provider's words are its answer.
            return answer
        return Answer(failure.status or 0, (), attempts.last, failure=failure)

    def now(self) -> float:
        """Return the instant by the router's clock."""
        return self._clock()

    # -- questions ----------------------------------------------------------

    def get_request_trace(self, request_id: str) -> dict[str, Any] | None:
        """Return all that is kept of one request, its explanation included; `None` if nothing."""
        record = self._records.get(request_id)
        return {**record.trace(), "explanation": explain(record)} if record else None

    def get_state_summary(self) -> dict[str, Any]:
        """Return keys, scopes, circuits and the queue as plain data; never a secret.

        It moves no key. Call it where the router runs: from another thread by
        `asyncio.run_coroutine_threadsafe`.
        """
        now, slots = self._clock(), self.key_manager.slot_by_id.values()
        return {
            "keys": [key_summary(slot, self._book, now) for slot in slots],
            "scopes": [scope_summary(scope, now) for scope in self._book],
            "circuits": [
                {
                    "provider_id": pool.provider_id,
                    "model": pool.model,
                    "open_until": pool.circuit.cooldown.until,
                }
                for pool in self.routes.pools()
                if pool.circuit.is_open
            ],
            "waiting": self._room.queue.waiting,
            "waiting_tokens": self._room.queue.waiting_tokens,
            "open_reservations": self.quota_awareness_engine.ledger.open_count,
            "records_dropped": self._outbox.dropped,
        }

    # -- inside -------------------------------------------------------------

    async def _route_once(
        self, attempt: Attempt, intent: RequestIntent, deadline: float
    ) -> SystemResponse | None:
        adapter = attempt.provider.adapter
        wanted = _for_model(intent, attempt.model)
        if not isinstance(adapter, WireAdapter):
            return await call_adapter(attempt, adapter, wanted, deadline)
        answer = await exchange(attempt, lambda _: adapter.prepare(wanted), deadline=deadline)
        if answer is None or answer.failure is not None:
            return None
        if answer.stream is not None:
            why = "the provider streamed an answer that should have come whole"
            answer.stream.reject(Failure(FailureClass.SERVER_ERROR, why, 502))
            return None
        return complete(adapter.normalize_response(answer.body), attempt)

    def _demand_of(self, intent: RequestIntent, objective: RoutingObjective | str | None) -> Demand:
        if intent.provider_id is not None and intent.provider_id not in self.routes.providers:
            known = ", ".join(self.routes.providers) or "none"
            raise NoEligibleKeysError(
                f"provider '{intent.provider_id}' is not registered; known: {known}"
            )
        body = intent.encoded()
        return Demand(
            model=intent.model,
            request_id=intent.request_id or uuid.uuid4().hex,
            provider_id=intent.provider_id,
            input_tokens=estimate_tokens(body),
            body_bytes=len(body),
            output_cap=_output_cap_of(intent.parameters),
            objective=_objective_of(objective),
            priority=intent.priority,
            max_wait=intent.max_wait,
            tags=intent.tags,
        )

    def _loop_deadline(self, demand: Demand) -> float:
        assert demand.deadline is not None  # noqa: S101 - `attempts` has set it
        return asyncio.get_running_loop().time() + demand.deadline - self._clock()

    def _follow_wall(self, now: float) -> None:
        """Take a step of the wall clock to the days and months that end by it."""
        ahead_s = self._clock.wall() - now
        if abs(ahead_s - self._book.wall_ahead_s) < _WALL_STEP_S:
            return
        self.observability_manager.log(
            "warning",
            "the wall clock was set; times in records go on by the router's own clock",
            ahead_s=round(ahead_s, 3),
        )
        self._book.follow_wall(ahead_s)

    def _remember(self, record: DecisionRecord) -> None:
        records = self._records
        records[record.request_id] = record
        if len(records) > self.settings.max_decisions:
            records.popitem(last=False)

    def _on_wake(self, slot: KeySlot) -> None:
        self.quota_awareness_engine.clear_account_cooldowns(slot)
        self.routes.forget_list(slot)

    def _on_key(self, slot: KeySlot) -> None:
        if slot.id in self.routes.providers[slot.provider_id].slots:
            self.routes.refresh_slot(slot)
        else:
            self.routes.add_slot(slot)

    def _on_capacity(self, scope: QuotaScope) -> None:
        self.routes.refresh_scope(scope)

    def _note_store_error(self, error: Exception) -> None:
        self.observability_manager.log(
            "error", "records could not be kept", error=str(error), kind=type(error).__name__
        )


def _failure_of(attempts: AttemptLoop) -> Failure:
    return attempts.failure or Failure(FailureClass.TIMEOUT, "the request ran out of time")


def _intent_of(intent: RequestIntent | dict[str, Any]) -> RequestIntent:
    return intent if isinstance(intent, RequestIntent) else RequestIntent.model_validate(intent)


def _for_model(intent: RequestIntent, model: str) -> RequestIntent:
    return intent if intent.model == model else intent.model_copy(update={"model": model})


def _with(intent: RequestIntent, **parameters: Any) -> RequestIntent:
    return intent.model_copy(update={"parameters": {**intent.parameters, **parameters}})


def _output_cap_of(parameters: Mapping[str, Any]) -> int | None:
    cap = parameters.get("max_completion_tokens", parameters.get("max_tokens"))
    return min(cap, MOST_OUTPUT_TOKENS) if isinstance(cap, int) and cap > 0 else None


def _objective_of(objective: RoutingObjective | str | None) -> RoutingObjective | None:
    if not isinstance(objective, str):
        return objective
    try:
        return RoutingObjective(primary=ObjectiveType(objective.lower()))
    except ValueError:
        known = ", ".join(ObjectiveType)
        raise ConfigurationError(f"unknown objective '{objective}'; known are {known}") from None


def _wire(attempt: Attempt) -> WireAdapter:
    adapter = attempt.provider.adapter
    if not isinstance(adapter, WireAdapter):
        raise ConfigurationError(
            f"provider '{attempt.provider.id}' cannot stream: its adapter passes no bytes"
        )
    return adapter
