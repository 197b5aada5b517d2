"""Refusals on their way out.

A refusal of a request whose body is still coming is sent at once, and the rest
is read for a while: a connection that is closed over unread bytes is reset,
and a reset takes the answer with it.
"""

import asyncio

from apikeyrouter.request.exchange import Answer
from apikeyrouter_proxy.dataplane.asgi import Receive, Send
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer

_LINGER_S = 5.0
_JSON = (b"content-type", b"application/json")


async def send_refusal(
    send: Send, request_id: str, error: ErrorAnswer, answer: Answer | None = None
) -> None:
    """Send an error; *answer* names the key and provider that were tried last."""
    await _send_head(send, request_id, error, answer)
    await send({"type": "http.response.body", "body": error.body})


async def refuse_unread(
    send: Send, receive: Receive, request_id: str, error: ErrorAnswer, *, most_bytes: int
) -> None:
    """Send an error, then read up to *most_bytes* of the body for at most 5 s."""
    await _send_head(send, request_id, error, None)
    await send({"type": "http.response.body", "body": error.body, "more_body": True})
    await _drain(receive, most_bytes)
    await send({"type": "http.response.body", "body": b""})


async def _send_head(
    send: Send, request_id: str, error: ErrorAnswer, answer: Answer | None
) -> None:
    headers = [_JSON, (b"content-length", str(len(error.body)).encode()), *error.headers]
    if request_id:
        headers.append((b"x-request-id", request_id.encode()))
    if answer is not None:
        headers.append((b"x-key-used", answer.attempt.slot.id.encode()))
        headers.append((b"x-provider-used", answer.attempt.provider.id.encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})


async def _drain(receive: Receive, most_bytes: int) -> None:
    try:
        async with asyncio.timeout(_LINGER_S):
            while most_bytes > 0:
                message = await receive()
                # A client that left has no more body either.
                if not message.get("more_body"):
                    return
                most_bytes -= len(message.get("body", b""))
    except TimeoutError:
        return
