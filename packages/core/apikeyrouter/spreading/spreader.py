"""Tells other processes what was learned here, and takes up what they have learned.

Nothing waits for it: what has changed is marked, and told a moment later as it is then, of many
changes the last one. What is taken up is not told again. While the board cannot be reached,
what has changed gathers, so many names at most; afterwards all is told and taken up.
"""

import asyncio
import math
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from contextlib import suppress
from typing import TypeVar

from apikeyrouter.errors import ApiKeyRouterError
from apikeyrouter.infrastructure.spreading.board import (
    Entry,
    NoticeBoard,
    Position,
    Posted,
    Shelf,
)
from apikeyrouter.infrastructure.spreading.notice import Notice, read_notice, write_notice
from apikeyrouter.spreading.subject import Subject

#: Changes gather for so long before they are told.
LINGER_S = 0.1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
#: Names of which it is remembered when they changed and what was told of them.
_NAMES_KEPT = 50_000
_ENTRIES_AT_ONCE, _TAKEN_IN_A_ROW = 256, 64
_CLOCKS_COMPARED, _COMPARE_EVERY_S = 3, 30.0
#: Clocks that differ by less are the same one, read at different moments.
_SAME_CLOCK_S = 0.05
_CLOSE_WITHIN_S = 1.0

_START_WITHIN_S = 2.0

