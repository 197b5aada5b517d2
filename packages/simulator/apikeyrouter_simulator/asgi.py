"""The few things that the application says in ASGI."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from importlib import import_module
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


async def read(receive: Receive) -> bytes:
    """Read a whole body."""
    message = await receive()
    parts: list[bytes] = [message.get("body", b"")]
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
    return b"".join(parts) if len(parts) > 1 else parts[0]


def unpack(coding: bytes, body: bytes) -> bytes | None:
    """Undo a content coding; `None` if it is not known.

    Raises:
        ValueError: The body is not what its coding says.
    """
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    try:
        if coding in (b"gzip", b"x-gzip"):
            return zlib.decompress(body, 16 + zlib.MAX_WBITS)
        if coding == b"deflate":
            return zlib.decompress(body)
        if coding == b"zstd" and _zstd is not None:
            unpacked: bytes = _zstd.decompress(body)
            return unpacked
    except _errors as error:
        raise ValueError(f"the body is not {coding.decode()}: {error}") from None
    return None


def _find_zstd() -> Any:
    """Return the module that unpacks zstd, if there is one."""
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    return None


_zstd = _find_zstd()
_errors: tuple[type[Exception], ...] = (
    (zlib.error, _zstd.ZstdError) if _zstd is not None else (zlib.error,)
)


async def answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a whole answer."""
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def piece(send: Send, body: bytes) -> None:
    """Send a part of a body."""
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def lifespan(receive: Receive, send: Send) -> None:
    """Start and stop, with nothing to do."""
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def leaves_within(receive: Receive, seconds: float) -> bool:
    """Wait; tell whether the client left meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


def drop(receive: Receive) -> None:
    """Drop the connection without an answer, or in the middle of one."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is not None:
        transport.abort()
