"""What the benchmarks share. They print; they gate on nothing.

A figure in microseconds says as much about the machine as about the code, so each is printed
beside its ratio to a plain loop timed in the same run.
"""

import time
from collections.abc import Awaitable, Callable

import pytest

from apikeyrouter import ApiKeyRouter, ProviderAdapter
from apikeyrouter.domain.models.system_response import ResponseMetadata, SystemResponse, TokenUsage

#: Turns of the reference loop.
TURNS = 1000
LIMITS = {"rpm": 10_000_000, "rpd": 1_000_000_000, "tpm": 1_000_000_000, "tpd": 10_000_000_000}
ANSWER_USAGE = TokenUsage(input_tokens=5, output_tokens=5)


class Instant(ProviderAdapter):
    """Answers at once."""

    async def execute_request(self, intent, key):
        return SystemResponse(
            content="x", metadata=ResponseMetadata(model_used="m", tokens_used=ANSWER_USAGE)
        )

    def normalize_response(self, raw):
        return raw


async def _furnished(keys: int, *, models: int = 10, providers: int = 1) -> ApiKeyRouter:
    """A router with so many keys, each with four windows of its own.

    Args:
        models: So many in all, "m0" and on, each provider's own. Beyond ten of a provider
            every key serves ten of them.
    """
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    each = models // providers
    for number in range(providers):
        served = tuple(f"m{model}" for model in range(number * each, (number + 1) * each))
        await router.register_provider(f"p{number}", Instant(), models=served)
    for number in range(keys):
        first = number % providers * each
        chosen = range(number // providers % max(1, each // 10), each, max(1, each // 10))
        metadata = {"limits": LIMITS, "models": [f"m{first + model}" for model in chosen]}
        await router.register_key(f"secret-{number}", f"p{number % providers}", metadata)
    return router


@pytest.fixture
def furnished() -> Callable[..., Awaitable[ApiKeyRouter]]:
    """Build a router with so many keys."""
    return _furnished


async def _awaited_us(call: Callable[[], Awaitable[object]], count: int) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        await call()
        times.append((time.perf_counter() - started) * 1e6)
    return sorted(times)


@pytest.fixture
def awaited_p95() -> Callable[[Callable[[], Awaitable[object]], int], Awaitable[float]]:
    """Time single awaited calls and return the 95th percentile in microseconds."""

    async def measure(call: Callable[[], Awaitable[object]], count: int) -> float:
        return (await _awaited_us(call, count))[int(count * 0.95)]

    return measure


@pytest.fixture
def p95() -> Callable[[Callable[[], object], int], float]:
    """Time single calls and return the 95th percentile in microseconds."""

    return lambda call, count: _timed_us(call, count)[int(count * 0.95)]


def _reference_loop() -> int:
    total = 0
    for number in range(TURNS):
        total += number & 7
    return total


def _timed_us(call: Callable[[], object], count: int) -> list[float]:
    times = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1e6)
    return sorted(times)


@pytest.fixture
def report() -> Callable[..., float]:
    """Print microseconds and their ratio to the reference loop, timed now; return the ratio."""

    def say(what: str, microseconds: float) -> float:
        loop = _timed_us(_reference_loop, 200)[100]
        ratio = microseconds / loop
        print(f"\n{what}: {microseconds:.1f} us = {ratio:.2f} x a loop of {TURNS} turns")
        return ratio

    return say


@pytest.fixture
def median() -> Callable[[Callable[[], object], int], float]:
    """Time single calls and return the median in microseconds."""
    return lambda call, count: _timed_us(call, count)[count // 2]
