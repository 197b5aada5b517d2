"""What every answer of the service has, whatever it is about."""

from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/health", b"", 200),
        ("GET", "/ready", b"", 200),
        ("GET", "/v1/models", b"", 200),
        ("GET", "/v1/models/small", b"", 200),
        ("GET", "/v1/models/none", b"", 404),
        ("GET", "/nowhere", b"", 404),
        ("POST", "/nowhere", b"x", 404),
        ("GET", CHAT, b"", 405),
        ("POST", "/v1/models", b"x", 405),
        ("POST", CHAT, b'{"model":"small","messages":[{"role":"user","content":"x"}]}', 200),
        ("POST", CHAT, b"{", 400),
        ("POST", CHAT, b'{"model":"none","messages":[{"role":"user","content":"x"}]}', 404),
        ("POST", CHAT, b"x" * 2001, 413),
        ("HEAD", "/health", b"", 200),
        ("HEAD", "/v1/models/none", b"", 404),
        ("HEAD", CHAT, b"", 405),
    ],
)
async def test_request_is_named(
    serve: Any, config_for: Any, simulator: Any, method: str, path: str, content: bytes, status: int
) -> None:
    """By the client's own id where it can be used, else by a new one; HEAD has no body."""
    proxy = serve(config_for(simulator.base_url(), server={"max_body_bytes": 2000}))
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        await client.get("/v1/models")
        named = {"x-request-id": "mine-1"}
        answer = await client.request(method, path, content=content, headers=named)
        assert (answer.status_code, answer.headers["x-request-id"]) == (status, "mine-1")
        assert bool(answer.content) is (method != "HEAD")
        assert int(answer.headers["content-length"]) > 0
        for unusable in ("two words", "x" * 129):
            headers = {"x-request-id": unusable}
            answer = await client.request(method, path, content=content, headers=headers)
            assert answer.headers["x-request-id"].startswith("req-")


async def test_unknown_client_is_named_too(serve: Any, config_for: Any, simulator: Any) -> None:
    clients = [{"name": "a", "token": "t"}]
    proxy = serve(config_for(simulator.base_url(), clients=clients))
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        for method, path in (("GET", "/v1/models"), ("GET", "/v1/models/x"), ("POST", CHAT)):
            answer = await client.request(method, path, headers={"x-request-id": "mine-1"})
            assert (answer.status_code, answer.headers["x-request-id"]) == (401, "mine-1")
