"""Clients that leave while their request is served are noticed, and their calls cancelled."""

import asyncio

from apikeyrouter_proxy.dataplane.asgi import Receive

#: A client that leaves is noticed from the second round on; most answers are there before.
_ROUND_S = 0.05


class DisconnectWatch:
    """Notices that a client left, and cancels the task that serves it.

    Attributes:
        client_left: The task was cancelled for that reason.
    """

    __slots__ = ("_poller", "_receive", "_served", "_task", "client_left")

    def __init__(self, receive: Receive, poller: "DisconnectPoller") -> None:
        self.client_left = False
        self._receive = receive
        self._poller = poller
        self._served = asyncio.current_task()
        self._task: asyncio.Task[None] | None = None
        poller.add(self)

    def stop(self) -> None:
        """Stop watching."""
        self._poller.remove(self)
        if self._task is not None:
            self._task.cancel()

    def start(self) -> None:
        """Wait for the next message: after the body it can only say that the client left."""
        self._task = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        if self._served is not None:
            self._served.cancel()


class DisconnectPoller:
    """Starts the watches of requests that are still running after a round or two.

    Most answers are there before a task of its own, or even a timer, would pay.
    """

    __slots__ = ("_is_scheduled", "_new", "_old")

    def __init__(self) -> None:
        self._new: set[DisconnectWatch] = set()
        self._old: set[DisconnectWatch] = set()
        self._is_scheduled = False

    def add(self, watch: DisconnectWatch) -> None:
        """Start *watch* after the next round, unless it is removed by then."""
        self._new.add(watch)
        if not self._is_scheduled:
            self._schedule_round()

    def remove(self, watch: DisconnectWatch) -> None:
        """Do not start *watch* any more."""
        self._new.discard(watch)
        self._old.discard(watch)

    def _schedule_round(self) -> None:
        self._is_scheduled = True
        asyncio.get_running_loop().call_later(_ROUND_S, self._run_round)

    def _run_round(self) -> None:
        self._is_scheduled = False
        old, self._old, self._new = self._old, self._new, set()
        for watch in old:
            watch.start()
        if self._old:
            self._schedule_round()
