"""Refusals on their way out.

A refusal of a request whose body is still coming is sent at once, and the rest
is read for a while: a connection that is closed over unread bytes is reset,
and a reset takes the answer with it.
"""

import asyncio

from apikeyrouter.service import Answer, refusal_headers
from apikeyrouter_proxy.dataplane.asgi import Endpoint, Receive, Request, Send
from apikeyrouter_proxy.dataplane.errors import ErrorAnswer

_LINGER_S = 5.0


async def send_refusal(
    send: Send, request: Request, error: ErrorAnswer, answer: Answer | None = None
) -> None:
    """Send an error; *answer* names the key and provider that were tried last."""
    told, dialect = error.told, request.dialect
    body = dialect.error_body(told, request.id)
    await request.answer(send, dialect.error_status(told), refusal_headers(error, answer), body)


async def refuse_unread(
    send: Send, receive: Receive, request: Request, error: ErrorAnswer, *, most_bytes: int
) -> None:
    """Send an error, then read up to *most_bytes* of the body for at most 5 s."""
    told, dialect = error.told, request.dialect
    body = dialect.error_body(told, request.id)
    length = (b"content-length", b"%d" % len(body))
    await request.begin(send, dialect.error_status(told), [*refusal_headers(error, None), length])
    await send({"type": "http.response.body", "body": request.body_of(body), "more_body": True})
    await drain(receive, most_bytes)
    await send({"type": "http.response.body", "body": b""})


def endpoint_refusing(error: ErrorAnswer, *, most_bytes: int) -> Endpoint:
    """Return an endpoint that tells everybody *error*."""

    async def refuse(request: Request, receive: Receive, send: Send) -> None:
        await refuse_unread(send, receive, request, error, most_bytes=most_bytes)

    return refuse


async def drain(receive: Receive, most_bytes: int) -> None:
    """Read up to *most_bytes* of a body that nobody wants, for at most 5 s."""
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
