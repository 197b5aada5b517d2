"""Servers that serve few calls at once and refuse the rest as too busy: the rest waits its turn."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Message, RequestIntent
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.integration
INTENT = RequestIntent(model="own", messages=[Message(role="user", content="Hello!")])
FINE = json.dumps({"choices": [{"message": {"content": "hi"}}]}).encode()
SLOTS, CALLS = 4, 192
REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "queue is full": (503, {"error": "server busy, please try again"}),
    "no words": (503, {}),
    "overloaded": (529, {"type": "error", "error": {"type": "overloaded_error", "message": "!"}}),
    "high demand": (429, {"error": {"message": "The system is experiencing high demand."}}),
}


class FewSlots:
    """A server that serves `SLOTS` calls at once and refuses every other."""

    def __init__(self, status: int, refusal: dict[str, Any]) -> None:
        self._status, self._refusal = status, json.dumps(refusal).encode()
        self._running = 0
        self.served = self.refused = 0

    async def __call__(self, call: Any) -> None:
        if self._running >= SLOTS:
            self.refused += 1
            await call.answer(self._refusal, self._status)
            return
        self._running += 1
        await asyncio.sleep(0.05)
        self._running -= 1
        self.served += 1
        await call.answer(FINE)


@pytest.mark.parametrize(("status", "refusal"), REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("clients", [8, 64])
async def test_what_a_busy_server_has_no_slot_for_waits_its_turn(
    provide: Callable[..., Awaitable[Any]], status: int, refusal: dict[str, Any], clients: int
) -> None:
    slots = FewSlots(status, refusal)
    server = await provide(slots, backlog=300)
    settings = {"log_level": "CRITICAL", "max_queue_wait_seconds": 60.0}
    async with ApiKeyRouter(config=settings) as router:
        await router.register_provider("own", OpenAIAdapter(server.url))
        await router.register_key("sk-own", "own")

        async def client() -> None:
            for _ in range(CALLS // clients):
                await router.route(INTENT)

        ends = await asyncio.gather(*(client() for _ in range(clients)), return_exceptions=True)
    assert [end for end in ends if end is not None] == []
    assert slots.served == CALLS
    assert slots.refused <= 0.2 * CALLS
