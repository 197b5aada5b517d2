"""Requests of one session stay where their prompt cache is, where that costs nobody anything."""

from collections import Counter
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.costs.affinity import AffinityTable
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit
LONG = 5000


class Keys:
    """Equal keys, and a clock in our hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: self.now)
        self._asked = self._keys = 0

    async def add(self, count: int, **facts: Any) -> "Keys":
        if "p" not in self.router.routes.providers:
            await self.router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
        for _ in range(count):
            name = f"k{self._keys}"
            self._keys += 1
            await self.router.register_key(f"sk-{name}", "p", {"id": name, **facts})
        return self

    async def begin(self, session: str = "", tokens: int = LONG, client: str = "") -> Attempt:
        self._asked += 1
        demand = Demand(
            model="m", request_id=f"r{self._asked}", input_tokens=tokens, output_cap=10,
            max_wait=0.0, affinity=session, client=client,
        )  # fmt: skip
        return await anext(aiter(self.router.attempts(demand)))

    async def ask(self, session: str = "", **facts: Any) -> str:
        attempt = await self.begin(session, **facts)
        self.now += 0.1
        attempt.settle(LONG, 10)
        return attempt.slot.id


@pytest.mark.parametrize(
    ("session", "tokens", "used"),
    [("s", LONG, 1), ("s", 500, 4), ("", LONG, 4)],
    ids=["session", "too short for a cache", "no session"],
)
@pytest.mark.parametrize("keys", [4, 50], ids=["few keys", "many"])
async def test_session_stays_at_its_key(session: str, tokens: int, used: int, keys: int) -> None:
    fleet = await Keys().add(keys)
    served = {await fleet.ask(session, tokens=tokens) for _ in range(16)}
    assert len(served) >= used
    if used == 1:
        assert len(served) == 1


@pytest.mark.parametrize("keys", [4, 50], ids=["few keys", "many"])
async def test_sessions_take_turns_with_keys(keys: int) -> None:
    fleet = await Keys().add(keys)
    first = [await fleet.ask(f"s{session}") for session in range(keys)]
    assert Counter(first) == Counter({f"k{key}": 1 for key in range(keys)})
    for _ in range(3):
        assert [await fleet.ask(f"s{session}") for session in range(keys)] == first


async def test_sessions_of_two_clients_have_nothing_in_common() -> None:
    fleet = await Keys().add(2)
    assert await fleet.ask("s", client="a") != await fleet.ask("s", client="b")


async def test_key_without_room_is_left_at_once() -> None:
    fleet = await Keys().add(2, limits={"concurrency": 1})
    first = await fleet.begin("s")
    second = await fleet.begin("s")
    assert first.slot is not second.slot
    first.settle(LONG, 10)
    second.settle(LONG, 10)
    # Its cache is where it was served last.
    assert await fleet.ask("s") == second.slot.id


async def test_key_that_is_worse_for_the_objective_is_left() -> None:
    """Fairness comes first: a share of the limits that others have not used."""
    fleet = await Keys().add(2, limits={"tpm": 100_000})
    assert len({await fleet.ask("s") for _ in range(6)}) == 2


async def test_higher_priority_comes_first() -> None:
    fleet = await Keys().add(1)
    assert await fleet.ask("s") == "k0"
    await fleet.add(1, priority=1)
    assert [await fleet.ask("s") for _ in range(2)] == ["k1", "k1"]


async def test_weights_hold_for_sessions() -> None:
    fleet = await Keys().add(1, weight=3.0)
    await fleet.add(1, weight=1.0)
    served = Counter([await fleet.ask(f"s{session}") for session in range(80)])
    assert served["k0"] == pytest.approx(60, abs=3)


async def test_session_is_forgotten_when_its_cache_is_cold() -> None:
    fleet = await Keys().add(2)
    first = await fleet.ask("s")
    fleet.now += 700.0
    served = {await fleet.ask("s"), await fleet.ask("s")}
    assert served == {"k1" if first == "k0" else "k0"}


async def test_key_that_is_gone_is_forgotten() -> None:
    fleet = await Keys().add(3)
    first = await fleet.ask("s")
    await fleet.router.revoke_key(first)
    later = [await fleet.ask("s") for _ in range(3)]
    assert first not in later
    assert len(set(later)) == 1


def test_table_keeps_the_latest_sessions_only() -> None:
    table: AffinityTable[str] = AffinityTable(most=3, memory_s=10.0)
    for name in range(5):
        table.note(name, f"k{name}", float(name))
    assert [table.kept(name, 5.0) for name in range(5)] == [None, None, "k2", "k3", "k4"]
    table.note(2, "k9", 6.0)
    table.note(5, "k5", 6.0)
    assert [table.kept(name, 6.0) for name in (2, 3, 4)] == ["k9", None, "k4"]
    assert table.kept(4, 15.0) is None
    assert len(table) == 2
