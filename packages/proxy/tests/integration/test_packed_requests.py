"""Requests that come packed, to providers that read no packed ones."""

import gzip
import json
import sys
from typing import Any

import brotli
import httpx2
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.integration
BODY = b'{"model":"m","messages":[{"role":"user","content":"Hello!"}]}'
PACKED = {"gzip": gzip.compress(BODY), "br": brotli.compress(BODY), "zstd": zstd.compress(BODY)}


class PlainReader:
    """Reads gzip and what is not packed; refuses the rest in its words."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        self.words = words
        self.asked: list[tuple[str, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        coding = dict(scope["headers"]).get(b"content-encoding", b"").decode()
        status, answer = 404, b"{}"
        if not scope["path"].endswith("/models"):
            self.asked.append((coding, body))
            is_read = coding in ("", "gzip")
            status = 200 if is_read else self.status
            told = {"choices": []} if is_read else {"error": {"message": self.words}}
            answer = json.dumps(told).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


async def ask(url: str, coding: str) -> int:
    async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
        answer = await client.post(
            "/v1/chat/completions", content=PACKED[coding], headers={"content-encoding": coding}
        )
    return answer.status_code


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (415, "unsupported media type"),
        (400, "There was an error parsing the body"),
        (400, "We could not decode the JSON body of your request"),
        (422, "Content-Encoding is not supported"),
    ],
)
async def test_what_a_provider_cannot_unpack_is_sent_plain(
    status: int, words: str, serve: Any, config_for: Any
) -> None:
    provider = PlainReader(status, words)
    url = serve(config_for(serve(provider).url + "/v1")).url
    assert [await ask(url, coding) for coding in ("br", "br", "gzip", "zstd", "zstd")] == [200] * 5
    assert provider.asked == [
        ("br", PACKED["br"]), ("", BODY), ("", BODY),
        ("gzip", PACKED["gzip"]),
        ("zstd", PACKED["zstd"]), ("", BODY), ("", BODY),
    ]  # fmt: skip


async def test_packed_request_that_is_wrong_otherwise_is_asked_once(
    serve: Any, config_for: Any
) -> None:
    provider = PlainReader(400, "temperature: must be below 2")
    url = serve(config_for(serve(provider).url + "/v1")).url
    assert await ask(url, "br") == 400
    assert provider.asked == [("br", PACKED["br"])]


async def test_raw_paths_are_sent_plain_too(serve: Any, config_for: Any) -> None:
    provider = PlainReader(415, "unsupported media type")
    url = serve(config_for(serve(provider).url + "/v1")).url
    async with httpx2.AsyncClient(base_url=url, timeout=20) as client:
        for _ in range(2):
            answer = await client.post(
                "/p1/odd", content=PACKED["br"], headers={"content-encoding": "br"}
            )
            assert answer.status_code == 200
    assert provider.asked == [("br", PACKED["br"]), ("", BODY), ("", BODY)]
