"""What one router learns another one knows within a second, over a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from store_servers import free_port, valkey

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.limits.observation import MINUTE_S, Dimension, ObservedLimit, Provenance
from apikeyrouter.domain.models.api_key import KeyState
from apikeyrouter.domain.quota_scope import QuotaScope
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.state_store.stores import store_at
from apikeyrouter.infrastructure.utils.encryption import EncryptionService
from apikeyrouter.spreading.spreading import Spreading

pytestmark = pytest.mark.integration
SECRET = EncryptionService.generate_key()


class Member:
    """One router of several, and what it is told of mistakes."""

    def __init__(self, url: str, store: str) -> None:
        settings = {"log_level": "CRITICAL", "encryption_key": SECRET}
        self.router = ApiKeyRouter(store_at(store), config=settings)
        self.errors: list[Exception] = []
        self._url = url
        self.spreading: Spreading

    async def start(self, keys: int = 2) -> "Member":
        await self.router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
        await self.router.hydrate(claimed=[f"k{number}" for number in range(keys)])
        for number in range(keys):
            facts = {"id": f"k{number}", "origin": "configuration"}
            await self.router.register_key(f"sk-{number}", "p", facts)
        self.spreading = Spreading(
            self.router.parts, self.router.state_store, self._url, on_error=self.errors.append
        )
        await self.spreading.start()
        return self

    async def stop(self) -> None:
        await self.spreading.close()
        await self.router.close()

    async def attempt(self, key: str, model: str = "m") -> Attempt:
        """Begin a call with one key."""
        demand = Demand(
            model=model, request_id="r", input_tokens=1, output_cap=1, max_wait=0.0, key_id=key
        )
        return await anext(aiter(self.router.attempts(demand)))

    async def answer(self, key: str, *limits: ObservedLimit, **facts: Any) -> None:
        attempt = await self.attempt(key, **facts)
        attempt.answered(tuple(limits))
        attempt.settle(1, 1)

    async def fail(self, key: str, kind: FailureClass, model: str = "m", **facts: Any) -> None:
        facts = {"status": 429, **facts}
        (await self.attempt(key, model)).fail(Failure(kind, "no", **facts))

    def scope(self, key: str) -> QuotaScope:
        """Return the scope of a key; it is asked for as requests do."""
        return self.router.parts.registry.scope_for(self.router.key_manager.slot(key), "*")

    def state(self, key: str) -> KeyState:
        return self.router.key_manager.slot(key).record.state


async def within(seconds: float, is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


async def within_a_second(is_so: Callable[[], object]) -> None:
    await within(1.0, is_so)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
async def member(server: str, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start routers over one store, with the board empty at first."""
    store = store_at(server)
    await store._redis.flushall()  # type: ignore[attr-defined]
    await store.close()
    started: list[Member] = []

    async def start(keys: int = 2, url: str = server, store: str = server) -> Member:
        made = await Member(url, store).start(keys)
        started.append(made)
        return made

    yield start
    for one in started:
        await one.stop()


async def test_key_that_is_refused_here_is_not_used_there(member: Callable[..., Any]) -> None:
    a, b = await member(), await member()
    await b.answer("k0")
    await a.fail("k0", FailureClass.KEY_INVALID, status=401)
    await within_a_second(lambda: b.state("k0") is KeyState.INVALID)
    assert not b.router.key_manager.slot("k0").is_in_use
    assert b.state("k1") is KeyState.AVAILABLE
    a.router.key_manager.restore(
        a.router.key_manager.slot("k0"), "a probe was accepted",
        expect=a.router.key_manager.slot("k0").version,
    )  # fmt: skip
    await within_a_second(lambda: b.state("k0") is KeyState.AVAILABLE)
    assert (a.errors, b.errors) == ([], [])


async def test_wait_that_was_told_here_holds_there(member: Callable[..., Any]) -> None:
    a, b = await member(), await member()
    await b.answer("k0")
    await a.fail("k0", FailureClass.RATE_LIMITED, retry_after_s=30.0)
    await within_a_second(lambda: b.scope("k0").cooldown.until > 0.0)
    assert b.scope("k0").cooldown.until == pytest.approx(a.scope("k0").cooldown.until, abs=0.1)
    assert b.scope("k0").cooldown.cause == "rate_limited"
    assert b.scope("k1").cooldown.until == 0.0


def minute(limit: float, remaining: float) -> ObservedLimit:
    return ObservedLimit(Dimension.REQUESTS, limit=limit, remaining=remaining, period_s=MINUTE_S)


async def test_limit_that_was_told_here_is_known_there_with_its_origin(
    member: Callable[..., Any],
) -> None:
    a, b = await member(), await member()
    await b.answer("k0")
    await a.answer("k0", minute(100, 40))

    def window() -> Any:
        return b.scope("k0").account.window(Dimension.REQUESTS, MINUTE_S)

    await within_a_second(lambda: window() is not None)
    assert (window().capacity, window().provenance) == (100, Provenance.HEADER)
    assert window().confidence == 1.0
    assert window().room(b.router.now()) <= 41
    await b.answer("k0", minute(50, 10))
    mine = a.scope("k0").account.window(Dimension.REQUESTS, MINUTE_S)
    await within_a_second(lambda: mine.capacity == 50)


async def test_who_joins_later_knows_what_was_learned_before(member: Callable[..., Any]) -> None:
    a = await member()
    await a.answer("k0", minute(100, 40))
    await a.fail("k1", FailureClass.KEY_INVALID, status=401)
    await a.fail("k0", FailureClass.RATE_LIMITED, retry_after_s=30.0)
    await a.stop()
    b = await member(store="memory://")
    assert b.state("k1") is KeyState.INVALID
    assert b.scope("k0").cooldown.until > b.router.now() + 20.0
    assert b.scope("k0").account.window(Dimension.REQUESTS, MINUTE_S).capacity == 100


