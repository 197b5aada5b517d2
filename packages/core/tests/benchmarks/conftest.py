"""What the benchmarks share. They print; they gate on nothing."""

import time
from collections.abc import Awaitable, Callable

import pytest

from apikeyrouter import ApiKeyRouter, ProviderAdapter
from apikeyrouter.domain.models.system_response import ResponseMetadata, SystemResponse, TokenUsage

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


async def _furnished(keys: int) -> ApiKeyRouter:
    """A router with so many keys of one provider, each with four windows of its own."""
    router = ApiKeyRouter(config={"log_level": "CRITICAL"})
    await router.register_provider("p", Instant())
    for number in range(keys):
        await router.register_key(f"secret-{number}", "p", {"limits": LIMITS})
    return router


@pytest.fixture
def furnished() -> Callable[[int], Awaitable[ApiKeyRouter]]:
    """Build a router with so many keys."""
    return _furnished


@pytest.fixture
def p95() -> Callable[[Callable[[], object], int], float]:
    """Time single calls and return the 95th percentile in microseconds."""

    def measure(call: Callable[[], object], count: int) -> float:
        times = []
        for _ in range(count):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        return sorted(times)[int(count * 0.95)] * 1e6

    return measure
