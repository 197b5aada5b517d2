"""A request is tried a few times after failures, and walks over a bounded number of keys."""

import asyncio
from typing import Any

import pytest

from apikeyrouter import Demand
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.request.attempt_loop import MAX_KEY_SWITCHES, RETRIES

pytestmark = pytest.mark.unit
BenchOf = Any
F = FailureClass


async def calls_until_it_gives_up(bench: Any, failure: Failure) -> int:
    """Return how often one request is tried when every call fails so."""
    demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
    calls = 0
    async for attempt in bench.router.attempts(demand):
        calls += 1
        attempt.fail(failure)
    return calls


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (F.SERVER_ERROR, RETRIES + 1),
        (F.OVERLOADED, RETRIES + 1),
        (F.NETWORK, RETRIES + 1),
        (F.CONFLICT, RETRIES + 1),
        (F.KEY_INVALID, MAX_KEY_SWITCHES + 1),
        (F.QUOTA_BILLING, MAX_KEY_SWITCHES + 1),
        (F.TOO_BIG_FOR_LIMIT, MAX_KEY_SWITCHES + 1),
        (F.UNEXPLAINED, 2),
        (F.UNFIT_MODEL, 1),
        (F.BAD_REQUEST, 1),
        (F.CONTENT_FILTER, 1),
    ],
    ids=str,
)
def test_request_is_given_up_in_the_end(bench_of: BenchOf, kind: FailureClass, calls: int) -> None:
    bench = bench_of(MAX_KEY_SWITCHES + 50, limits={"rpm": 1_000_000})
    bench.served_by(times=1)
    found = asyncio.run(calls_until_it_gives_up(bench, Failure(kind, "no", 500)))
    assert found == calls
