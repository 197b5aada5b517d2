"""Instants that a provider names are read by the wall clock, though it was set a moment ago."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from apikeyrouter import ApiKeyRouter, Message, NoEligibleKeysError, RequestIntent
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter
from apikeyrouter.infrastructure.clock import SteadyClock

pytestmark = pytest.mark.integration

INTENT = RequestIntent(model="m", messages=[Message(role="user", content="x")])
FINE = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
LIMITED = b'{"error":{"message":"slow down","type":"rate_limit_error"}}'
NOON = 1_795_608_000.0


class Provider:
    """Refuses the first call with the headers given, and answers the others."""

    def __init__(self, headers: Callable[[], str]) -> None:
        self.headers, self.calls = headers, 0

    async def __aenter__(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/v1"

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        self.calls += 1
        status, body, told = "200 OK", FINE, ""
        if self.calls == 1:
            status, body, told = "429 Too Many Requests", LIMITED, self.headers()
        writer.write(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n{told}"
            f"content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        writer.close()


@pytest.mark.parametrize("step_s", [-3600.0, 0.0, 3600.0], ids=["back", "none", "forward"])
@pytest.mark.parametrize(
    "header",
    [
        lambda at: f"retry-after: {format_datetime(datetime.fromtimestamp(at, UTC), True)}\r\n",
        lambda at: f"retry-after: {datetime.fromtimestamp(at, UTC).isoformat()}\r\n",
        lambda at: f"retry-after: {at:.0f}\r\n",
    ],
    ids=["HTTP-date", "RFC 3339", "epoch"],
)
async def test_told_instant_is_waited_for_by_the_wall_clock(
    header: Callable[[float], str], step_s: float
) -> None:
    up_s, boot_at = 0.0, NOON
    clock = SteadyClock(steady=lambda: up_s, wall=lambda: boot_at + up_s)
    quiet = {"log_level": "CRITICAL", "max_queue_wait_seconds": 0.0}
    provider = Provider(lambda: header(boot_at + up_s + 20.0))
    async with provider as url, ApiKeyRouter(config=quiet, clock=clock) as router:
        await router.register_provider("p", OpenAIAdapter(url))
        await router.register_key("sk-test-1", "p")
        boot_at += step_s
        with pytest.raises(NoEligibleKeysError) as caught:
            await router.route(INTENT)
        assert caught.value.retry_after == pytest.approx(20.0)
        up_s += 20.1
        assert (await router.route(INTENT)).content == "hi"
