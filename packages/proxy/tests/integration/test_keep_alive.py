"""Silent gaps of a stream are filled with comments when the operator wants it."""

import asyncio
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.integration

BODY = b'{"model":"m","stream":true,"messages":[]}'
COMMENT = b": keep-alive\n\n"
EVENT = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
GAP_S = 0.2


class Provider:
    """Sends these pieces, with a silence behind each."""

    def __init__(self, *pieces: bytes, kind: bytes = b"text/event-stream") -> None:
        self._pieces = pieces
        self._headers = [(b"content-type", kind)]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(GAP_S * 3)
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("pieces", "silent_after"),
    [
        ([EVENT + b"\n\n", LAST], True),
        ([EVENT + b"\r\n\r\n", LAST], True),
        ([EVENT + b"\r\n\r", b"\n" + LAST], False),
        ([EVENT + b"\n", b"\n" + LAST], False),
        ([EVENT + b"\n\n" + EVENT[:20], EVENT[20:] + b"\n\n" + LAST], False),
    ],
    ids=["event", "event with CRLF", "half a line end", "half an event end", "half an event"],
)
async def test_comments_stand_between_events_alone(
    pieces: list[bytes], silent_after: bool, serve: Any, config_for: Any
) -> None:
    config = config_for(serve(Provider(*pieces)).url + "/v1", server={"sse_keepalive": GAP_S})
    async with httpx2.AsyncClient(base_url=serve(config).url) as client:
        told = (await client.post("/v1/chat/completions", content=BODY)).content
    assert told.replace(COMMENT, b"") == b"".join(pieces)
    first, _, rest = told.partition(COMMENT)
    if silent_after:
        assert (first, rest.count(COMMENT) >= 1) == (pieces[0], True)
    else:
        assert first == b"".join(pieces)


@pytest.mark.parametrize(
    ("kind", "server"),
    [(b"text/event-stream", {}), (b"application/octet-stream", {"sse_keepalive": GAP_S})],
    ids=["not wanted", "another kind"],
)
async def test_other_streams_get_none(
    kind: bytes, server: dict[str, Any], serve: Any, config_for: Any
) -> None:
    provider = Provider(EVENT + b"\n\n", LAST, kind=kind)
    config = config_for(serve(provider).url + "/v1", server=server)
    async with httpx2.AsyncClient(base_url=serve(config).url) as client:
        told = (await client.post("/v1/chat/completions", content=BODY)).content
    assert told == EVENT + b"\n\n" + LAST