#: What a subject raises at a notice that makes none; others may be of another version.
_NO_SENSE = (ApiKeyRouterError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

_UNREADABLE = "a notice of another process is skipped: it is none, or one of another version"

_Name = tuple[str, str]
_Value = TypeVar("_Value")


class Spreader:
    """Spreads subjects over a board.

    Args:
        clock: Seconds since the epoch by which subjects measure.
        on_error: Told why the board does not answer, once until it does; and of notices that
            cannot be taken up the first of each kind.

    Attributes:
        id: Of this process.
        dropped: Changes that were not told: there were too many, or one is too long.
        skipped: Notices of others that make no sense here.
    """

    def __init__(
        self,
        board: NoticeBoard,
        *,
        clock: Callable[[], float],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._board = board
        self._clock = clock
        self._on_error = on_error
        self.id = uuid.uuid4().hex
        self._cannot_tell = self._cannot_listen = ""
        self.dropped = self.skipped = 0
        self._reported: set[str] = set()
        self._subjects: dict[str, Subject] = {}
        #: What is to be told, and when it changed.
        self._waiting: OrderedDict[_Name, float] = OrderedDict()
        self._changed_at: OrderedDict[_Name, float] = OrderedDict()
        self._told: OrderedDict[_Name, Hashable] = OrderedDict()
        self._is_taking_up = False
        #: How far the board was read; `None` before the first time.
        self._position: Position | None = None
        #: What our clock lacks to the server's.
        self._behind_s = 0.0
        self._compared_at = -math.inf
        self._is_waiting, self._is_urgent = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        #: A driver may take a cancellation for a timeout of its own.
        self._is_closing = False

    @property
    def trouble(self) -> str:
        """Why the board does not answer; empty while it does."""
        return self._cannot_listen or self._cannot_tell

    def add(self, subject: Subject) -> None:
        """Let one more kind of thing be spread."""
        self._subjects[subject.kind] = subject

    def mark(self, kind: str, name: str) -> None:
        """Note that something has changed here; the others are told soon."""
        if self._is_taking_up:
            return
        now = self._clock()
        self._note_change((kind, name), now)
        self._waiting[kind, name] = now
        if len(self._waiting) > _NAMES_KEPT:
            self._waiting.popitem(last=False)
            self.dropped += 1
        self._is_waiting.set()
        if self._subjects[kind].is_urgent:
            self._is_urgent.set()

    async def start(self) -> None:
        """Take up what others have learned; from now on tell them, and listen.

        A board that cannot be reached is tried again in the background.
        """
        if self._tasks:
            return
        try:
            async with asyncio.timeout(_START_WITHIN_S):
                await self._catch_up()
        except self._board.errors as error:
            self._cannot_listen = self._note_trouble(error)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._listen()), loop.create_task(self._tell())]

    async def close(self) -> None:
        """Tell what is still to be told, and listen no more."""
        tasks, self._tasks = self._tasks, []
        self._is_closing = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for subject in self._subjects.values():
            await subject.close()
        if tasks:
            with suppress(TimeoutError, *self._board.errors):
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await self._publish()
        await self._board.close()

    # -- telling ------------------------------------------------------------

    async def _tell(self) -> None:
        pause_s = 0.0
        while not self._is_closing:
            await self._is_waiting.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s or LINGER_S):
                    await self._is_urgent.wait()
            if pause_s:
                await asyncio.sleep(pause_s)
            self._is_waiting.clear()
            self._is_urgent.clear()
            try:
                await self._publish()
                self._cannot_tell, pause_s = "", 0.0
            except Exception as error:  # noqa: BLE001 - whatever the server answers, this goes on
                self._cannot_tell = self._note_trouble(error)
                self._is_waiting.set()
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2.0 or _FIRST_PAUSE_S)

    async def _publish(self) -> None:
        """Tell all that waits; what cannot be told waits on."""
        while self._waiting:
            names = list(self._waiting)[:_ENTRIES_AT_ONCE]
            batch = {name: self._waiting.pop(name) for name in names}
            told = {name: self._essence_and_entry(name, at) for name, at in batch.items()}
            news = {name: news for name, news in told.items() if news is not None}
            if not news:
                await asyncio.sleep(0)
                continue
            try:
                await self._board.publish([entry for _, entry in news.values()])
            except BaseException:
                self._waiting = OrderedDict({**batch, **self._waiting})
                raise
            for name, (essence, _) in news.items():
                if self._subjects[name[0]].shelf is not Shelf.NONE:
                    _remember(self._told, name, essence)

    def _essence_and_entry(self, name: _Name, at: float) -> tuple[Hashable, Entry] | None:
        """Return what is to be told of *name*; `None` if that has been told already."""
        kind, within = name
        subject = self._subjects[kind]
        try:
            body = subject.tell(within)
            if body is None:
                return None
            essence = subject.essence(body)
            data = write_notice(kind, within, body, by=self.id, behind_s=self._behind_s)
        except Exception as error:  # noqa: BLE001 - one thing that cannot be told blocks no other
            self.dropped += 1
            self._report(kind, error)
            return None
        if self._told.get(name, subject.usual) == essence and subject.shelf is not Shelf.NONE:
            return None
        if data is None:
            self.dropped += 1
            return None
        age_s = max(0.0, self._clock() - at)
        return essence, Entry(subject.shelf, f"{kind}\n{within}", age_s, data)

    def _note_change(self, name: _Name, at: float) -> None:
        _remember(self._changed_at, name, max(at, self._changed_at.get(name, -math.inf)))

    # -- listening ----------------------------------------------------------

    async def _listen(self) -> None:
        pause_s = 0.0
        while not self._is_closing:
            try:
                await self._read_once()
                pause_s = 0.0
            except Exception as error:  # noqa: BLE001 - whatever the server answers, this goes on
                self._cannot_listen = self._note_trouble(error)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2.0 or _FIRST_PAUSE_S)
                await asyncio.sleep(pause_s)

    async def _read_once(self) -> None:
        if self._cannot_listen and self._position is not None:
            # The server may have been another one, or have lost what it did not write.
            if await self._board.last_number() < self._position.number:
                self._tell_all_again()
            self._position = None
        if self._position is None:
            await self._catch_up()
        self._cannot_listen = ""
        await self._compare_clocks()
        position = self._position or Position()
        batch = await self._board.read(position)
        await self.take_up_all(batch.posted)
        if batch.is_renumbered:
            self._tell_all_again()
        if not batch.is_whole:
            await self._catch_up()

    def _tell_all_again(self) -> None:
        """Tell everything anew: the board has forgotten some of it."""
        for name in self._told:
            self._waiting.setdefault(name, self._changed_at.get(name, self._clock()))
        self._told.clear()
        self._is_waiting.set()

    async def _catch_up(self) -> None:
        """Take up the latest of everything."""
        await self._compare_clocks()
        position = Position()
        posted = await self._board.snapshot(position)
        self._position = position
        await self.take_up_all(posted)
        for subject in self._subjects.values():
            subject.take_up_again()

    async def _compare_clocks(self) -> None:
        now = self._clock()
        if abs(now - self._compared_at) < _COMPARE_EVERY_S:
            return
        found = []
        for _ in range(_CLOCKS_COMPARED):
            before = self._clock()
            told = await self._board.now()
            after = self._clock()
            found.append((after - before, told - (before + after) / 2.0))
        behind_s = min(found)[1]
        if abs(behind_s - self._behind_s) > _SAME_CLOCK_S:
            self._behind_s = behind_s
        self._compared_at = now

    async def take_up_all(self, posted: Iterable[Posted]) -> None:
        """Take up what is new here of what stands on the board."""
        for number, one in enumerate(posted, 1):
            notice = read_notice(one.data, observed_at=one.at, behind_s=self._behind_s)
            if notice is None:
                self.skipped += 1
                self._report("", ApiKeyRouterError(_UNREADABLE))
            elif notice.by != self.id:
                self._take_up_one(notice)
            if number % _TAKEN_IN_A_ROW == 0:
                await asyncio.sleep(0)

    def _take_up_one(self, notice: Notice) -> None:
        subject = self._subjects.get(notice.kind)
        if subject is None:
            self.skipped += 1
            return
        name = notice.kind, notice.name
        changed_at = self._changed_at.get(name, -math.inf)
        if not self.take_up(notice.kind, lambda: subject.take_up(notice, changed_at=changed_at)):
            return
        self._note_change(name, min(notice.at, self._clock()))
        if subject.shelf is not Shelf.NONE and name not in self._waiting:
            self._note_told(subject, name)

    def _note_told(self, subject: Subject, name: _Name) -> None:
        """Note that the others know what is here now: nobody need tell it again."""
        try:
            body = subject.tell(name[1])
        except _NO_SENSE:
            body = None
        if body is None:
            self._told.pop(name, None)
        else:
            _remember(self._told, name, subject.essence(body))

    def take_up(self, kind: str, change: Callable[[], None]) -> bool:
        """Make a change that others have told; tell whether it made sense."""
        try:
            self.quietly(change)
        except _NO_SENSE as error:
            self.skipped += 1
            self._report(kind, error)
            return False
        return True

    def quietly(self, change: Callable[[], None]) -> None:
        """Make a change of which the others know."""
        before, self._is_taking_up = self._is_taking_up, True
        try:
            change()
        finally:
            self._is_taking_up = before

    def _note_trouble(self, error: Exception) -> str:
        if not self.trouble:
            self._on_error(error)
        return f"{self._board.address}: {str(error) or type(error).__name__}"

    def _report(self, kind: str, error: Exception) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            self._on_error(error)


def _remember(kept: OrderedDict[_Name, _Value], name: _Name, value: _Value) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > _NAMES_KEPT:
        kept.popitem(last=False)
