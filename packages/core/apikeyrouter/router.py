"""`ApiKeyRouter`: the public API.

    async with ApiKeyRouter() as router:
        await router.register_provider("openai", OpenAIAdapter())
        await router.register_key("sk-...", "openai")
        response = await router.route(intent)

It can be built outside a running loop. Nothing is started until it is used.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self

from apikeyrouter.account_keeping import AccountKeeping
from apikeyrouter.composition import compose
from apikeyrouter.dialects.translation import Translations
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.feed.event_feed import EventFeed
from apikeyrouter.domain.interfaces.observability_manager import ObservabilityManager
from apikeyrouter.domain.interfaces.provider_adapter import ProviderAdapter, WireAdapter
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.domain.ledger.backend import LedgerBackend
from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.domain.limits.declared_limits import check_limits
from apikeyrouter.domain.models.api_key import USABLE, APIKey
from apikeyrouter.domain.models.request_intent import RequestIntent
from apikeyrouter.domain.models.routing_decision import RoutingObjective
from apikeyrouter.domain.models.system_response import ResponseChunk, SystemResponse
from apikeyrouter.domain.routing.decision_record import DecisionRecord, explain
from apikeyrouter.domain.routing.demand import Demand
from apikeyrouter.domain.routing.pending_request import PendingRequest
from apikeyrouter.domain.routing.provider_entry import ProviderEntry
from apikeyrouter.hydration import Hydration
from apikeyrouter.infrastructure.adapters.http_adapter import system_error_of
from apikeyrouter.infrastructure.clock import SteadyClock
from apikeyrouter.infrastructure.config.settings import RouterSettings
from apikeyrouter.infrastructure.observability.logger import DefaultObservabilityManager
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore
from apikeyrouter.infrastructure.state_store.write_behind import WriteBehind
from apikeyrouter.request.attempt_loop import AttemptLoop
from apikeyrouter.request.exchange import Answer
from apikeyrouter.request.forwarding import forward_by
from apikeyrouter.request.intent_calls import answer_whole, chunks_of, stream_request_for
from apikeyrouter.request.intents import demand_of, intent_of, objective_of
from apikeyrouter.state_summary import state_summary

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
        #: Confirms reservations where several processes share a ledger.
        self.ledger_backend: LedgerBackend | None = None
        self._records: OrderedDict[str, DecisionRecord] = OrderedDict()
        self._outbox = WriteBehind(self.state_store, on_error=self._note_store_error)
        self._parts = self.parts = parts = compose(
            settings,
            store=self.state_store,
            outbox=self._outbox,
            clock=self._clock,
            feed=self._feed,
            find_record=self._records.get,
        )
        keeping = AccountKeeping(parts, self._outbox, self._clock, self._note_store_error)
        self._hydration = Hydration(parts, self.state_store, keeping)
        self.key_manager = parts.manager
        self.routes = parts.routes
        self.routing_engine = parts.engine
        self.declarations, self.cost_controller = parts.declarations, parts.costs
        self.quota_awareness_engine = parts.awareness

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Write what is waiting to be written, and close connections and store."""
        await self._parts.prober.close()
        await self._hydration.close()
        for entry in self.routes.providers.values():
            if isinstance(entry.adapter, WireAdapter):
                await entry.adapter.close()
        if self.ledger_backend is not None:
            await self.ledger_backend.stop()
        await self._outbox.drain()
        await self.state_store.close()

    # -- providers and keys -------------------------------------------------

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
            self._parts.registry.calendars[provider_id] = adapter.calendars
            self._parts.registry.admissions[provider_id] = adapter.admission
        self.routes.add_provider(
            ProviderEntry(provider_id, adapter, models if models is not None else own)
        )
        self._hydration.adopt(provider_id)

    async def hydrate(self, *, claimed: Collection[str] | None = None) -> None:
        """Take up what the store has: keys with their states, waits and counts.

        Keys of providers that are registered are in use on return, others once theirs is.

        Args:
            claimed: Ids of keys that are registered next: what is kept of them and what is said
                of them then are merged. Keys that an earlier configuration declared and that
                are not among them stay out of use. `None` if there is no configuration.

        Raises:
            StateStoreError: The store cannot be read.
            EncryptionError: Keys were sealed under another encryption key.
        """
        await self._hydration.load(claimed)

    async def register_key(
        self, key_material: str, provider_id: str, metadata: dict[str, Any] | None = None
    ) -> APIKey:
        """Register a key of a registered provider.

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
        self._parts.registry.declare(account, dict(limits), self._clock())
        account.on_capacity = self.routes.on_change
        return account

    def configure_objective(self, objective: RoutingObjective | str) -> None:
        """Set what choices should be good at unless a request says otherwise."""
        self.routes.set_default_objective(objective_of(objective) or RoutingObjective())

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
        intent = intent_of(request_intent)
        attempts = self.attempts(demand_of(intent, objective, self.routes.providers))
        deadline = attempts.loop_deadline()
        translations = Translations(lenient=self.settings.translation == "lenient")
        try:
            async for attempt in attempts:
                response = await answer_whole(attempt, intent, deadline, translations)
                if response is not None:
                    return response
        finally:
            attempts.close()
        raise system_error_of(attempts.final_failure())

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
        intent = intent_of(request_intent)
        demand = demand_of(intent, objective, self.routes.providers, stream=True)
        answer = await self.forward(demand, stream_request_for(intent))
        async with aclosing(chunks_of(answer)) as chunks:
            async for chunk in chunks:
                yield chunk

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
        usual_s = self.settings.max_queue_wait_seconds
        wait_s = usual_s if demand.max_wait is None else demand.max_wait
        record = DecisionRecord(
            request_id=demand.request_id, model=demand.model, client=demand.client,
            objective=demand.objective or self.routes.scorings.default.objective,
            arrived_at=now, endpoint=demand.endpoint,
        )  # fmt: skip
        self._remember(record)
        request = PendingRequest(demand, record, accounts, self._parts.caps.active)
        return AttemptLoop(
            self._parts.context, self._parts.room, request,
            wait_s=wait_s, backend=self.ledger_backend,
        )  # fmt: skip

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
        lenient = self.settings.translation == "lenient"
        return await forward_by(attempts, request_for, withhold_usage, lenient=lenient)

    def now(self) -> float:
        """Return the instant by the router's clock."""
        return self._clock()

    # -- who is known -------------------------------------------------------

    def set_aliases(self, aliases: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        """Define names of your own: targets (provider, model) in order of preference."""
        self.routes.set_aliases({name: tuple(targets) for name, targets in aliases.items()})

    def known_models(self) -> list[tuple[str, str]]:
        """List (model, provider) pairs known by name; aliases have an empty provider."""
        return self.routes.known_models()

    def owner_of(self, model: str) -> str | None:
        """Return the provider that is asked for *model* first; `None` if nobody has it."""
        return self.routes.owner_of(model)

    def nearest_models(self, model: str) -> tuple[str, ...]:
        """Return up to three known names that look like *model*."""
        return self.routes.nearest(model)

    def count_keys(self) -> tuple[int, int]:
        """Return how many keys there are, and how many of them may be used."""
        slots = self.key_manager.slot_by_id.values()
        return len(slots), sum(slot.record.state in USABLE for slot in slots)

    # -- questions ----------------------------------------------------------

    def store_trouble(self) -> str:
        """Return why records cannot be stored now, in the store's words; empty while they can."""
        return self._outbox.trouble

    def get_request_trace(self, request_id: str) -> dict[str, Any] | None:
        """Return all that is kept of one request, its explanation included; `None` if nothing."""
        record = self._records.get(request_id)
        return {**record.trace(), "explanation": explain(record)} if record else None

    def get_state_summary(self) -> dict[str, Any]:
        """Return keys, scopes, circuits and the queue as plain data; never a secret.

        It moves no key. Call it where the router runs: from another thread by
        `asyncio.run_coroutine_threadsafe`.
        """
        summary = state_summary(self._parts, self._clock())
        return {**summary, "records_dropped": self._outbox.dropped}

    # -- inside -------------------------------------------------------------

    def _follow_wall(self, now: float) -> None:
        """Take a step of the wall clock to the days and months that end by it."""
        ahead_s = self._clock.wall() - now
        if abs(ahead_s - self._parts.registry.wall_ahead_s) < _WALL_STEP_S:
            return
        self.observability_manager.log(
            "warning",
            "the wall clock was set; times in records go on by the router's own clock",
            ahead_s=round(ahead_s, 3),
        )
        self._parts.registry.follow_wall(ahead_s)

    def _remember(self, record: DecisionRecord) -> None:
        records = self._records
        records[record.request_id] = record
        if len(records) > self.settings.max_decisions:
            records.popitem(last=False)

    def _note_store_error(self, error: Exception) -> None:
        self.observability_manager.log(
            "error", "records could not be kept", error=str(error), kind=type(error).__name__
        )
