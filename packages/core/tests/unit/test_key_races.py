"""Keys under race: what was found before a wait holds only for what is still there after it."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apikeyrouter import ApiKeyRouter, Demand, KeyState
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.state_store import StateQuery, StateStoreError
from apikeyrouter.domain.ledger.backend import LedgerBackend
from apikeyrouter.domain.ledger.ledger import Reservation
from apikeyrouter.domain.models.api_key import APIKey
from apikeyrouter.domain.models.state_transition import StateTransition
from apikeyrouter.errors import KeyRegistrationError, NoEligibleKeysError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore
from apikeyrouter.keys import prober

pytestmark = pytest.mark.unit
NOT_KNOWN = Failure(FailureClass.KEY_INVALID, "who are you", 401)
S = KeyState


class SteppedStore(InMemoryStateStore):
    """Saves keys one step at a time, in any order, or fails to; at once until it `is_slow`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_slow = False
        self.waiting: deque[asyncio.Future[bool]] = deque()

    async def save_key(self, key: APIKey) -> None:
        as_told = key.model_copy(deep=True)
        if self.is_slow:
            step = asyncio.get_running_loop().create_future()
            self.waiting.append(step)
            if not await step:
                raise StateStoreError("the disk is full")
        await super().save_key(as_told)

    async def step(self, number: int = 0, *, works: bool = True) -> None:
        """Let one of the waiting calls go on, and whoever waits for it."""
        self.waiting[number].set_result(works)
        del self.waiting[number]
        await settle()


