"""Keeps all hard caps and budgets of a router over its store."""

import asyncio
from collections.abc import Callable, Iterable

from apikeyrouter.domain.costs.cap_account import CapAccount
from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.domain.ledger.capped_window import CappedWindow
from apikeyrouter.infrastructure.caps.lender import Lender
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore

_WATCH_S = 1.0


class CapKeeper:
    """Borrows for caps when they run low, and gives back what is left in the end.

    Args:
        store: One that keeps no documents is none: caps then last as long as the process.
        clock: The router's.
        on_capacity: Told when something was borrowed.
        on_error: Told of a store that fails.
    """

    def __init__(
        self,
        store: StateStore,
        clock: Callable[[], float],
        *,
        on_capacity: Callable[[], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._store = store if store.keeps_documents else InMemoryStateStore()
        self._clock = clock
        self._on_capacity = on_capacity
        self._on_error = on_error
        self._lenders: dict[str, Lender] = {}
        self._is_open = False
        self._watching: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def keep(self, window: CappedWindow, account: CapAccount) -> None:
        """Borrow for *window* from now on."""
        del account
        if window.cap_id in self._lenders and self._lenders[window.cap_id].window is window:
            return
        self._lenders[window.cap_id] = lender = Lender(
            window, self._store, self._clock,
            on_granted=self._on_capacity, on_error=self._on_error,
        )  # fmt: skip
        window.on_low = self._note_low
        if self._is_open:
            lender.start()
            self._watch_on()

    def drop(self, window: CappedWindow) -> None:
        """Borrow for *window* no more, and give back what it has left."""
        lender = self._lenders.get(window.cap_id)
        if lender is None or lender.window is not window:
            return
        del self._lenders[window.cap_id]
        try:
            leaving = asyncio.get_running_loop().create_task(lender.close())
        except RuntimeError:
            return
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def open(self) -> None:
        """Ask the store how all caps stand.

        Raises:
            StateStoreError: It does not answer.
        """
        self._is_open = True
        await asyncio.gather(*(lender.read() for lender in self._lenders.values()))
        if self._lenders:
            self._watch_on()

    async def fetch(self, asks: Iterable[tuple[CappedWindow, float]], within_s: float) -> bool:
        """Wait until something was borrowed for these amounts; tell whether anything was tried."""
        asked: list[tuple[Lender, object]] = []
        for window, amount in asks:
            lender = self._lenders.get(window.cap_id)
            if lender is not None and lender.window is window:
                token = object()
                lender.asks[token] = amount
                asked.append((lender, token))
        try:
            tasks = {task for lender, _ in asked if (task := lender.start()) is not None}
            if tasks:
                await asyncio.wait(tasks, timeout=within_s)
            return bool(tasks)
        finally:
            for lender, token in asked:
                del lender.asks[token]

    async def close(self) -> None:
        """Give back what is left of every block."""
        self._is_open = False
        task, self._watching = self._watching, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*self._leaving, *(lender.close() for lender in self._lenders.values()))

    def _note_low(self, window: CappedWindow) -> None:
        lender = self._lenders.get(window.cap_id)
        if lender is not None:
            lender.start()

    def _watch_on(self) -> None:
        if self._watching is not None and not self._watching.done():
            return
        try:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        except RuntimeError:
            return

    async def _watch(self) -> None:
        """Give back what is not needed, and look again where the store failed."""
        while True:
            await asyncio.sleep(_WATCH_S)
            for lender in list(self._lenders.values()):
                if lender.is_due:
                    lender.start()
