"""Services on one ledger: together they let in what one would, and say when it is lost."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from store_servers import free_port, valkey

from apikeyrouter import ConfigurationError
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import create_app
from apikeyrouter_proxy.configuration.changes import refuse_fixed
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration

BODY = {"model": "small", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello!"}]}


async def answers(url: str, count: int) -> list[int]:
    headers = {"authorization": "Bearer t"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=20) as http:
        calls = [http.post("/v1/chat/completions", json=BODY) for _ in range(count)]
        return sorted(answer.status_code for answer in await asyncio.gather(*calls))


async def test_services_share_the_limits_of_a_client(
    tmp_path: Path,
    simulator: RunningSimulator,
    serve: Callable[..., Any],
    config_for: Callable[..., dict[str, Any]],
) -> None:
    with valkey(tmp_path) as url:
        config = config_for(
            simulator.base_url(),
            ledger=url,
            server={"max_queue_wait": "0s"},
            clients=[{"name": "few {of} us", "token": "t", "limits": {"rpd": 6}}],
        )
        one, other = serve(config), serve(config)
        statuses = await answers(one.url, 4) + await answers(other.url, 4)
        assert statuses.count(200) == 6
        assert httpx2.get(f"{one.url}/ready").json()["status"] == "ready"
        one.stop()
        other.stop()


async def test_service_goes_on_without_its_ledger_and_says_so(
    tmp_path: Path,
    simulator: RunningSimulator,
    serve: Callable[..., Any],
    config_for: Callable[..., dict[str, Any]],
    until: Callable[..., Any],
) -> None:
    port = free_port()
    address = f"redis://:hush-hush@127.0.0.1:{port}/0"
    with valkey(tmp_path, port) as url:
        proxy = serve(config_for(simulator.base_url(), ledger=url))
        assert await answers(proxy.url, 1) == [200]

    def ready() -> dict[str, Any]:
        return dict(httpx2.get(f"{proxy.url}/ready").json())

    await until(lambda: ready()["status"] == "degraded")
    assert f"redis://127.0.0.1:{port}" in ready()["ledger"]
    assert address not in str(ready())
    assert await answers(proxy.url, 4) == [200] * 4
    with valkey(tmp_path, port):
        await until(lambda: ready() == {"status": "ready", "keys": 1, "usable": 1})
        proxy.stop()


async def test_unreachable_ledger_is_told_at_the_start(
    config_for: Callable[..., dict[str, Any]],
) -> None:
    port = free_port()
    config = config_for("http://127.0.0.1:9/v1", ledger=f"redis://a:hush-hush@127.0.0.1:{port}")
    app = create_app(RouterConfig.model_validate(config))
    with pytest.raises(ConfigurationError, match=rf"ledger: redis://127\.0\.0\.1:{port}") as caught:
        await app.start()
    assert "hush" not in str(caught.value)
    await app.stop()


def test_another_ledger_takes_a_restart(config_for: Callable[..., dict[str, Any]]) -> None:
    before, after = (
        RouterConfig.model_validate(config_for("http://127.0.0.1:9/v1", ledger=ledger))
        for ledger in ("local", "redis://127.0.0.1:6379/0")
    )
    with pytest.raises(ConfigurationError, match="ledger: takes effect at a restart only"):
        refuse_fixed(before, after)