async def test_keys_that_were_found_to_share_an_account_share_it_there(
    member: Callable[..., Any],
) -> None:
    a, b = await member(), await member()
    await b.answer("k1")
    slot = a.router.key_manager.slot("k1")
    a.router.parts.registry.join(slot, "k0", basis="inferred", confidence=0.9)
    await within_a_second(lambda: b.scope("k1") is b.scope("k0"))
    a.router.parts.registry.part(slot, basis="inferred")
    await within_a_second(lambda: b.scope("k1") is not b.scope("k0"))


async def test_circuit_opens_and_closes_everywhere(member: Callable[..., Any]) -> None:
    a, b = await member(), await member()
    await b.answer("k0")
    [pool] = b.router.routes.pools()
    await a.fail("k0", FailureClass.UNREACHABLE, status=None)
    await within_a_second(lambda: pool.circuit.is_open)
    assert pool.circuit.cooldown.cause == "unreachable"
    circuit = a.router.routes.pools()[0].circuit
    await within(2.0, lambda: not circuit.blocked_until(a.router.now()))
    await a.answer("k0")
    await within_a_second(lambda: not pool.circuit.is_open)


async def test_model_that_is_refused_here_is_not_asked_for_there(
    member: Callable[..., Any],
) -> None:
    a, b = await member(), await member()
    await b.answer("k0", model="m")
    await a.fail("k0", FailureClass.MODEL_UNAVAILABLE, status=404)
    [candidate] = b.router.key_manager.slot("k0").candidates
    await within_a_second(lambda: candidate.refusals is not None)
    assert candidate.refusals.holds(b.router.now())
    c = await member()
    c.router.routes.route_for(Demand(model="m", request_id="r"))
    await asyncio.sleep(0)
    [candidate] = c.router.key_manager.slot("k0").candidates
    assert candidate.refusals is not None


async def test_orders_hold_everywhere(member: Callable[..., Any]) -> None:
    a, b = await member(), await member()
    known = b.router.key_manager
    await a.router.register_key("sk-new", "p", {"id": "new", "weight": 2.0})
    await within_a_second(lambda: "new" in known.slot_by_id)
    assert known.slot("new").secret == "sk-new"
    await a.router.rotate_key("new", "sk-newer")
    await within_a_second(lambda: known.slot("new").secret == "sk-newer")
    await a.router.key_manager.amend_key("new", {"weight": 3.0, "limits": {"rpm": 7}})
    await within_a_second(lambda: known.slot("new").weight == 3.0)
    await a.router.revoke_key("new")
    await within_a_second(lambda: known.slot("new").record.state is KeyState.DISABLED)
    # And what b orders holds for a, over what a has stored.
    await b.router.key_manager.update_key_state("new", KeyState.AVAILABLE)
    await within_a_second(lambda: a.state("new") is KeyState.AVAILABLE)
    assert (a.errors, b.errors) == ([], [])


async def test_nothing_is_told_while_nothing_new_is_learned(member: Callable[..., Any]) -> None:
    a, b = await member(), await member()
    for one in (a, b):
        await one.answer("k0", minute(100, 90))
    await asyncio.sleep(0.5)
    before = await a.spreading.spreader._board.last_number()
    for _ in range(50):
        await a.answer("k0", minute(100, 80))
        await b.answer("k0", minute(100, 80))
    await asyncio.sleep(0.5)
    assert await a.spreading.spreader._board.last_number() == before


async def test_server_that_goes_is_caught_up_with(tmp_path: Path, member: Any) -> None:
    port = free_port()
    shared = f"sqlite:///{tmp_path}/r.db"
    with valkey(tmp_path, port) as url:
        a, b = await member(url=url, store=shared), await member(url=url, store=shared)
        await b.answer("k0")
    await a.fail("k0", FailureClass.RATE_LIMITED, retry_after_s=30.0)
    await b.fail("k1", FailureClass.KEY_INVALID, status=401)
    await a.router.register_key("sk-new", "p", {"id": "new"})
    # It has forgotten all.
    (tmp_path / "again").mkdir()
    with valkey(tmp_path / "again", port):
        await within(10.0, lambda: b.scope("k0").cooldown.until)
        await within(10.0, lambda: a.state("k1") is KeyState.INVALID)
        await within(10.0, lambda: "new" in b.router.key_manager.slot_by_id)
        c = await member(url=url, store="memory://")
        assert c.state("k1") is KeyState.INVALID


@pytest.mark.parametrize(
    "fields",
    [{"n": "1", "a": "1", "d": b"\xc1junk"}, {"d": b""}, {"n": "-5", "a": "nan"}, {"x": "y"},
     {"n": "9" * 40, "a": "1e999", "d": b"\x80" * 70_000}],
    ids=["no notice", "no number", "no instant", "no field", "too much"],
)  # fmt: skip
async def test_what_is_no_notice_keeps_nobody_from_hearing(
    member: Callable[..., Any], fields: dict[str, Any]
) -> None:
    a, b = await member(), await member()
    board = a.spreading.spreader._board
    await board._redis.xadd(board._stream, fields)
    await board._redis.hset(board._shelves[0][0], "key\nk0", b"\xff")
    await within(20.0, lambda: b.spreading.spreader.skipped)
    await a.fail("k0", FailureClass.KEY_INVALID, status=401)
    await within(20.0, lambda: b.state("k0") is KeyState.INVALID)
    for one in (a, b):
        assert [str(error).partition(":")[0] for error in one.errors] == [
            "a notice of another process is skipped"
        ]
        assert one.spreading.trouble == ""
