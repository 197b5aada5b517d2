"""An event loop in a thread of its own, for programs that have none.

    with RouterLoop() as loop:
        router = loop.run(make_router())
        client = OpenAI(http_client=sync_http_client(router, loop=loop))

A router belongs to one loop: whatever calls it from another thread goes through that loop.
"""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.router import ApiKeyRouter

_T = TypeVar("_T")
#: A loop that stopped answers nobody; whoever waits looks for that so often.
_LOOK_EVERY_S = 1.0
_IN_THE_LOOP = (
    "a blocking client cannot be used in the event loop of its router: use the "
    "asynchronous one there, or call it from another thread"
)
_NO_LOOP = "the event loop of this client's router does not run, or has ended"


class RouterLoop:
    """An event loop in a daemon thread, from its making to `close`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="apikeyrouter-loop", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run *work* in the loop, and return what it returns; any thread but the loop's may."""
        return run_in(self.loop, work)

    def close(self) -> None:
        """Cancel what still runs, and end the thread. Closing twice is nothing."""
        if self._thread.is_alive() and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()


def run_in(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T]) -> _T:
    """Run *work* in a loop of another thread, and wait for it.

    Whatever interrupts the wait cancels the work.

    Raises:
        RuntimeError: The loop is this thread's own, has not begun or has ended.
    """
    if _is_own(loop) or not loop.is_running():
        work.close()
        raise RuntimeError(_IN_THE_LOOP if _is_own(loop) else _NO_LOOP)
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        while True:
            try:
                return future.result(_LOOK_EVERY_S)
            except TimeoutError:
                if future.done():
                    # It came just now, or is the work's own.
                    return future.result()
                if not loop.is_running():
                    raise RuntimeError(_NO_LOOP) from None
    except CancelledError:
        # Nobody cancels it but a loop that ends.
        raise RuntimeError(_NO_LOOP) from None
    except BaseException:
        future.cancel()
        raise


def _is_own(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class _Shared:
    """The loop of a router that nobody gave one, and how many clients use it."""

    def __init__(self) -> None:
        self.loop = RouterLoop()
        self.users = 0


_shared: "WeakKeyDictionary[ApiKeyRouter, _Shared]" = WeakKeyDictionary()
_turn = threading.Lock()


def borrow_loop(router: ApiKeyRouter) -> asyncio.AbstractEventLoop:
    """Return the loop that all blocking clients of *router* share; to be given back."""
    with _turn:
        shared = _shared.get(router)
        if shared is None:
            shared = _shared[router] = _Shared()
        shared.users += 1
        return shared.loop.loop


def return_loop(router: ApiKeyRouter) -> None:
    """Give the loop back; with its last user it ends, and the router's connections with it."""
    with _turn:
        shared = _shared[router]
        shared.users -= 1
        if shared.users:
            return
        del _shared[router]
        # Whoever wants a new one waits, so that its connections are not closed instead.
        shared.loop.run(_hang_up(router))
        shared.loop.close()


async def _hang_up(router: ApiKeyRouter) -> None:
    for entry in router.routes.providers.values():
        if isinstance(entry.adapter, WireAdapter):
            await entry.adapter.close()
