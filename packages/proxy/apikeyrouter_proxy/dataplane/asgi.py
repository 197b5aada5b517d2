"""What every endpoint needs of ASGI: its types, a request's name, its end."""

import random
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_LONGEST_ID = 128
#: For names of requests: nothing is protected by them.
_random = random.Random()  # noqa: S311


def request_id_of(headers: dict[bytes, bytes]) -> str:
    """Return the client's own `X-Request-ID` if it can be used, else a new one."""
    given = headers.get(b"x-request-id")
    if given and len(given) <= _LONGEST_ID and given.isascii():
        text = given.decode()
        if text.isprintable() and " " not in text:
            return text
    return f"req-{_random.getrandbits(96):024x}"


@dataclass(slots=True)
class ShutdownState:
    """Whether what still runs is cut short because the service stops.

    Whoever sets it cancels the running tasks afterwards; they tell their
    clients, and end as if nothing had happened.
    """

    is_due: bool = False


class Reply:
    """A `send` for all but the hot path: names the request, and keeps bodies from HEAD."""

    __slots__ = ("_is_head", "_request_id", "_send", "is_begun")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self.is_begun = False
        self._is_head = scope["method"] == "HEAD"
        self._request_id = request_id_of(dict(scope["headers"])).encode()

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        """Send *message*."""
        if message["type"] == "http.response.start":
            self.is_begun = True
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id)]
        elif self._is_head:
            message["body"] = b""
        await self._send(message)
