"""Paths and methods that are nearly right work, or are told what would be right."""

from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

BODY = b'{"model":"small","messages":[{"role":"user","content":"x"}]}'


@pytest.mark.parametrize(
    "path",
    ["/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/",
     "//v1/chat/completions", "/v1//chat/completions"],
)  # fmt: skip
async def test_path_that_is_nearly_right_works(path: str, proxy: Any) -> None:
    async with httpx2.AsyncClient() as client:
        assert (await client.post(proxy.url + path, content=BODY)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/models", "/v1/v1/models", "/v1/models/", "/health/", "/models/small", "//models"]
)
async def test_path_to_read_that_is_nearly_right_works(path: str, proxy: Any) -> None:
    async with httpx2.AsyncClient() as client:
        await client.post(proxy.url + "/v1/chat/completions", content=BODY)
        assert (await client.get(proxy.url + path)).status_code == 200


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/chat/completions/chat/completions", "did you mean /v1/chat/completions?"),
        ("/openai/v1/chat/completions", "did you mean /v1/chat/completions?"),
        ("/v1/chat/completion", "did you mean /v1/chat/completions?"),
        ("/v1/embedding", "did you mean /v1/embeddings?"),
        ("/x", "known are /v1/chat/completions, "),
        ("/v1", "known are /v1/chat/completions, "),
        ("/" + "x" * 5000, "known are /v1/chat/completions, "),
    ],
)
async def test_wrong_path_is_told_the_right_one(path: str, named: str, proxy: Any) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        answer = await client.post(path, content=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
    assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/v1/chat/completions", 405, "POST, OPTIONS"),
        ("DELETE", "/chat/completions/", 405, "POST, OPTIONS"),
        ("POST", "/v1/models", 405, "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/models/small", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/v1/embeddings", 204, "POST, OPTIONS"),
    ],
)
async def test_wrong_method_is_told_the_right_ones(
    method: str, path: str, status: int, allowed: str, proxy: Any
) -> None:
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (status, allowed)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/realtime", "/"])
async def test_websocket_is_told_that_there_are_none(path: str, proxy: Any, capfd: Any) -> None:
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        answer = await client.get(path, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (426, "upgrade_required")
    assert answer.headers["x-request-id"]
    assert "upgrade" in answer.headers["connection"].lower()


async def test_401_says_how_to_authenticate(serve: Any, config_for: Any) -> None:
    proxy = serve(config_for("http://127.0.0.1:1/v1", clients=[{"name": "a", "token": "t"}]))
    async with httpx2.AsyncClient(base_url=proxy.url) as client:
        for answer in (
            await client.post("/v1/chat/completions", content=BODY),
            await client.get("/v1/models"),
        ):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="apikeyrouter"'
