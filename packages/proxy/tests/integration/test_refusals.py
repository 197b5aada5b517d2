"""Refusals reach those who are still sending."""

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.integration

#: What a socket's buffers swallow is less than what is sent beyond the limit.
LIMIT, BODY = 6_000_000, b"x" * 11_000_000


def ask(url: str, head: str, body: bytes) -> tuple[int, dict[str, Any]]:
    """Send everything, as plain clients do, and only then read the answer to its end."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}\r\n".encode()
        )
        connection.sendall(body)
        with connection.makefile("rb") as answer:
            head_lines, _, content = answer.read().partition(b"\r\n\r\n")
    return int(head_lines.split()[1]), json.loads(content)["error"]


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


@pytest.fixture
def service(serve: Callable[..., Any], config_for: Callable[..., Any]) -> Callable[..., Any]:
    def start(**more: Any) -> Any:
        server = {"max_body_bytes": LIMIT}
        return serve(config_for("http://127.0.0.1:1/v1", server=server, **more))

    return start


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (f"content-length: {len(BODY)}\r\n", BODY),
        ("transfer-encoding: chunked\r\n", chunked(BODY)),
    ],
    ids=["declared", "chunked"],
)
def test_client_that_closes_afterwards_reads_its_413(
    head: str, body: bytes, service: Callable[..., Any]
) -> None:
    status, error = ask(service().url, f"connection: close\r\n{head}", body)
    assert (status, error["code"]) == (413, "request_too_large")


def test_client_without_a_token_reads_its_401_after_a_large_body(
    service: Callable[..., Any],
) -> None:
    proxy = service(clients=[{"name": "a", "token": "t"}])
    head = f"connection: close\r\ncontent-length: {len(BODY)}\r\n"
    status, error = ask(proxy.url, head, BODY)
    assert (status, error["code"]) == (401, "invalid_api_key")
