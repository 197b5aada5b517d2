"""What clients get when a provider's answer is not what its status or its label says."""

import gzip
import json
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

STREAM = b'{"model":"m","messages":[],"stream":true}'
WHOLE = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
EXTRA = b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}'


class Answering:
    """Answers every request alike, or refuses the wish for usage."""

    def __init__(
        self, body: bytes, status: int = 200, *, refuses_usage: bool = False, **headers: str
    ) -> None:
        self._body, self._status, self._refuses_usage = body, status, refuses_usage
        self._headers = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if scope["method"] == "POST":
            self.bodies.append(body)
        refuses = self._refuses_usage and b"stream_options" in body
        status, answer = (422, EXTRA) if refuses else (self._status, self._body)
        await send({"type": "http.response.start", "status": status, "headers": self._headers})
        await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def ask(serve: Any, config_for: Any) -> Any:
    """Send a streamed request through the service to these providers."""

    async def send(*providers: Answering, times: int = 1, **provider: Any) -> Any:
        config = config_for(*(serve(each).url + "/v1" for each in providers))
        for entry in config["providers"].values():
            entry.update(provider)
        proxy = serve(config)
        async with httpx2.AsyncClient(base_url=proxy.url, timeout=20) as client:
            answers = [
                await client.post("/v1/chat/completions", content=STREAM) for _ in range(times)
            ]
        return answers if times > 1 else answers[0]

    return send


async def test_whole_json_for_a_stream_passes_without_an_error_behind_it(ask: Any) -> None:
    answer = await ask(Answering(WHOLE, content_type="application/json"))
    assert (answer.status_code, answer.content) == (200, WHOLE)
    assert answer.headers["content-type"] == "application/json"


async def test_null_choices_are_told_as_an_error_of_the_request(ask: Any) -> None:
    answer = await ask(Answering(b'{"choices":null,"error_message":"unsafe content"}'))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "unsafe content"


async def test_packed_refusal_can_be_read(ask: Any) -> None:
    body = b'{"error":{"message":"bad temperature"}}'
    packed = Answering(gzip.compress(body), 400, content_encoding="gzip")
    answer = await ask(packed)
    assert (answer.status_code, answer.content) == (400, body)


async def test_odd_answer_of_one_provider_is_never_seen_beside_a_good_one(ask: Any) -> None:
    odd = Answering(b"upstream connect error", content_type="text/plain")
    good = Answering(TEXT + END, content_type="text/event-stream")
    answers = await ask(odd, good, times=6)
    assert {answer.content for answer in answers} == {TEXT + END}
    assert 1 <= len(odd.bodies) < 6


@pytest.mark.parametrize("stream_usage", [None, False], ids=["by default", "turned off"])
async def test_wish_for_usage_is_never_heard_of_by_the_client(
    ask: Any, stream_usage: bool | None
) -> None:
    provider = Answering(TEXT + END, refuses_usage=True, content_type="text/event-stream")
    answers = await ask(provider, times=3, stream_usage=stream_usage)
    assert [answer.status_code for answer in answers] == [200] * 3
    asked = ["stream_options" in json.loads(body) for body in provider.bodies]
    assert asked == ([True] if stream_usage is None else []) + [False] * 3
