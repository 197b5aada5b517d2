"""Nobody is refused by a guess: of a server that tells no limits all calls are let through."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, Message, RequestIntent
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.errors import NoEligibleKeysError
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.integration
INTENT = RequestIntent(model="own", messages=[Message(role="user", content="Hello!")])
FINE = json.dumps({"choices": [{"message": {"content": "hi"}}]}).encode()


async def router_before(
    url: str, *, patience_s: float, keys: int = 1, clock: Callable[[], float] | None = None
) -> ApiKeyRouter:
    settings = {"log_level": "CRITICAL", "max_queue_wait_seconds": patience_s}
    router = ApiKeyRouter(config=settings, clock=clock)
    await router.register_provider("own", OpenAIAdapter(url))
    for number in range(keys):
        await router.register_key(f"sk-{number}", "own")
    return router


@pytest.mark.parametrize("patience_s", [0.0, 0.2, 30.0], ids=["none", "short", "usual"])
@pytest.mark.parametrize("keys", [1, 40], ids=["one key", "forty"])
async def test_long_calls_to_a_server_that_tells_nothing_are_all_served(
    provide: Callable[..., Awaitable[Any]], keys: int, patience_s: float
) -> None:
    async def slow(call: Any) -> None:
        await asyncio.sleep(0.5)
        await call.answer(FINE)

    server = await provide(slow, backlog=300)
    async with await router_before(server.url, patience_s=patience_s, keys=keys) as router:
        answers = await asyncio.gather(
            *(router.route(INTENT) for _ in range(200)), return_exceptions=True
        )
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


async def test_once_the_provider_refuses_no_more_are_let_in_than_it_let_in() -> None:
    now = 1000.0
    router = await router_before("http://127.0.0.1:1/v1", patience_s=0.0, clock=lambda: now)

    async def begin() -> Any:
        demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1)
        return await anext(aiter(router.attempts(demand)))

    begun = [await begin() for _ in range(20)]
    begun.pop().fail(Failure(FailureClass.RATE_LIMITED, "too many", 429))
    now += 60.0
    with pytest.raises(NoEligibleKeysError, match="calls at once"):
        await begin()
    begun.pop().cancel(sent=False)
    begun.append(await begin())
    with pytest.raises(NoEligibleKeysError, match="calls at once"):
        await begin()
    for attempt in begun:
        attempt.cancel()
    assert router.get_state_summary()["open_reservations"] == 0


async def test_declared_limits_hold_whoever_cannot_wait() -> None:
    router = await router_before("http://127.0.0.1:1/v1", patience_s=0.0, keys=0)
    await router.register_key("sk-declared", "own", {"limits": {"rpm": 6}})
    demand = Demand(model="m", request_id="r", input_tokens=1, output_cap=1)

    async def served(times: int) -> bool:
        for _ in range(times):
            attempt = await anext(aiter(router.attempts(demand)))
            attempt.settle(1, 1)
        return True

    assert await served(5)
    with pytest.raises(NoEligibleKeysError):
        await served(2)
