"""A deadline interrupts what is awaited at its moment, near or far, and nothing after it."""

import asyncio
import time

import pytest

from apikeyrouter.request.deadline import Deadline

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("after_s", [0.0, 0.05, 1.2], ids=["over", "near", "far"])
async def test_what_is_awaited_is_given_up_at_its_moment(after_s: float) -> None:
    loop = asyncio.get_running_loop()
    started = time.monotonic()
    with pytest.raises(TimeoutError), Deadline(loop.time() + after_s):
        await asyncio.Event().wait()
    assert after_s <= time.monotonic() - started < after_s + 0.5


async def test_what_ends_before_it_is_not_interrupted_later() -> None:
    loop = asyncio.get_running_loop()
    with Deadline(loop.time() + 0.02):
        pass
    with Deadline(loop.time() + 1.1):
        pass
    await asyncio.sleep(1.3)


async def test_somebody_elses_cancellation_stays_one() -> None:
    async def waits() -> None:
        with Deadline(asyncio.get_running_loop().time() + 10.0):
            await asyncio.Event().wait()

    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_errors_within_pass_as_they_are() -> None:
    with pytest.raises(KeyError), Deadline(asyncio.get_running_loop().time() + 10.0):
        raise KeyError("x")


def test_loops_of_different_threads_do_not_disturb_each_other() -> None:
    async def waits(after_s: float) -> None:
        with Deadline(asyncio.get_running_loop().time() + after_s):
            await asyncio.Event().wait()

    async def both() -> None:
        other = asyncio.to_thread(asyncio.run, waits(1.2))
        own = waits(1.2)
        outcomes = await asyncio.gather(other, own, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [TimeoutError, TimeoutError]

    asyncio.run(both())