class Probing(OpenAIAdapter):
    """Answers a probe when the test says so."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/v1")
        self.probes: deque[asyncio.Future[bool | None]] = deque()

    async def probe(self, secret: str) -> bool | None:
        answer = asyncio.get_running_loop().create_future()
        self.probes.append(answer)
        return await answer


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Bench:
    """A router with one key, its store and its provider in our hand."""

    def __init__(self) -> None:
        self.store, self.adapter = SteppedStore(), Probing()
        self.router = ApiKeyRouter(self.store, config={"log_level": "CRITICAL"})
        self.manager = self.router.key_manager

    async def __aenter__(self) -> "Bench":
        await self.router.register_provider("p", self.adapter)
        await self.router.register_key("sk-1", "p", {"id": "k", "limits": {"concurrency": 100}})
        self.store.is_slow = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.store.is_slow = False
        while self.store.waiting:
            await self.store.step()
        await self.router.close()

    def order(self, call: Awaitable[APIKey]) -> "asyncio.Future[APIKey]":
        return asyncio.ensure_future(call)

    async def attempt(self) -> Attempt:
        demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
        return await anext(aiter(self.router.attempts(demand)))

    async def serves(self) -> bool:
        try:
            (await self.attempt()).settle(1, 1)
        except NoEligibleKeysError:
            return False
        return True

    @property
    def state(self) -> KeyState:
        return self.manager.slot("k").record.state

    async def stored(self) -> APIKey:
        record = await self.store.get_key("k")
        assert record is not None
        return record


async def test_revoked_key_serves_nobody_while_the_store_is_slow() -> None:
    async with Bench() as bench:
        order = bench.order(bench.router.revoke_key("k"))
        await settle()
        assert not await bench.serves()
        assert not order.done()
        await bench.store.step()
        assert order.done()
        assert (await bench.stored()).state is S.DISABLED


async def test_revocation_that_cannot_be_stored_is_undone_and_told() -> None:
    async with Bench() as bench:
        order = bench.order(bench.router.revoke_key("k"))
        await settle()
        await bench.store.step(works=False)
        with pytest.raises(StateStoreError):
            await order
        assert await bench.serves()


async def test_second_revocation_is_acknowledged_only_when_the_first_is_stored() -> None:
    async with Bench() as bench:
        first = bench.order(bench.router.revoke_key("k"))
        await settle()
        second = bench.order(bench.router.revoke_key("k"))
        await settle()
        assert not second.done()
        await bench.store.step(works=False)
        assert isinstance(first.exception(), StateStoreError)
        await bench.store.step()
        assert (await second).state is S.DISABLED


async def test_key_is_registered_once_however_slow_the_store() -> None:
    async with Bench() as bench:
        orders = [
            bench.order(bench.router.register_key(secret, "p", {"id": "twin"}))
            for secret in ("sk-a", "sk-b")
        ]
        await settle()
        assert "twin" not in bench.manager.slot_by_id
        assert isinstance(orders[1].exception(), KeyRegistrationError)
        await bench.store.step()
        await orders[0]
        assert bench.manager.slot("twin").secret == "sk-a"


async def test_id_is_free_again_when_its_registration_could_not_be_stored() -> None:
    async with Bench() as bench:
        order = bench.order(bench.router.register_key("sk-a", "p", {"id": "twin"}))
        await settle()
        await bench.store.step(works=False)
        assert isinstance(order.exception(), StateStoreError)
        assert "twin" not in bench.manager.slot_by_id
        again = bench.order(bench.router.register_key("sk-b", "p", {"id": "twin"}))
        await settle()
        await bench.store.step()
        assert (await again).id == "twin"


async def test_late_refusal_of_the_old_secret_says_nothing_of_the_new_one() -> None:
    async with Bench() as bench:
        late, refused = await bench.attempt(), await bench.attempt()
        order = bench.order(bench.router.rotate_key("k", "sk-2"))
        await settle()
        await bench.store.step()
        await order
        late.fail(NOT_KNOWN)
        assert bench.state is S.AVAILABLE
        refused.fail(Failure(FailureClass.KEY_BUDGET, "over", 402))
        assert await bench.serves()


async def test_request_goes_on_with_the_new_secret_when_the_old_one_was_refused() -> None:
    async with Bench() as bench:
        demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
        secrets = []
        async for attempt in bench.router.attempts(demand):
            secrets.append(attempt.slot.secret)
            if len(secrets) == 2:
                attempt.settle(1, 1)
                break
            bench.store.is_slow = False
            await bench.router.rotate_key("k", "sk-2")
            attempt.fail(NOT_KNOWN)
        assert secrets == ["sk-1", "sk-2"]


async def test_key_that_is_revoked_while_its_new_secret_is_stored_stays_revoked() -> None:
    async with Bench() as bench:
        rotation = bench.order(bench.router.rotate_key("k", "sk-2"))
        await settle()
        revocation = bench.order(bench.router.revoke_key("k"))
        await settle()
        for _ in range(2):
            await bench.store.step()
        await asyncio.gather(rotation, revocation)
        assert (bench.state, (await bench.stored()).state) == (S.DISABLED, S.DISABLED)
        assert not await bench.serves()
        assert bench.manager.slot("k").secret == "sk-2"


class Revoking(LedgerBackend):
    """A shared ledger during whose first answer the chosen key is revoked."""

    def __init__(self, router: ApiKeyRouter) -> None:
        self._router = router
        self.asked = 0

    async def confirm(self, reservation: Reservation) -> None:
        self.asked += 1
        if self.asked == 1:
            await self._router.revoke_key("k")


async def test_key_that_is_revoked_before_its_call_begins_is_not_called() -> None:
    async with Bench() as bench:
        bench.store.is_slow = False
        bench.router.ledger_backend = Revoking(bench.router)
        assert not await bench.serves()
        await bench.router.register_key("sk-2", "p", {"id": "k2"})
        bench.router.ledger_backend = Revoking(bench.router)
        await bench.manager.update_key_state("k", S.AVAILABLE)
        while (attempt := await bench.attempt()).slot.id != "k2":
            attempt.cancel()
        attempt.settle(1, 1)
        assert bench.router.get_state_summary()["open_reservations"] == 0


async def test_refused_call_of_a_revoked_key_moves_it_nowhere() -> None:
    async with Bench() as bench:
        running = await bench.attempt()
        bench.store.is_slow = False
        await bench.router.revoke_key("k")
        running.fail(NOT_KNOWN)
        assert bench.state is S.DISABLED


Meanwhile = Callable[[Bench], Awaitable[APIKey]]
MEANWHILE: dict[str, tuple[Meanwhile, KeyState]] = {
    "revoked": (lambda bench: bench.router.revoke_key("k"), S.DISABLED),
    "rotated": (lambda bench: bench.router.rotate_key("k", "sk-2"), S.AVAILABLE),
}


@pytest.mark.parametrize("what", MEANWHILE)
@pytest.mark.parametrize("accepted", [True, False])
async def test_probe_tells_nothing_of_a_key_that_was_changed_meanwhile(
    monkeypatch: pytest.MonkeyPatch, what: str, accepted: bool
) -> None:
    monkeypatch.setattr(prober, "FIRST_PROBE_S", 0.0)
    async with Bench() as bench:
        bench.store.is_slow = False
        (await bench.attempt()).fail(NOT_KNOWN)
        await settle()
        change, expected = MEANWHILE[what]
        await change(bench)
        bench.adapter.probes[0].set_result(accepted)
        await settle()
        assert bench.state is expected
        assert not bench.manager.slot("k").confirmed_invalid


async def test_key_that_a_probe_finds_accepted_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober, "FIRST_PROBE_S", 0.0)
    async with Bench() as bench:
        (await bench.attempt()).fail(NOT_KNOWN)
        await settle()
        assert bench.state is S.INVALID
        bench.adapter.probes[0].set_result(True)
        await settle()
        assert bench.state is S.AVAILABLE
        assert await bench.serves()


async def test_move_and_restoration_hold_for_the_version_they_were_found_for() -> None:
    async with Bench() as bench:
        slot, found = bench.manager.slot("k"), bench.manager.slot("k").version
        bench.store.is_slow = False
        await bench.router.rotate_key("k", "sk-2")
        assert bench.manager.move(slot, S.INVALID, "late", 0.0, expect=found) is None
        assert bench.manager.move(slot, S.INVALID, "now", 0.0, expect=slot.version) is not None
        found = slot.version
        await bench.router.rotate_key("k", "sk-3")
        (await bench.attempt()).fail(NOT_KNOWN)
        assert not bench.manager.restore(slot, "late", expect=found)
        assert bench.state is S.INVALID


async def test_order_and_its_move_are_stored_when_it_is_acknowledged() -> None:
    async with Bench() as bench:
        bench.store.is_slow = False
        await bench.manager.update_key_state("k", S.THROTTLED, "pause", cooldown_seconds=60.0)
        assert (await bench.stored()).state is S.THROTTLED
        assert (await bench.stored()).cooldown_until is not None
        await bench.router.revoke_key("k", "leaked")
        moves = await moves_of(bench)
        assert moves == [("disabled", "leaked"), ("throttled", "pause")]


async def moves_of(bench: Bench) -> list[tuple[str, str]]:
    found: list[StateTransition] = await bench.store.query_state(StateQuery("StateTransition"))
    return [(move.to_state, move.trigger) for move in found]


STEPS = st.sampled_from(
    ["revoke", "enable", "pause", "rotate", "call", "refuse", "save", "save last", "fail", "fail 2"]
)


@settings(max_examples=150, deadline=None)
@example(["revoke", "enable", "fail", "fail"])
@example(["revoke", "revoke", "enable", "save", "save", "fail"])
@example(["pause", "save", "rotate", "revoke", "save", "fail"])
@example(["revoke", "enable", "call", "refuse", "save", "fail"])
@given(st.lists(STEPS, max_size=30))
def test_last_word_stands_in_memory_and_in_the_store(steps: list[str]) -> None:
    asyncio.run(walk(steps))


async def walk(steps: list[str]) -> None:
    async with Bench() as bench:
        orders: list[asyncio.Future[APIKey]] = []
        running: list[Attempt] = []
        secrets = 1
        for step in steps:
            waiting = bench.store.waiting
            if step == "revoke":
                orders.append(bench.order(bench.router.revoke_key("k")))
            elif step == "enable" and bench.state is S.DISABLED:
                orders.append(bench.order(bench.manager.update_key_state("k", S.AVAILABLE)))
            elif step == "pause" and bench.state is S.AVAILABLE:
                orders.append(bench.order(bench.manager.update_key_state("k", S.THROTTLED, "", 9)))
            elif step == "rotate":
                secrets += 1
                orders.append(bench.order(bench.router.rotate_key("k", f"sk-{secrets}")))
            elif step == "call" and bench.state is S.AVAILABLE:
                running.append(await bench.attempt())
            elif step == "refuse" and running:
                running.pop(0).fail(NOT_KNOWN)
            elif step.startswith(("save", "fail")) and waiting:
                last = len(waiting) - 1 if step in ("save last", "fail 2") else 0
                await bench.store.step(last, works=step.startswith("save"))
            await settle()
        for attempt in running:
            attempt.cancel()
        while bench.store.waiting:
            await bench.store.step()
        await asyncio.gather(*orders, return_exceptions=True)
        await check_last_word(bench, was_refused="refuse" in steps)


async def check_last_word(bench: Bench, *, was_refused: bool) -> None:
    stored, slot = await bench.stored(), bench.manager.slot("k")
    assert slot.record.key_material == stored.key_material
    assert slot.record.reveal() == slot.secret
    # What traffic moves is not stored; nothing that an operator revoked is moved by it.
    if not was_refused or stored.state is S.DISABLED:
        assert slot.record.state is stored.state
