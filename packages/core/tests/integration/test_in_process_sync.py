"""Official blocking clients over a router in the same process, and threads around it."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from in_process import HELLO, SCENARIO, TOOLS, router_over

from apikeyrouter import ApiKeyRouter, ConfigurationError
from apikeyrouter.domain.feed.events import AttemptStarted
from apikeyrouter.integrations import (
    RouterLoop,
    RouterTransport,
    SyncRouterTransport,
    http_client,
    sync_http_client,
)
from apikeyrouter_simulator import RunningSimulator

pytestmark = pytest.mark.integration
CHAT: Any = {"model": "small", "messages": HELLO}


@pytest.fixture(scope="module")
def _world() -> Iterator[RunningSimulator]:
    with RunningSimulator(SCENARIO) as running:
        yield running


@pytest.fixture
def world(_world: RunningSimulator) -> RunningSimulator:
    _world.reset()
    return _world


@pytest.fixture
def loop() -> Iterator[RouterLoop]:
    with RouterLoop() as loop:
        yield loop


@pytest.fixture
def router(world: RunningSimulator, loop: RouterLoop) -> Iterator[ApiKeyRouter]:
    router = loop.run(router_over(world))
    yield router
    assert holds_of(router, loop) == 0
    loop.run(router.close())


def holds_of(router: ApiKeyRouter, loop: RouterLoop) -> Any:
    async def look() -> Any:
        return router.get_state_summary()["open_reservations"]

    return loop.run(look())


def client_over(router: ApiKeyRouter, loop: RouterLoop | None, **more: Any) -> openai.OpenAI:
    client = sync_http_client(router, loop=loop)
    return openai.OpenAI(http_client=client, api_key="dummy", max_retries=0, **more)


def threads_of_routers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "apikeyrouter-loop"]


def test_whole_streamed_and_tools(router: ApiKeyRouter, loop: RouterLoop) -> None:
    with client_over(router, loop) as client:
        whole = client.chat.completions.create(**CHAT)
        parts = list(client.chat.completions.create(**CHAT, stream=True))
        text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert text.strip() == whole.choices[0].message.content
        called = client.chat.completions.create(**CHAT, tools=TOOLS)
        assert called.choices[0].message.tool_calls


def test_anthropics_client(router: ApiKeyRouter, loop: RouterLoop) -> None:
    http = sync_http_client(router, loop=loop)
    ask: Any = {"model": "claude-x", "max_tokens": 50, "messages": HELLO}
    with anthropic.Anthropic(http_client=http, api_key="dummy") as client:
        whole = client.messages.create(**ask)
        with client.messages.stream(**ask) as stream:
            assert stream.get_final_text() == whole.content[0].text  # type: ignore[union-attr]


def test_many_threads_and_clients_share_a_router(
    router: ApiKeyRouter, loop: RouterLoop, world: RunningSimulator
) -> None:
    clients = [client_over(router, loop) for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(clients[n % 3].chat.completions.create, **CHAT) for n in range(36)]
        assert all(answer.result().usage for answer in asked)
    for client in clients:
        client.close()
    assert [call["status"] for call in world.log()] == [200] * 36


def test_key_that_dies_midway_is_not_noticed(
    router: ApiKeyRouter, loop: RouterLoop, world: RunningSimulator
) -> None:
    with client_over(router, loop) as client:
        for number in range(12):
            if number == 5:
                world.condition(kind="revoked_key", key="k1")
            assert list(client.chat.completions.create(**CHAT, stream=True))


def test_stream_closed_early_settles_the_hold(
    router: ApiKeyRouter, loop: RouterLoop, world: RunningSimulator
) -> None:
    world.condition(kind="tokens_per_s", rate=20)
    with client_over(router, loop) as client:
        stream = client.chat.completions.create(**CHAT, stream=True)
        next(stream)
        assert holds_of(router, loop) == 1
        stream.close()
        assert holds_of(router, loop) == 0


@pytest.mark.parametrize("condition", ["slow_first_token", "stall"])
def test_clients_own_timeout(
    router: ApiKeyRouter, loop: RouterLoop, world: RunningSimulator, condition: str
) -> None:
    more: Any = {"seconds": 30} if condition == "slow_first_token" else {"chunks": 2}
    world.condition(kind=condition, **more)
    with client_over(router, loop, timeout=0.3) as client, pytest.raises(openai.APITimeoutError):
        list(client.chat.completions.create(**CHAT, stream=True))


def test_waits_for_room_instead_of_failing(router: ApiKeyRouter, loop: RouterLoop) -> None:
    with client_over(router, loop) as client:
        for _ in range(3):
            assert client.chat.completions.create(model="tight", messages=HELLO)


def test_broken_stream_ends_with_an_error(
    router: ApiKeyRouter, loop: RouterLoop, world: RunningSimulator
) -> None:
    world.condition(kind="cut", chunks=3)
    with client_over(router, loop) as client, pytest.raises(openai.APIError, match="broke off"):
        list(client.chat.completions.create(**CHAT, stream=True))


def test_clients_without_a_loop_share_a_thread_that_ends_with_the_last(
    world: RunningSimulator,
) -> None:
    router = asyncio.run(router_over(world))
    for _ in range(2):
        first, second = client_over(router, None), client_over(router, None)
        assert first.chat.completions.create(**CHAT)
        assert second.chat.completions.create(**CHAT)
        assert len(threads_of_routers()) == 1
        first.close()
        assert second.chat.completions.create(**CHAT)
        second.close()
        second.close()
        assert threads_of_routers() == []
    asyncio.run(router.close())


async def test_blocking_client_in_other_threads_of_an_asynchronous_program(
    world: RunningSimulator,
) -> None:
    async with await router_over(world) as router:
        client = sync_http_client(router, loop=asyncio.get_running_loop())
        with openai.OpenAI(http_client=client, api_key="dummy", max_retries=0) as blocking:
            answer = await asyncio.to_thread(blocking.chat.completions.create, **CHAT)
            assert answer.usage
            # In the loop itself it would wait for itself for ever.
            with pytest.raises(RuntimeError, match="use the asynchronous one"):
                blocking.chat.completions.create(**CHAT)


def test_loop_that_ended_says_so(world: RunningSimulator) -> None:
    with RouterLoop() as loop:
        router = loop.run(router_over(world))
    client = sync_http_client(router, loop=loop)
    with pytest.raises(RuntimeError, match="does not run"):
        client.post("http://x/v1/chat/completions", json=CHAT)
    client.close()
    asyncio.run(router.close())


def test_loop_that_ends_lets_go_of_whoever_waits(
    world: RunningSimulator,
) -> None:
    world.condition(kind="slow_first_token", seconds=30)
    loop = RouterLoop()
    router = loop.run(router_over(world))
    with client_over(router, loop) as client, ThreadPoolExecutor(1) as pool:
        started = threading.Event()
        router.listeners.append(
            lambda event: started.set() if type(event) is AttemptStarted else None
        )
        asked = pool.submit(client.chat.completions.create, **CHAT)
        assert started.wait(5)
        loop.close()
        assert "has ended" in str(asked.exception(5))
    assert router.get_state_summary()["open_reservations"] == 0
    asyncio.run(router.close())


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_both_libraries_blocking(router: ApiKeyRouter, loop: RouterLoop, library: Any) -> None:
    with library.Client(transport=SyncRouterTransport(router, loop=loop)) as client:
        whole = client.post("http://x/v1/chat/completions", json=CHAT)
        assert isinstance(whole, library.Response)
        assert whole.json()["usage"]["completion_tokens"] == 8
        with client.stream(
            "POST", "http://x/v1/chat/completions", json={**CHAT, "stream": True}
        ) as s:
            assert list(s.iter_lines())[-2] == "data: [DONE]"


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_both_libraries_asynchronous(world: RunningSimulator, library: Any) -> None:
    async with await router_over(world) as router:
        async with library.AsyncClient(transport=RouterTransport(router)) as client:
            whole = await client.post("http://x/v1/chat/completions", json=CHAT)
            assert whole.json()["usage"]["completion_tokens"] == 8
            missing = await client.get("http://x/v1/files/file-1")
            assert missing.status_code == 400
        named = http_client(router, library=library.__name__)
        assert isinstance(named, library.AsyncClient)
        await named.aclose()


@pytest.mark.parametrize(
    ("library", "told"),
    [
        ("httpx", r"pip install 'apikeyrouter-core\[httpx\]'$"),
        ("httpx2", r"pip install 'apikeyrouter-core\[httpx2\]'$"),
        (None, r"core\[httpx2\]' or pip install 'apikeyrouter-core\[httpx\]'$"),
    ],
)
async def test_missing_library_is_named_by_its_extra(
    monkeypatch: pytest.MonkeyPatch, library: str | None, told: str
) -> None:
    for name in ("httpx", "httpx2"):
        monkeypatch.setitem(sys.modules, name, None)
    async with ApiKeyRouter(config={"log_level": "CRITICAL"}) as router:
        with pytest.raises(ConfigurationError, match=told):
            http_client(router, library=library)


def test_unknown_library_is_refused_by_name(world: RunningSimulator) -> None:
    router = asyncio.run(router_over(world))
    with pytest.raises(ConfigurationError, match="'requests' is none of httpx2, httpx"):
        http_client(router, library="requests")
    asyncio.run(router.close())
