"""Several routers on one ledger: together they take what one would, whatever becomes of them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet import Fleet, Member, member_of
from store_servers import free_port, valkey

from apikeyrouter.errors import ConfigurationError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def apart(request: pytest.FixtureRequest) -> str:
    """What the names of one test begin with."""
    return request.node.name.replace("{", "").replace("}", "")


LIMITS = [
    {"rpm": 60},
    {"rpd": 40},
    {"rpm": 50, "tpm": 1000},
    {"rpm": 600, "rpd": 30},
]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
async def test_several_admit_what_one_would(
    server: str, apart: str, limits: dict[str, float]
) -> None:
    alone = await member_of(None, limits)
    expected = await alone.use_up(tokens=10)
    await alone.router.close()
    async with Fleet(server, 4, limits, prefix=apart) as members:
        counts = await asyncio.gather(*(member.use_up(tokens=10) for member in members))
        # What refills while they ask may let in one or two more.
        assert expected <= sum(counts) <= expected + 2, (expected, counts)


async def test_calls_at_once_are_those_of_all(server: str, apart: str) -> None:
    async with Fleet(server, 3, {"concurrency": 4}, prefix=apart) as members:
        begun = [await members[n % 3].ask() for n in range(6)]
        assert [attempt is not None for attempt in begun] == [True] * 4 + [False] * 2
        for attempt in begun:
            if attempt is not None:
                attempt.settle(1, 1)


async def test_end_of_a_call_wakes_who_waits_elsewhere(server: str, apart: str) -> None:
    async with Fleet(server, 2, {"concurrency": 1}, prefix=apart) as (one, other):
        running = await one.ask()
        assert running is not None
        waiting = asyncio.create_task(other.ask(wait_s=10.0))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        running.settle(1, 1)
        ended_at = time.monotonic()
        attempt = await waiting
        assert attempt is not None
        assert time.monotonic() - ended_at < 0.6
        attempt.settle(1, 1)


async def test_tokens_that_were_not_used_are_there_for_all(server: str, apart: str) -> None:
    async with Fleet(server, 2, {"tpm": 1000}, prefix=apart) as (one, other):
        large = await one.ask(tokens=900)
        assert large is not None
        assert await other.ask(tokens=500) is None
        large.settle(100, 0)
        await asyncio.sleep(0.1)
        attempt = await other.ask(tokens=500, wait_s=1.0)
        assert attempt is not None
        attempt.settle(500, 0)


async def test_a_clients_own_limit_is_shared(server: str, apart: str) -> None:
    async with Fleet(server, 2, {"rpm": 6000}, prefix=apart) as members:
        accounts = [m.router.open_account("client 'a'", {"rpm": 5}) for m in members]
        begun = 0
        for turn in range(10):
            attempt = await members[turn % 2].ask(accounts[turn % 2])
            if attempt is not None:
                begun += 1
                attempt.settle(1, 1)
        assert begun == 5


async def test_the_smaller_of_two_declared_limits_counts(server: str, apart: str) -> None:
    small = await member_of(server, {"rpd": 10}, prefix=apart)
    large = await member_of(server, {"rpd": 100}, prefix=apart)
    assert await small.use_up(most=2) == 2
    # A bucket keeps a moment's refill over: the last one is not given out at once.
    assert await large.use_up() == 7
    await small.router.close()
    await large.router.close()


async def test_caller_that_leaves_while_it_is_asked_leaves_nothing_behind(
    server: str, apart: str
) -> None:
    async with Fleet(server, 2, {"concurrency": 1}, prefix=apart) as (one, other):
        asking = asyncio.create_task(one.ask())
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        attempt = await other.ask(wait_s=5.0)
        assert attempt is not None
        attempt.settle(1, 1)


async def test_hold_of_a_dead_process_is_given_back(server: str, apart: str) -> None:
    async with Fleet(server, 2, {"concurrency": 1}, prefix=apart, hold_ttl_s=0.6) as members:
        dead, alive = members
        running = await dead.ask()
        assert running is not None
        await dead.ledger.stop()
        assert await alive.ask() is None
        began_at = time.monotonic()
        attempt = await alive.ask(wait_s=10.0)
        assert attempt is not None
        assert time.monotonic() - began_at < 2.0
        attempt.settle(1, 1)
        running.cancel()


async def test_hold_of_a_living_process_lasts_beyond_its_time(server: str, apart: str) -> None:
    async with Fleet(server, 2, {"concurrency": 1}, prefix=apart, hold_ttl_s=0.5) as (one, other):
        running = await one.ask()
        assert running is not None
        assert await other.ask(wait_s=1.5) is None
        running.settle(1, 1)


async def test_script_that_the_server_has_forgotten_is_told_again(server: str, apart: str) -> None:
    import redis.asyncio

    async with Fleet(server, 1, {"rpm": 60}, prefix=apart) as (one,):
        client = redis.asyncio.Redis.from_url(server)
        await client.script_flush()
        await client.aclose()
        attempt = await one.ask()
        assert attempt is not None
        attempt.settle(1, 1)
        assert one.ledger.trouble() == ""


async def test_server_that_went_is_done_without_and_taken_up_again(tmp_path: Path) -> None:
    port = free_port()
    with valkey(tmp_path, port) as url:
        members = [await member_of(url, {"rpd": 40}) for _ in range(4)]
        assert await members[0].use_up(most=8) == 8
        async with asyncio.timeout(10):
            while any(member.ledger.processes < 4 for member in members):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    counts = [await member.use_up() for member in members]
    # A fourth of what was left is each one's, as far as it knew what the others had used.
    assert sum(counts) <= 40
    assert min(counts) >= 7
    assert all("127.0.0.1" in member.ledger.trouble() for member in members)
    with valkey(tmp_path, port):
        await _until_reached(members)
        assert [await member.use_up() for member in members] == [0] * 4
    await asyncio.gather(*(member.router.close() for member in members))


async def _until_reached(members: list[Member]) -> None:
    async with asyncio.timeout(20):
        while any(member.ledger.trouble() for member in members):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_server_that_has_lost_everything_learns_what_was_used(tmp_path: Path) -> None:
    import redis.asyncio

    with valkey(tmp_path) as url:
        async with Fleet(url, 2, {"rpd": 20}) as (one, other):
            assert await one.use_up(most=12) == 12
            assert await other.use_up(most=1) == 1
            client = redis.asyncio.Redis.from_url(url)
            await client.flushall()
            await client.aclose()
            assert await one.use_up() + await other.use_up() <= 8


async def test_server_that_hangs_fails_no_request(tmp_path: Path) -> None:
    import os
    import signal

    with valkey(tmp_path) as url:
        import redis.asyncio

        client = redis.asyncio.Redis.from_url(url)
        process = int((await client.info("server"))["process_id"])
        await client.aclose()
        async with Fleet(url, 1, {"rpm": 60}, timeout_s=0.2) as (one,):
            os.kill(process, signal.SIGSTOP)
            try:
                began_at = time.monotonic()
                attempt = await one.ask()
                assert attempt is not None
                assert time.monotonic() - began_at < 1.0
                attempt.settle(1, 1)
            finally:
                os.kill(process, signal.SIGCONT)


async def test_unreachable_server_is_told_at_the_start_without_its_password() -> None:
    address = f"redis://user:hush-hush@127.0.0.1:{free_port()}/0"
    with pytest.raises(ConfigurationError, match=r"ledger: redis://127\.0\.0\.1") as caught:
        await member_of(address, {})
    assert "hush" not in str(caught.value)
