"""Borrows for one cap from the store, block by block.

Kept there is, for each turn of the cap's period, how much was borrowed: one document, changed
by compare-and-set. A block is given out only when it is kept. What an error leaves in doubt is
taken as borrowed, and as not given back: a cap may be spent less, never more.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from apikeyrouter.domain.interfaces.state_store import Document, StateStore, StateStoreError
from apikeyrouter.domain.ledger.capped_window import CappedWindow
from apikeyrouter.domain.limits.periods import Turn
from apikeyrouter.domain.models.routing_decision import instant

KIND = "Cap"
#: A block is at most this share of its cap: a crash loses one, and half of another.
SHARE = 1 / 100
#: And at most this share of what is left, so that other processes have some too.
_SHARE_OF_LEFT = 1 / 4
#: Blocks that are spent faster than the first grow, those that last longer than the second shrink.
_SHORT_S, _LONG_S = 0.25, 5.0
_SMALLEST_SHARE = 1 / 64
#: Who is short of what nobody had left asks again so soon.
_ASK_AGAIN_S = 0.5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_CALL_TIMEOUT_S = 10.0
_COLLISIONS = 1_000
#: Turns that are kept beside those that count, for processes whose clocks are behind.
_TURNS_KEPT = 3


class Lender:
    """Borrows for one cap.

    Args:
        clock: The router's.
        on_granted: Told when there is room again.
        on_error: Told of a store that fails, once until it answers.
    """

    def __init__(
        self,
        window: CappedWindow,
        store: StateStore,
        clock: Callable[[], float],
        *,
        on_granted: Callable[[], None],
        on_error: Callable[[Exception], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.window = window
        self._store = store
        self._clock = clock
        self._on_granted = on_granted
        self._on_error = on_error
        self._sleep = sleep
        self._kept: Document | None = None
        self._is_read = self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        self._read_at = self._borrowed_at = self._retry_at = -math.inf
        self._pause_s = 0.0
        self._share = SHARE / 8
        #: What those who wait need, besides what the window was asked for.
        self.asks: dict[object, float] = {}

    @property
    def block(self) -> float:
        """Units of the next block."""
        return max(1.0, math.floor(self.window.capacity * self._share))

    @property
    def is_due(self) -> bool:
        """Whether there is anything to borrow, to tell or to give back."""
        window = self.window
        room = window.room(self._clock())
        if not window.is_hard:
            return window.used != window.granted
        return self._is_short(room) or room > self._most_kept()

    def start(self) -> "asyncio.Task[None] | None":
        """Borrow in the background if that may help now; return the task that does."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        task = self._task
        if task is not None and not task.done() and task.get_loop() is loop:
            return task
        if self._is_closed or self._clock() < self._retry_at:
            return None
        self._task = task = loop.create_task(self._work())
        return task

    async def read(self) -> None:
        """Ask the store how the cap stands.

        Raises:
            StateStoreError: It does not answer.
        """
        await self._read()
        self._note_left(self.window.turn)

    async def close(self) -> None:
        """Give back what is left, and borrow no more."""
        self._is_closed = True
        task, self._task = self._task, None
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            if not self.window.is_hard:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        window = self.window
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                if window.is_hard:
                    window.low_at = -math.inf
                    await self._give_back(0.0)
                elif window.used != window.granted:
                    await self._tell()
        except (StateStoreError, TimeoutError) as error:
            # Whatever was not given back counts as spent.
            self._on_error(error)

    async def _work(self) -> None:
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                if not self._is_read:
                    await self.read()
                if not self.window.is_hard:
                    await self._tell()
                else:
                    await self._borrow_all()
            self._pause_s, self.window.trouble = 0.0, ""
        except (StateStoreError, TimeoutError) as error:
            if not self.window.trouble:
                self._on_error(error)
            self.window.trouble = str(error) or "it does not answer"
            self._is_read = False
            self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2.0 or _FIRST_PAUSE_S)
            self._retry_at = self._clock() + self._pause_s
        finally:
            self.window.asked = 0.0
            self._on_granted()

    async def _borrow_all(self) -> None:
        window = self.window
        while not self._is_closed and self._is_short(window.room(self._clock())):
            if not await self._borrow():
                break
        if window.room(self._clock()) > self._most_kept():
            await self._give_back(self.block)

    def _is_short(self, room: float) -> bool:
        return room < max(self._asked(), 0.0) or room < self.window.low_at

    def _asked(self) -> float:
        return max(self.window.asked, sum(self.asks.values()))

    def _most_kept(self) -> float:
        return 2.0 * self.block + self._asked()

    async def _borrow(self) -> bool:
        """Borrow one block; tell whether there was one."""
        window = self.window
        for _ in range(_COLLISIONS):
            was_read = not self._is_read
            if was_read:
                await self._read()
            room, turn = window.room(self._clock()), window.turn
            slices = slices_of(self._kept)
            leftover, window.leftover = window.leftover, None
            if leftover is not None:
                number, units = leftover
                slices[number] = max(0, slices.get(number, 0) - units)
            left = math.floor(window.capacity - _counted(slices, turn))
            # What was spent beyond what was borrowed is booked, whatever is left.
            amount = max(math.ceil(max(0.0, -room)), self._wanted(room, left))
            if amount <= 0:
                window.leftover = window.leftover or leftover
                if not was_read and self._clock() >= self._read_at + _ASK_AGAIN_S:
                    # Others may have given some back.
                    self._is_read = False
                    continue
                self._note_left(turn)
                return False
            slices[turn.number] = slices.get(turn.number, 0) + amount
            if await self._swap(slices, turn):
                self._adapt()
                window.grant(amount, turn)
                self._note_left(turn)
                return True
            window.leftover = window.leftover or leftover
        return False

    def _wanted(self, room: float, left: int) -> int:
        short = max(0.0, self._asked() - room)
        block = min(self.block, left * _SHARE_OF_LEFT)
        return min(math.ceil(short + block), left)

    def _adapt(self) -> None:
        """Take larger blocks when they are spent fast, smaller ones when they last."""
        now = self._clock()
        lasted_s, self._borrowed_at = now - self._borrowed_at, now
        if lasted_s < _SHORT_S:
            self._share = min(SHARE, self._share * 2.0)
        elif lasted_s > _LONG_S:
            self._share = max(SHARE * _SMALLEST_SHARE, self._share / 2.0)

    async def _give_back(self, keep: float) -> None:
        """Return what is beyond *keep*; it is given out no more before it is returned."""
        window = self.window
        surplus = math.floor(window.forfeit(keep, self._clock()))
        turn = window.turn
        for _ in range(_COLLISIONS if surplus > 0 else 0):
            if not self._is_read:
                await self._read()
            slices = slices_of(self._kept)
            slices[turn.number] = max(0, slices.get(turn.number, 0) - surplus)
            if await self._swap(slices, turn):
                self._note_left(turn)
                return

    async def _tell(self) -> None:
        """Add what was spent since it was last told: of a cap that only counts."""
        window = self.window
        if not self._is_closed:
            await self._sleep(1.0)
        for _ in range(_COLLISIONS):
            if not self._is_read:
                await self._read()
            window.room(self._clock())
            turn, change = window.turn, round(window.used - window.granted)
            slices = slices_of(self._kept)
            slices[turn.number] = max(0, slices.get(turn.number, 0) + change)
            if not change or await self._swap(slices, turn):
                window.grant(change, turn)
                self._note_left(turn)
                return

    def _note_left(self, turn: Turn) -> None:
        """Tell the window how the cap stands by what the store has."""
        window = self.window
        if turn.number != window.turn.number:
            return
        counted = _counted(slices_of(self._kept), turn)
        window.left = max(0.0, window.capacity - counted)
        window.elsewhere = max(0.0, counted - window.granted)
        window.low_at = min(self.block, window.left * _SHARE_OF_LEFT) / 2.0
        if window.left < 1.0:
            window.low_at = -math.inf

    async def _read(self) -> None:
        self._kept = await self._store.get_document(KIND, self.window.cap_id)
        self._is_read, self._read_at = True, self._clock()

    async def _swap(self, slices: Mapping[int, int], turn: Turn) -> bool:
        kept, window = self._kept, self.window
        oldest = sorted(slices)[-_TURNS_KEPT:][0] if slices else turn.number
        body: dict[str, Any] = {
            "dimension": window.dimension.value,
            "turns": [
                [index, units]
                for index, units in sorted(slices.items())
                if index >= min(turn.first, oldest) and units
            ],
        }
        expect = None if kept is None else kept.revision
        document = Document(KIND, window.cap_id, body, instant(self._clock()), (expect or 0) + 1)
        # Until it is known how this ends, what is kept is not.
        self._is_read = False
        if not await self._store.swap_document(document, expect=expect):
            return False
        self._kept, self._is_read = document, True
        return True


def slices_of(document: Document | None) -> dict[int, int]:
    """Return what was borrowed in each turn, by its number."""
    if document is None:
        return {}
    return {int(index): int(units) for index, units in document.body["turns"]}


def _counted(slices: Mapping[int, int], turn: Turn) -> int:
    return sum(units for index, units in slices.items() if index >= turn.first)
