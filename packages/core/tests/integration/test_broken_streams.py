"""Streams that stall or break off: the provider is blamed for them, a slow reader's are not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, SystemError
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.infrastructure.adapters.connection_options import ConnectionOptions
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.integration
Provide = Callable[..., Awaitable[Any]]
ROLE = b'data: {"choices":[{"delta":{"role":"assistant"},"finish_reason":null}]}\n\n'
TEXT = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
GOOD = TEXT + b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
FINE = b'{"choices":[{"message":{"content":"hi"}}]}'


async def good(call: Any) -> None:
    await call.stream(GOOD)
    await call.end()


async def silent_midway(call: Any) -> None:
    await call.stream(TEXT)
    await asyncio.sleep(60)


async def cut_midway(call: Any) -> None:
    await call.stream(TEXT)
    call.reset()


class Table:
    """A router before some providers, the first of which is asked first."""

    def __init__(self, provide: Provide) -> None:
        self._provide = provide
        self.router = ApiKeyRouter(config={"log_level": "CRITICAL", "max_queue_wait_seconds": 5.0})
        self.providers: list[Any] = []

    async def add(self, script: Any, priority: int = 0, **connection: float) -> None:
        provider = await self._provide(script)
        name = f"p{len(self.providers)}"
        self.providers.append(provider)
        adapter = OpenAIAdapter(provider.url, connection=ConnectionOptions(**connection))
        await self.router.register_provider(name, adapter)
        facts = {"id": name, "priority": priority, "limits": {"rpm": 100_000}}
        await self.router.register_key(f"sk-{name}", name, facts)

    async def begin(self, stream: bool = True, seconds: float | None = None) -> Any:
        now = self.router.now()
        demand = Demand(model="m", request_id="r", stream=stream)
        demand.deadline = None if seconds is None else now + seconds
        answer = await self.router.forward(demand, lambda _: WireRequest("chat/completions"))
        return answer.stream if stream else answer

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in await self.begin()])

    def outcomes(self) -> list[str]:
        trace = self.router.get_request_trace("r")
        assert trace is not None
        return [attempt["outcome"] for attempt in trace["attempts"]]

    def circuits(self) -> list[Any]:
        summary = self.router.get_state_summary()
        assert summary["open_reservations"] == 0
        return list(summary["circuits"])


@pytest.fixture
async def table(provide: Provide) -> AsyncIterator[Table]:
    made = Table(provide)
    async with made.router:
        yield made


async def test_silence_midway_ends_a_stream_and_is_the_providers_failure(table: Table) -> None:
    await table.add(silent_midway, stall_timeout_s=0.1)
    async with asyncio.timeout(5):
        with pytest.raises(SystemError, match=r"it stalled for 0\.1 s"):
            await table.read()
    assert table.outcomes() == ["mid_stream"]


async def test_pieces_that_come_in_time_are_no_stall(table: Table) -> None:
    async def slow(call: Any) -> None:
        await call.stream(TEXT)
        for _ in range(6):
            await asyncio.sleep(0.1)
            await call.more(b": ping\n\n")
        await call.more(GOOD)
        await call.end()

    await table.add(slow, stall_timeout_s=0.3)
    assert (await table.read()).endswith(GOOD)


@pytest.mark.parametrize(
    ("told", "first_s", "later_s"),
    [({}, 120.0, 30.0), ({"stall_timeout_s": 300.0}, 300.0, 300.0),
     ({"learns_stall": False}, 120.0, 120.0)],
    ids=["learned", "told", "told as usual"],
)  # fmt: skip
async def test_longest_silence_is_learned_of_streams_unless_told(
    table: Table, told: Any, first_s: float, later_s: float
) -> None:
    await table.add(good, **told)
    stream = await table.begin()
    assert stream.stall_timeout_s == first_s
    stream.close()
    for _ in range(16):
        assert await table.read() == GOOD
    stream = await table.begin()
    assert stream.stall_timeout_s == later_s
    stream.close()


async def test_stream_that_stalled_lets_the_next_be_silent_longer(table: Table) -> None:
    await table.add(silent_midway, stall_timeout_s=0.1)
    with pytest.raises(SystemError, match="it stalled"):
        await table.read()
    [pool] = table.router.routes.pools()
    [candidate] = pool.candidates
    assert 0.1 <= candidate.health.longest_gap_s < 5.0


@pytest.mark.parametrize("beginning", [b"", ROLE], ids=["nothing", "a role"])
async def test_stream_whose_first_token_is_overdue_is_asked_for_elsewhere(
    table: Table, beginning: bytes
) -> None:
    async def slow(call: Any) -> None:
        if beginning:
            await call.stream(beginning)
        await asyncio.sleep(60)

    await table.add(slow, priority=1, first_token_timeout_s=0.2)
    await table.add(good)
    async with asyncio.timeout(5):
        assert await table.read() == GOOD
    assert table.outcomes() == ["timeout", "ok"]


async def test_whole_answer_has_no_first_token_to_wait_for(table: Table) -> None:
    async def slow(call: Any) -> None:
        await asyncio.sleep(0.3)
        await call.answer(FINE)

    await table.add(slow, first_token_timeout_s=0.1)
    assert (await table.begin(stream=False)).body == FINE


async def test_reader_that_never_reads_costs_the_provider_nothing(table: Table) -> None:
    async def endless(call: Any) -> None:
        await call.stream(TEXT)
        while True:
            await call.more(TEXT * 1000)

    await table.add(endless, stall_timeout_s=0.1)
    streams = [await table.begin(seconds=0.5) for _ in range(6)]
    for stream in streams:
        await anext(stream)
    await asyncio.sleep(0.7)
    assert (table.outcomes(), table.circuits()) == (["cancelled"], [])
    with pytest.raises(SystemError, match="longer than a request may"):
        await anext(streams[0])


async def test_provider_that_breaks_off_because_its_reader_held_it_back_is_not_blamed(
    table: Table,
) -> None:
    async def breaks_off(call: Any) -> None:
        await call.stream(TEXT)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                while True:
                    await call.more(TEXT * 1000)
        call.reset()

    await table.add(breaks_off)
    for _ in range(4):
        stream = await table.begin()
        await anext(stream)
        await asyncio.sleep(0.2)
        with pytest.raises(SystemError, match="broke off"):
            _ = [chunk async for chunk in stream]
        assert (table.outcomes(), table.circuits()) == (["cancelled"], [])


@pytest.mark.parametrize("at_once", [1, 8])
async def test_provider_that_breaks_every_stream_is_rested_while_another_stands_by(
    table: Table, at_once: int
) -> None:
    await table.add(cut_midway)
    await table.add(good)
    broken = 0

    async def client() -> None:
        nonlocal broken
        for _ in range(60 // at_once):
            try:
                assert await table.read() == GOOD
            except SystemError:
                broken += 1

    await asyncio.gather(*(client() for _ in range(at_once)))
    assert 3 <= broken <= 4 + 3 * at_once
    assert [circuit["provider_id"] for circuit in table.circuits()] == ["p0"]


async def test_provider_whose_streams_end_again_is_used_again(table: Table) -> None:
    is_well = False

    async def script(call: Any) -> None:
        await (good if is_well else cut_midway)(call)

    await table.add(script)
    for _ in range(3):
        with pytest.raises(SystemError):
            await table.read()
    assert len(table.circuits()) == 1
    is_well = True
    assert [await table.read() for _ in range(5)] == [GOOD] * 5
    assert table.circuits() == []


async def test_head_of_a_stream_alone_does_not_end_the_rest(table: Table) -> None:
    go_on = asyncio.Event()
    count = 0

    async def script(call: Any) -> None:
        nonlocal count
        count += 1
        if count <= 3:
            await cut_midway(call)
            return
        await call.stream(TEXT)
        await go_on.wait()
        await call.more(GOOD)
        await call.end()

    await table.add(script)
    for _ in range(3):
        with pytest.raises(SystemError):
            await table.read()
    stream = await table.begin()
    await anext(stream)
    assert len(table.router.get_state_summary()["circuits"]) == 1
    go_on.set()
    assert b"".join([chunk async for chunk in stream]) == GOOD
    assert table.circuits() == []
