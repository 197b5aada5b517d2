"""What every endpoint needs of ASGI: its types, and a request's name."""

import random
from collections.abc import Awaitable, Callable, MutableMapping
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
