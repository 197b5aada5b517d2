"""Silent gaps of a stream are filled with comments when the operator wants it."""

import asyncio
from typing import Any

import httpx2
import pytest

from apikeyrouter.service import DIALECTS
from apikeyrouter_proxy.dataplane.keep_alive import gap_of

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


DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"x"}}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
PING = b'event: ping\ndata: {"type": "ping"}\n\n'


async def test_messages_are_kept_alive_by_pings(serve: Any, config_for: Any) -> None:
    config = config_for(serve(Provider(DELTA, STOP)).url, server={"sse_keepalive": GAP_S})
    config["providers"]["p1"]["kind"] = "anthropic"
    async with httpx2.AsyncClient(base_url=serve(config).url) as client:
        told = (await client.post("/v1/messages", content=BODY)).content
    assert PING in told
    assert told.replace(PING, b"") == DELTA + STOP


@pytest.mark.parametrize(
    ("name", "configured_s", "is_translated", "gap_s"),
    [
        ("anthropic", 0.0, True, 15.0),
        ("anthropic", 0.0, False, 0.0),
        ("anthropic", 7.0, True, 7.0),
        ("anthropic", 7.0, False, 7.0),
        ("openai", 0.0, True, 0.0),
        ("openai", 7.0, False, 7.0),
    ],
)
def test_translated_messages_are_kept_alive_unasked(
    name: str, configured_s: float, is_translated: bool, gap_s: float
) -> None:
    """Whoever serves messages pings; what another dialect's provider does is not passed on."""
    assert gap_of(configured_s, DIALECTS[name], is_translated=is_translated) == gap_s
