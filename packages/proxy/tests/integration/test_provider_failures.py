"""What clients are told of a provider that refuses or fails."""

import json
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
        await self.answer(send)

    async def answer(self, send: Any) -> None:
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


class Listing:
    """Lists two models to the second key and one to the first; serves a third one as well."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = b""
        while (message := await receive()).get("more_body"):
            asked += message["body"]
        asked += message.get("body", b"")
        is_second = (b"authorization", b"Bearer sk-sim-2") in scope["headers"]
        names = ["m0", "m1"] if is_second else ["m0"]
        if scope["method"] == "GET":
            answer = Refusing(200, json.dumps({"data": [{"id": name} for name in names]}).encode())
        elif json.loads(asked)["model"] in [*names, "m0:online"]:
            answer = Refusing(200, b'{"choices":[]}')
        else:
            answer = Refusing(404, b'{"error":{"code":"model_not_found","message":"no such"}}')
        await answer.answer(send)


async def test_models_are_listed_that_any_key_may_use(serve: Any, config_for: Any) -> None:
    config = config_for(serve(Listing()).url + "/v1")
    config["keys"].append({"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    async with httpx2.AsyncClient(base_url=serve(config).url) as client:
        listed = (await client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in listed] == ["m0", "m1"]


async def test_model_that_is_not_listed_is_for_its_provider_to_judge(
    serve: Any, config_for: Any
) -> None:
    async with httpx2.AsyncClient(
        base_url=serve(config_for(serve(Listing()).url + "/v1")).url
    ) as client:
        await client.get("/v1/models")
        statuses = [
            (await client.post("/v1/chat/completions", json={"model": model})).status_code
            for model in ("m0", "m0:online", "p1/m0", "none")
        ]
    assert statuses == [200, 200, 200, 404]


@pytest.mark.parametrize(
    ("status", "body", "content_type", "message"),
    [
        (403, b"", "text/plain", "provider 'p1' refused the request without a reason"),
        (403, b'{"error":{"message":"No."}}', "application/json", "No."),
        (404, b"<html><head><title>404 Not Found</title>", "text/html", "404 Not Found"),
        (402, b'{"error":{"message":"Pay."}}', "application/json", "Pay."),
    ],
)
async def test_refusal_without_a_reason_is_told_with_its_own_status(
    serve: Any, ask: Any, status: int, body: bytes, content_type: str, message: str
) -> None:
    answer = await ask(serve(Refusing(status, body, content_type=content_type)).url + "/v1")
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == message


class Moody(Listing):
    """Refuses, as whatever the test says, whoever asks for tools."""

    def __init__(self, status: int, body: bytes) -> None:
        self._refusal = Refusing(status, body)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = b""
        while (message := await receive()).get("more_body"):
            asked += message["body"]
        asked += message.get("body", b"")
        fine = Refusing(200, b'{"choices":[]}')
        await (self._refusal if b"tools" in asked else fine).answer(send)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, b""),
        (404, b"{}"),
        (404, b"<html><title>404</title>nginx</html>"),
        (402, b'{"error":{"message":"You can only afford 4000 tokens."}}'),
        (400, b'{"error":{"code":"tool_use_failed","message":"Failed to call a function."}}'),
    ],
)
async def test_one_clients_odd_request_takes_the_model_from_nobody(
    serve: Any, config_for: Any, status: int, body: bytes
) -> None:
    config = config_for(serve(Moody(status, body)).url + "/v1", server={"max_queue_wait": 0})
    config["keys"].append({"id": "key-2", "provider": "p1", "secret": "sk-sim-2"})
    async with httpx2.AsyncClient(base_url=serve(config).url) as client:
        statuses = []
        for number in range(6):
            request: dict[str, Any] = {"model": "m", "messages": []}
            if number % 2:
                request |= {"tools": ["x" * number]}
            answer = await client.post("/v1/chat/completions", json=request)
            statuses.append(answer.status_code)
    told = 413 if b"afford" in body else status
    assert statuses == [200, told] * 3
