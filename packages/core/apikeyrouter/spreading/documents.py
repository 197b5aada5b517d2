"""Things of which the store says what they are: that one has changed is all that is told."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from apikeyrouter.infrastructure.spreading.board import Shelf
from apikeyrouter.infrastructure.spreading.notice import Notice
from apikeyrouter.spreading.rereading import Rereading
from apikeyrouter.spreading.subject import Subject


class DocumentSubject(Subject):
    """Things of one kind.

    Args:
        read: Reads one of them again from the store.
        read_all: Reads all of them again: notices may have been missed.
        on_error: Told of a store that fails, once until it answers again.
    """

    is_urgent = True
    shelf = Shelf.NONE

    def __init__(
        self,
        kind: str,
        *,
        read: Callable[[str], Awaitable[None]],
        read_all: Callable[[], Awaitable[None]],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.kind = kind
        self._read_all = read_all
        self._rereading = Rereading(read, on_error=on_error)
        self._listing = Rereading(self._list, on_error=on_error)

    def tell(self, name: str) -> Mapping[str, Any] | None:
        """Return nothing but that it has changed."""
        del name
        return {}

    def take_up(self, notice: Notice, *, changed_at: float) -> None:
        """Have it read again."""
        del changed_at
        self._rereading.want(notice.name)

    def take_up_again(self) -> None:
        """Have all read again."""
        self._listing.want("")

    async def close(self) -> None:
        """Read no more."""
        await self._rereading.close()
        await self._listing.close()

    async def _list(self, _: str) -> None:
        await self._read_all()
