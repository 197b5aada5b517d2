"""The parts of a router, made and connected: the only place that knows all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from apikeyrouter.domain.accounts.registry import AccountRegistry
from apikeyrouter.domain.accounts.searching.limit_search import LimitSearch
from apikeyrouter.domain.accounts.searching.pace_search import CHANCE_S
from apikeyrouter.domain.attempt_context import AttemptContext
from apikeyrouter.domain.components.account_orders import AccountOrders
from apikeyrouter.domain.components.cost_controller import CostController
from apikeyrouter.domain.components.key_declarations import KeyDeclarations
from apikeyrouter.domain.components.key_manager import KeyManager
from apikeyrouter.domain.components.quota_awareness_engine import QuotaAwarenessEngine
from apikeyrouter.domain.components.routing_engine import RoutingEngine
from apikeyrouter.domain.costs.cap_book import CapBook
from apikeyrouter.domain.feed.event_feed import EventFeed
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.key_slot import KeySlot
from apikeyrouter.domain.ledger.ledger import Ledger
from apikeyrouter.domain.models.routing_decision import RoutingObjective
from apikeyrouter.domain.queueing.admission_queue import AdmissionQueue
from apikeyrouter.domain.routing.decision_record import DecisionRecord
from apikeyrouter.domain.routing.route_table import RouteTable
from apikeyrouter.infrastructure.clock import SteadyClock
from apikeyrouter.infrastructure.config.settings import RouterSettings
from apikeyrouter.infrastructure.state_store.write_behind import WriteBehind
from apikeyrouter.infrastructure.utils.encryption import EncryptionService
from apikeyrouter.keys.key_lock import KeyLock
from apikeyrouter.keys.prober import KeyProber
from apikeyrouter.request.waiting_room import WaitingRoom


@dataclass(slots=True, frozen=True)
class RouterParts:
    """What a router is made of."""

    registry: AccountRegistry
    manager: KeyManager
    routes: RouteTable
    engine: RoutingEngine
    awareness: QuotaAwarenessEngine
    room: WaitingRoom
    prober: KeyProber
    context: AttemptContext
    sealer: EncryptionService
    search: LimitSearch
    declarations: KeyDeclarations
    caps: CapBook
    costs: CostController
    account_orders: AccountOrders


def compose(
    settings: RouterSettings,
    *,
    store: StateStore,
    outbox: WriteBehind,
    clock: SteadyClock,
    feed: EventFeed,
    find_record: Callable[[str], DecisionRecord | None],
) -> RouterParts:
    """Make the parts of a router and connect them."""
    secret = settings.encryption_key
    sealer = EncryptionService.of_setting(secret.get_secret_value() if secret else None)
    ledger = Ledger()
    # What may be chance rests a quarter of what the operator has set for throttled keys.
    chance_s = CHANCE_S * settings.default_cooldown_seconds
    search = LimitSearch(ledger, emit=feed.emit, chance_s=chance_s)
    registry = AccountRegistry(
        ledger, search,
        clock=clock, emit=feed.emit, on_capacity=lambda scope: routes.refresh_scope(scope),
    )  # fmt: skip
    manager = KeyManager(
        store, sealer,
        clock=clock, emit=feed.emit, record=outbox.put, touch=_noting(outbox), lock=KeyLock(),
    )  # fmt: skip
    routes = RouteTable(registry, clock=clock, default_objective=RoutingObjective())
    engine = RoutingEngine(routes, ledger, clock=clock, find_record=find_record)
    awareness = QuotaAwarenessEngine(ledger, registry, manager, search, clock=clock, emit=feed.emit)
    caps = CapBook(clock, lambda: registry.wall_ahead_s)
    caps.on_capacity = lambda: routes.on_change()
    registry.on_wall = caps.follow_wall
    room = WaitingRoom(AdmissionQueue(engine), clock, feed)
    prober = KeyProber(manager, routes)
    # Whatever makes room notifies the route table; only the route table wakes the queue.
    routes.on_change = room.nudge
    _follow_keys(manager, routes, awareness, caps)
    context = AttemptContext(
        engine=engine,
        ledger=ledger,
        awareness=awareness,
        manager=manager,
        clock=clock,
        wall=clock.wall,
        feed=feed,
        cooldown_s=settings.default_cooldown_seconds,
        quota_cooldown_s=settings.quota_default_cooldown_seconds,
        on_invalid=prober.watch,
        keep=outbox.put,
    )

    def remove(slots: set[KeySlot]) -> None:
        routes.remove_slots(slots)
        for slot in slots:
            registry.withdraw(slot)

    declarations = KeyDeclarations(
        manager, sealer,
        clock=clock, remove=remove, redeclare=registry.redeclare,
        touch=_noting(outbox), watch=prober.watch,
    )  # fmt: skip
    account_orders = AccountOrders(store, registry, ledger, search, manager, clock=clock)
    return RouterParts(
        registry, manager, routes, engine, awareness, room, prober, context, sealer, search,
        declarations, caps, CostController(caps, routes, store, clock=clock), account_orders,
    )  # fmt: skip


def _noting(outbox: WriteBehind) -> Callable[[KeySlot], None]:
    """Return what has a key's record written behind: state, wait and counts as they are then."""
    return lambda slot: outbox.note(f"key {slot.id}", lambda: slot.snapshot().model_copy())


def _follow_keys(
    manager: KeyManager, routes: RouteTable, awareness: QuotaAwarenessEngine, caps: CapBook
) -> None:
    """Update routes and accounts when a key is added, changes its state, or is repaired."""

    def on_change(slot: KeySlot) -> None:
        if slot.is_withdrawn:
            # Calls of it that were under way may still find something out.
            return
        caps.note_key(slot)
        if slot.id in routes.providers[slot.provider_id].slots:
            routes.refresh_slot(slot)
        else:
            routes.add_slot(slot)

    def on_wake(slot: KeySlot) -> None:
        awareness.clear_account_cooldowns(slot)
        routes.forget_list(slot)

    manager.on_change = on_change
    manager.on_amend = routes.refile_slot
    manager.on_wake = on_wake
