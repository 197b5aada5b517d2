"""What clients are told of a provider that refuses or fails."""

from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

BODY = b'{"model":"m","messages":[]}'


class Refusing:
    """Answers every request alike."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        self._status, self._body = status, body
        self._headers = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        start = {"type": "http.response.start", "status": self._status, "headers": self._headers}
        await send(start)
        await send({"type": "http.response.body", "body": self._body})


@pytest.fixture
def ask(serve: Any, config_for: Any) -> Any:
    """Send a request through the service to this base URL; nobody waits for capacity."""

    async def send(base_url: str) -> httpx2.Response:
        proxy = serve(config_for(base_url, server={"max_queue_wait": 0}))
        async with httpx2.AsyncClient(base_url=proxy.url, timeout=20) as client:
            return await client.post("/v1/chat/completions", content=BODY)

    return send


@pytest.mark.parametrize("status", [400, 405, 415, 422])
async def test_refusal_without_a_body_keeps_its_status(serve: Any, ask: Any, status: int) -> None:
    answer = await ask(serve(Refusing(status)).url + "/v1")
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] == "provider 'p1' refused the request without a reason"
    assert answer.headers["x-provider-used"] == "p1"


async def test_refusal_with_a_body_passes_as_it_is(serve: Any, ask: Any) -> None:
    answer = await ask(serve(Refusing(422, b"no\x00thing ", content_type="text/odd")).url + "/v1")
    assert (answer.status_code, answer.content) == (422, b"no\x00thing ")
    assert answer.headers["content-type"] == "text/odd"


async def test_wait_of_an_overloaded_provider_is_told(serve: Any, ask: Any) -> None:
    answer = await ask(serve(Refusing(529, b"{}", retry_after="9")).url + "/v1")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "9"
    assert "x-should-retry" not in answer.headers


async def test_no_address_of_a_provider_is_told(ask: Any) -> None:
    answer = await ask("http://127.0.0.1:1/v1")
    assert answer.status_code == 503
    assert answer.json()["error"]["message"] == "provider 'p1' cannot be reached"
