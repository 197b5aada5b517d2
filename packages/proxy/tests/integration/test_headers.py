"""Which headers pass and which stay, in both directions, on the wire."""

import asyncio
import socket
import time
from typing import Any

import pytest

from apikeyrouter import RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.app import create_app

pytestmark = pytest.mark.integration

BODY = b'{"model":"m"}'
ANSWERED = [
    (b"content-type", b"application/json"),
    (b"x-name", "聊天 é".encode()),
    (b"x-two", b"1"),
    (b"x-two", b"2"),
    (b"x-ratelimit-remaining-requests", b"41"),
    (b"anthropic-ratelimit-tokens-remaining", b"42"),
    (b"retry-after", b"43"),
    (b"set-cookie", b"session=44"),
    (b"openai-organization", b"org-45"),
    (b"access-control-allow-origin", b"*"),
    (b"x-frame-options", b"SAMEORIGIN"),
]


class Provider:
    """Answers with fixed headers and remembers those that it was sent; may never answer."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_silent = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"].endswith("/models"):
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})
            return
        self.headers = list(scope["headers"])
        if self.is_silent:
            await receive()
            return
        await send({"type": "http.response.start", "status": 200, "headers": ANSWERED})
        await send({"type": "http.response.body", "body": b'{"choices":[]}'})


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def url(provider: Provider, serve: Any, config_for: Any) -> str:
    config = config_for(serve(provider).url + "/v1", server={"max_queue_wait": "0.3s"})
    config["keys"][0]["limits"] = {"concurrency": 1}
    return str(serve(config).url)


def ask(url: str, *lines: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Send these header lines as they are; return the answer's status and headers as they came."""
    host, port = url.removeprefix("http://").split(":")
    head = [b"POST /v1/chat/completions HTTP/1.1", b"host: localhost", b"connection: close",
            b"content-length: %d" % len(BODY), *lines, b"", b""]  # fmt: skip
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"\r\n".join(head) + BODY)
        with connection.makefile("rb") as answer:
            status, *told = answer.read().partition(b"\r\n\r\n")[0].split(b"\r\n")
    pairs = [line.partition(b": ") for line in told]
    return int(status.split()[1]), [(name, value) for name, _, value in pairs]


def values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value for known, value in headers if known == name]


def test_values_beyond_ascii_reach_the_provider_as_the_same_bytes(
    url: str, provider: Provider
) -> None:
    name = "聊天 é".encode()
    ask(url, b"X-Title: " + name)
    assert values(provider.headers, b"x-title") == [name]


def test_latin_1_is_sent_as_utf_8_and_spoils_no_other(url: str, provider: Provider) -> None:
    name = "聊天 é".encode()
    ask(url, b"X-Title: \xe9", b"X-Other: " + name)
    assert values(provider.headers, b"x-title") == ["é".encode()]
    assert values(provider.headers, b"x-other") == [name]


def test_repeated_headers_reach_the_provider(url: str, provider: Provider) -> None:
    ask(url, b"X-Two: 1", b"X-One: \xc3\xa9", b"X-Two: 2")
    assert b", ".join(values(provider.headers, b"x-two")) == b"1, 2"
    assert values(provider.headers, b"x-one") == ["é".encode()]


def test_what_is_between_client_and_proxy_stays_there(url: str, provider: Provider) -> None:
    own = [b"cookie", b"authorization", b"x-api-key", b"x-forwarded-for", b"proxy-authorization",
           b"openai-organization", b"x-request-id", b"x-request-timeout", b"origin", b"referer",
           b"te", b"x-mine", b"x-yours"]  # fmt: skip
    values_of = {b"origin": b"http://localhost:3000", b"x-request-timeout": b"30"}
    lines = [name + b": " + values_of.get(name, b"1") for name in own]
    ask(url, *lines, b"connection: X-Mine, close", b"x-passes: 1")
    sent = {name: value for name, value in provider.headers if name in own}
    assert sent == {b"authorization": b"Bearer sk-sim-1", b"x-yours": b"1"}
    assert values(provider.headers, b"x-passes") == [b"1"]


def test_answer_passes_with_every_line_and_byte(url: str) -> None:
    status, headers = ask(url)
    assert status == 200
    assert values(headers, b"x-name") == ["聊天 é".encode()]
    assert values(headers, b"x-two") == [b"1", b"2"]


def test_what_belongs_to_our_key_or_our_operator_stays_here(url: str) -> None:
    _, headers = ask(url)
    told = {value for _, value in headers}
    assert not told & {b"41", b"42", b"43", b"session=44", b"org-45", b"*"}
    assert values(headers, b"x-frame-options") == [b"DENY"]


async def test_client_names_its_own_deadline(url: str, provider: Provider) -> None:
    provider.is_silent = True
    began = time.monotonic()
    status, _ = await asyncio.to_thread(ask, url, b"X-Request-Timeout: 0.4")
    assert (status, time.monotonic() - began < 5) == (504, True)


async def test_wait_for_capacity_is_the_shorter_of_clients_and_operators(
    url: str, provider: Provider, until: Any
) -> None:
    provider.is_silent = True
    first = asyncio.create_task(asyncio.to_thread(ask, url, b"X-Request-Timeout: 3"))
    await until(lambda: bool(provider.headers))
    for timeout, longest_s in ((b"60", 2.0), (b"0.05", 0.25)):
        began = time.monotonic()
        status, _ = await asyncio.to_thread(ask, url, b"X-Request-Timeout: " + timeout)
        assert (status, time.monotonic() - began < longest_s) == (429, True)
    assert (await first)[0] == 504


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_what_nobody_expected_is_told_and_logged_by_the_requests_id(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[dict[str, Any]] = []

    async def receive() -> Any:
        raise RuntimeError("the server is broken")

    async def send(message: Any) -> None:
        told.append(message)

    path = "/v1/chat/completions" if method == "POST" else "/nowhere"
    headers = [(b"x-request-id", b"mine-1")]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    app = create_app(RouterConfig(), settings=RouterSettings(log_level="CRITICAL"))
    await app(scope, receive, send)
    assert "request mine-1 failed unexpectedly" in caplog.text
    assert "the server is broken" in caplog.text
    if method == "POST":
        assert told[0]["status"] == 500
        assert (b"x-request-id", b"mine-1") in told[0]["headers"]
        assert b'"code":"internal_error"' in told[1]["body"]
        assert b"broken" not in told[1]["body"]
