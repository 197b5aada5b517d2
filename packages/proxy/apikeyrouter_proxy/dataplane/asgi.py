"""What every endpoint needs of ASGI: its types, a request with its name, and its end."""

import random
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from time import time_ns
from typing import Any

from apikeyrouter.service import OPENAI_CHAT, Dialect
from apikeyrouter_proxy.middleware.security_headers import HeaderList

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Key of the function among a scope's extensions that cuts the connection off.
ABORT = "apikeyrouter.abort"
_LONGEST_ID = 128
#: The method that a wish for a WebSocket counts as, and the paths at which one may be had.
SOCKET = "WEBSOCKET"
SOCKET_PATHS = frozenset({b"/v1/responses", b"/v1/realtime"})
_NO_PARAMS: Mapping[str, str] = {}
#: For names of requests: nothing is protected by them.
_random = random.Random()  # noqa: S311


class Request:
    """One request as it arrived, before its body.

    Attributes:
        dialect: Of the client, in which it is refused.
        path: Decoded, and repaired where it was nearly right.
        headers: By lower-case name; of a repeated one the last.
        params: What stands in the path for the parameters of its route, decoded.
        id: The client's own `X-Request-ID` if it can be used, else a new one.
        answer_headers: Belong to every answer, whatever it is.
        is_begun: The head of an answer is out.
    """

    __slots__ = (
        "answer_headers", "dialect", "headers", "id", "is_begun", "method", "params",
        "path", "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.method: str = scope.get("method", SOCKET)
        self.path: str = scope["path"]
        self.params: Mapping[str, str] = _NO_PARAMS
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = _id_of(self.headers)
        self.answer_headers: HeaderList = [(b"x-request-id", self.id.encode())]
        self.is_begun = False
        self.dialect: Dialect = OPENAI_CHAT

    def speak(self, dialect: Dialect) -> None:
        """Note the client's dialect, and what its clients expect of every answer."""
        if dialect is not self.dialect:
            self.dialect = dialect
            self.answer_headers += dialect.answer_headers(self.id)

    def abort(self) -> bool:
        """Cut the connection off, whatever was still to be sent; tell whether the server can."""
        abort = self.scope.get("extensions", {}).get(ABORT)
        if abort is None:
            return False
        abort()
        return True

    async def begin(self, send: Send, status: int, headers: HeaderList) -> None:
        """Send the head of the answer."""
        self.is_begun = True
        headers += self.answer_headers
        await send({"type": "http.response.start", "status": status, "headers": headers})

    async def answer(self, send: Send, status: int, headers: HeaderList, body: bytes) -> None:
        """Send a whole answer; to HEAD its head alone."""
        headers.append((b"content-length", b"%d" % len(body)))
        await self.begin(send, status, headers)
        await send({"type": "http.response.body", "body": self.body_of(body)})

    def body_of(self, body: bytes) -> bytes:
        """Return what of *body* is sent: nothing to HEAD."""
        return b"" if self.method == "HEAD" else body


Endpoint = Callable[[Request, Receive, Send], Awaitable[None]]


def _id_of(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given and len(given) <= _LONGEST_ID and given.isascii():
        text = given.decode()
        if text.isprintable() and " " not in text:
            return text
    return new_id()


def new_id() -> str:
    """Make up a name for a request.

    It begins with the time in milliseconds, so that a store adds it at the end of its index.
    """
    return f"req-{time_ns() // 1_000_000:012x}{_random.getrandbits(48):012x}"


@dataclass(slots=True)
class ShutdownState:
    """Whether what still runs is cut short because the service stops.

    Whoever sets it cancels the running tasks afterwards; they tell their
    clients, and end as if nothing had happened.
    """

    is_due: bool = False
