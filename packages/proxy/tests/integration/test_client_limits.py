"""Limits of a client's own."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"
BODY = {"model": "small", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello!"}]}


@pytest.fixture
def limited(
    simulator: RunningSimulator, serve: Callable[..., Any], config_for: Callable[..., Any]
) -> Callable[..., tuple[Any, httpx2.AsyncClient]]:
    """Return the service and a client of it with these limits."""

    def start(**limits: int) -> tuple[Any, httpx2.AsyncClient]:
        clients = [{"name": "a", "token": "t", "limits": limits}]
        proxy = serve(config_for(simulator.base_url(), clients=clients))
        client = httpx2.AsyncClient(base_url=proxy.url, headers={"authorization": "Bearer t"})
        return proxy, client

    return start


async def test_too_many_at_once_may_come_back_soon(
    simulator: RunningSimulator, limited: Callable[..., tuple[Any, httpx2.AsyncClient]], until: Any
) -> None:
    simulator.condition(kind="slow_first_token", seconds=60)
    proxy, client = limited(concurrency=1)
    async with client:
        running = asyncio.ensure_future(client.post(CHAT, json=BODY))
        await until(lambda: proxy.app.router.get_state_summary()["open_reservations"] > 0)
        refused = await client.post(CHAT, json=BODY)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert refused.status_code == 429
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("1", "250")
    assert "x-should-retry" not in refused.headers


async def test_request_that_never_fits_should_not_come_back(
    limited: Callable[..., tuple[Any, httpx2.AsyncClient]],
) -> None:
    _, client = limited(tpm=4)
    async with client:
        refused = await client.post(CHAT, json=BODY)
    assert refused.status_code == 429
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers
