"""A service that is told to stop waits for what runs, and then tells whom it cuts short."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

COMMAND = str(Path(sys.executable).with_name("apikeyrouter"))
CHAT = "/v1/chat/completions"
BEGINNING = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


class SlowUpstream:
    """Begins streams, and answers only when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._may_answer = asyncio.Event()

    def let_answer(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._may_answer.set)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._loop = asyncio.get_running_loop()
        body = (await receive())["body"]
        headers = [(b"content-type", b"text/event-stream")]
        if b"stream" in body:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": BEGINNING, "more_body": True})
        self.asked += scope["path"] == CHAT
        leaving = asyncio.ensure_future(receive())
        answering = asyncio.ensure_future(self._may_answer.wait())
        await asyncio.wait({leaving, answering}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        answering.cancel()
        if b"stream" not in body:
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"late":true}'})


@pytest.fixture
def upstream() -> SlowUpstream:
    return SlowUpstream()


@pytest.fixture
def start(
    upstream: SlowUpstream, serve: Callable[..., Any], tmp_path: Path
) -> Iterator[Callable[..., tuple["subprocess.Popen[str]", str]]]:
    """Run the service as a process with this patience, in seconds."""
    running: list[subprocess.Popen[str]] = []
    file = tmp_path / "router.yaml"
    file.write_text(
        "version: 1\nstore: memory://\nproviders:\n"
        f"  lab: {{kind: openai, base_url: {serve(upstream).url}/v1, "
        "models: [m]}\nkeys:\n  - {provider: lab, secret: sk-1}\n"
    )

    def begin(patience_s: float) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [COMMAND, "serve", "--config", file, "--port", "0"],
            cwd=tmp_path, env={**os.environ, "SHUTDOWN_TIMEOUT_SECONDS": str(patience_s)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split("listening on ")[1].split()[0]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


async def end_of(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, said = await asyncio.to_thread(process.communicate, timeout=15)
    return process.returncode, said


async def test_plain_request_that_takes_too_long_is_told(
    upstream: SlowUpstream, start: Any, until: Any
) -> None:
    process, url = start(0.5)
    async with httpx2.AsyncClient(base_url=url, timeout=15) as client:
        asking = asyncio.ensure_future(client.post(CHAT, content=b'{"model":"m"}'))
        await until(lambda: upstream.asked == 1)
        process.send_signal(signal.SIGTERM)
        answer = await asking
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "shutting_down"
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-request-id"]
    assert await end_of(process) == (0, "")


async def test_stream_that_takes_too_long_is_told_in_the_stream(
    upstream: SlowUpstream, start: Any, until: Any
) -> None:
    process, url = start(0.5)
    async with (
        httpx2.AsyncClient(base_url=url, timeout=15) as client,
        client.stream("POST", CHAT, content=b'{"model":"m","stream":true}') as answer,
    ):
        chunks = answer.aiter_raw()
        assert await anext(chunks) == BEGINNING
        process.send_signal(signal.SIGTERM)
        rest = b"".join([chunk async for chunk in chunks])
    assert rest.startswith(b'\n\ndata: {"error":{')
    assert b'"code":"shutting_down"' in rest
    assert await end_of(process) == (0, "")


async def test_upload_that_takes_too_long_is_told(start: Any) -> None:
    process, url = start(0.5)
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n{{".encode())
    # The service has read this far when it answers who asks after that.
    async with httpx2.AsyncClient(base_url=url) as client:
        await client.get("/health")
    process.send_signal(signal.SIGTERM)
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    writer.close()
    await writer.wait_closed()
    assert await end_of(process) == (0, "")


async def test_request_that_ends_in_time_is_answered(
    upstream: SlowUpstream, start: Any, until: Any
) -> None:
    process, url = start(30)
    async with httpx2.AsyncClient(base_url=url, timeout=15) as client:
        asking = asyncio.ensure_future(client.post(CHAT, content=b'{"model":"m"}'))
        await until(lambda: upstream.asked == 1)
        process.send_signal(signal.SIGTERM)
        upstream.let_answer()
        assert (await asking).content == b'{"late":true}'
    assert await end_of(process) == (0, "")
