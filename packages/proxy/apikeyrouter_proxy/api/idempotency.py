"""Orders that are sent twice are carried out once: `Idempotency-Key` on POST.

Answers are kept in memory, bounded and for an hour; they may hold the token of a new client.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from apikeyrouter_proxy.api.problems import ProblemError
from apikeyrouter_proxy.dataplane.asgi import Message, Request, Send

KEPT_S = 3600.0
_MOST_KEPT, _MOST_BYTES, _LONGEST_KEY = 1000, 256 * 1024, 255
HEADER = b"idempotency-key"


@dataclass(slots=True, eq=False)
class Order:
    """One order and its answer, as far as it is there.

    Attributes:
        asked: A digest of what was asked for.
        messages: The answer, once `is_done` is set; empty if it is worth no repetition.
    """

    asked: bytes
    at: float
    messages: list[Message] = field(default_factory=list)
    is_done: asyncio.Event = field(default_factory=asyncio.Event)

    def recording(self, send: Send) -> Send:
        """Return what sends, and keeps what is sent."""

        async def record(message: Message) -> None:
            # Later headers are put on a copy: those of the first request are its own.
            self.messages.append({**message, "headers": list(message.get("headers", ()))})
            await send(message)

        return record


class Orders:
    """Orders by their idempotency key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, Order] = OrderedDict()

    async def begin(self, request: Request, body: bytes) -> Order | None:
        """Return the order that a request is; one that `is_done` has its answer already.

        `None` if it has no idempotency key.

        Raises:
            ProblemError: The key is unusable, or was used for something else.
        """
        if request.method != "POST" or HEADER not in request.headers:
            return None
        name = request.headers[HEADER].decode("latin-1").strip()
        if not 0 < len(name) <= _LONGEST_KEY:
            raise ProblemError.of_field(
                "Idempotency-Key", f"should have 1 to {_LONGEST_KEY} characters", 400
            )
        query = request.scope.get("query_string", b"")
        asked = hashlib.sha256(b"\0".join((request.path.encode(), query, body))).digest()
        while (kept := self._current(name)) is not None:
            if kept.asked != asked:
                raise ProblemError.of_field(
                    "Idempotency-Key", "was sent with another request before; take a new one"
                )
            if kept.is_done.is_set():
                return kept
            # The first one is under way: its answer is this one's too.
            await kept.is_done.wait()
        order = self._kept[name] = Order(asked, self._clock())
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return order

    def end(self, request: Request, order: Order) -> None:
        """Keep the answer, unless the same order should be tried again."""
        status = order.messages[0]["status"] if order.messages else 500
        size = sum(len(message.get("body", b"")) for message in order.messages)
        if status >= 500 or size > _MOST_BYTES:
            name = request.headers[HEADER].decode("latin-1").strip()
            if self._kept.get(name) is order:
                del self._kept[name]
        order.is_done.set()

    def _current(self, name: str) -> Order | None:
        kept = self._kept.get(name)
        if kept is not None and kept.is_done.is_set() and self._clock() - kept.at > KEPT_S:
            del self._kept[name]
            return None
        return kept
