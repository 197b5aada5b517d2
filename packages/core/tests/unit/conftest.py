"""What the library's unit tests share: a router of one provider, with the clock in our hand."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.errors import NoEligibleKeysError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter


class RouterBench:
    """A router, and a clock in our hand."""

    def __init__(
        self,
        keys: int = 2,
        *,
        per_model: bool = False,
        settings: dict[str, Any] | None = None,
        **facts: Any,
    ) -> None:
        self.now = 1000.0
        config = {"log_level": "CRITICAL", **(settings or {})}
        self.router = ApiKeyRouter(config=config, clock=lambda: self.now)
        asyncio.run(self._furnish(keys, per_model, facts))

    async def _furnish(self, keys: int, per_model: bool, facts: dict[str, Any]) -> None:
        adapter = OpenAIAdapter("http://127.0.0.1:1/v1", per_model=per_model)
        await self.router.register_provider("p", adapter)
        for number in range(1, keys + 1):
            await self.router.register_key(f"sk-{number}", "p", {"id": f"k{number}", **facts})

    def attempt(self, model: str = "m") -> Attempt:
        demand = Demand(model=model, request_id="r", input_tokens=1, output_cap=1, max_wait=0.0)
        return asyncio.run(anext(aiter(self.router.attempts(demand))))

    def attempt_on(self, key: str, model: str = "m") -> Attempt:
        """Ask until *key* is chosen; whoever is chosen before it stays busy meanwhile."""
        others: list[Attempt] = []
        for _ in range(20):
            attempt = self.attempt(model)
            if attempt.slot.id == key:
                for other in others:
                    other.cancel(sent=False)
                return attempt
            others.append(attempt)
        raise AssertionError(f"'{key}' is not chosen")

    def attempts_on(self, key: str, count: int) -> list[Attempt]:
        """Begin *count* calls with one key, all under way together."""
        begun = [self.attempt() for _ in range(20 * count)]
        chosen = [attempt for attempt in begun if attempt.slot.id == key][:count]
        for attempt in begun:
            if attempt not in chosen:
                attempt.cancel(sent=False)
        return chosen

    def served_by(self, model: str = "m", times: int = 6) -> set[str]:
        """Return the keys that answer some requests; nobody when all are refused."""
        found = set()
        for _ in range(times):
            try:
                attempt = self.attempt(model)
            except NoEligibleKeysError:
                continue
            found.add(attempt.slot.id)
            attempt.settle(1, 1)
        return found

    def summary(self) -> dict[str, dict[str, Any]]:
        return {key["id"]: key for key in self.router.get_state_summary()["keys"]}


@pytest.fixture
def bench_of() -> Callable[..., RouterBench]:
    """Return what builds a bench: number of keys, and facts that all of them bear."""
    return RouterBench
