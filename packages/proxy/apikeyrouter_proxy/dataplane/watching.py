"""Clients that leave while their request is served are noticed, and their calls cancelled."""

import asyncio

from apikeyrouter_proxy.dataplane.asgi import Receive

#: A client that leaves is noticed from the second round on; most answers are there before.
_ROUND_S = 0.05


class Watch:
    """Notices that a client left, and cancels the task that serves it."""

    __slots__ = ("_patrol", "_receive", "_served", "_task", "client_left")

    def __init__(self, receive: Receive, patrol: "DisconnectPoller") -> None:
        self.client_left = False
        self._receive = receive
        self._patrol = patrol
        self._served = asyncio.current_task()
        self._task: asyncio.Task[None] | None = None
        patrol.add(self)

    def stop(self) -> None:
        """Stop watching."""
        self._patrol.forget(self)
        if self._task is not None:
            self._task.cancel()

    def begin(self) -> None:
        """Read on: whatever comes now is that the client leaves."""
        self._task = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        if self._served is not None:
            self._served.cancel()


class DisconnectPoller:
    """Begins the watches that are not over within a round or two.

    Most answers are there before a task of its own, or even a timer, would pay.
    """

    __slots__ = ("_is_walking", "_new", "_old")

    def __init__(self) -> None:
        self._new: set[Watch] = set()
        self._old: set[Watch] = set()
        self._is_walking = False

    def add(self, watch: Watch) -> None:
        """Begin *watch* after the next round, unless it is forgotten by then."""
        self._new.add(watch)
        if not self._is_walking:
            self._walk_on()

    def forget(self, watch: Watch) -> None:
        """Do not begin *watch* any more."""
        self._new.discard(watch)
        self._old.discard(watch)

    def _walk_on(self) -> None:
        self._is_walking = True
        asyncio.get_running_loop().call_later(_ROUND_S, self._walk)

    def _walk(self) -> None:
        self._is_walking = False
        old, self._old, self._new = self._old, self._new, set()
        for watch in old:
            watch.begin()
        if self._old:
            self._walk_on()
