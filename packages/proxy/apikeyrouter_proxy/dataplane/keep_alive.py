"""Comments in the silent gaps of an event stream, so that nothing in between closes it.

Some dialects have an event for that, which their clients take for a sign of life.
"""

import asyncio
from typing import Any

from apikeyrouter.service import Dialect
from apikeyrouter_proxy.dataplane.asgi import Send

_ENDS_OF_EVENTS = (b"\n\n", b"\n\r\n", b"\r\r")
_LONGEST_END = 4


def gap_of(configured_s: float, dialect: Dialect, *, is_translated: bool) -> float:
    """Return the silence after which a stream of *dialect* is kept alive; 0 where it is not.

    What a provider does for that is not passed on where its stream is translated.
    """
    return configured_s or (dialect.pings_after_s if is_translated else 0.0)


class KeepAlive:
    """A `send` for the parts of one event stream that fills its gaps until it is stopped.

    A comment goes out only where the last bytes ended an event: in the middle of
    one it would tear it apart.

    Args:
        gap_s: Silence after which a comment is sent.
        comment: An event or a comment, with its blank line.
    """

    def __init__(self, send: Send, gap_s: float, comment: bytes) -> None:
        self._comment = comment
        self._send = send
        self._gap_s = gap_s
        self._tail = _ENDS_OF_EVENTS[0]
        self._loop = asyncio.get_running_loop()
        self._sent_at = self._loop.time()
        # Whoever waits for a slow client keeps the other from overtaking.
        self._turn = asyncio.Lock()
        self._task = self._loop.create_task(self._fill())

    async def __call__(self, message: Any) -> None:
        """Send *message*."""
        async with self._turn:
            await self._send(message)
            self._tail = (self._tail + message.get("body", b""))[-_LONGEST_END:]
            self._sent_at = self._loop.time()

    def stop(self) -> None:
        """Send no more comments."""
        self._task.cancel()

    async def _fill(self) -> None:
        while True:
            await asyncio.sleep(max(self._silence_left_s(), self._gap_s / 4))
            async with self._turn:
                if self._silence_left_s() <= 0 and self._tail.endswith(_ENDS_OF_EVENTS):
                    part = {"type": "http.response.body", "body": self._comment, "more_body": True}
                    await self._send(part)
                    self._sent_at = self._loop.time()

    def _silence_left_s(self) -> float:
        return self._sent_at + self._gap_s - self._loop.time()
