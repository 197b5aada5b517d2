"""Parts of an answer one after the other, where they came in turns.

Several tool calls may grow at once in one dialect, while clients of another expect a part to be
complete before the next begins. The first goes through as it comes, the others wait.
"""

from collections.abc import Iterator

from apikeyrouter.dialects.conversation import Broken, Delta, PartBegan, PartEnded, PartGrew


class PartSequence:
    """Puts the deltas of parts in order; all other deltas pass."""

    def __init__(self) -> None:
        #: Index of the part that passes.
        self._open: int | None = None
        #: Deltas of the parts that wait, by index, in the order in which they began.
        self._waiting: dict[int, list[Delta]] = {}

    def feed(self, delta: Delta) -> Iterator[Delta]:
        """Take the next delta; yield those whose turn it is."""
        match delta:
            case PartBegan(index=index) if self._open is None:
                self._open = index
            case PartBegan(index=index):
                self._waiting[index] = [delta]
                return
            case PartGrew(index=index) | PartEnded(index=index) if index in self._waiting:
                self._waiting[index].append(delta)
                return
            case Broken():
                # As much of them as came: what broke off must not look complete.
                for deltas in self._waiting.values():
                    yield from deltas
                self._waiting.clear()
        yield delta
        if isinstance(delta, PartEnded) and delta.index == self._open:
            self._open = None
            yield from self._next()

    def finish(self) -> Iterator[Delta]:
        """Yield what waits still: no part grows any more."""
        while self._waiting or self._open is not None:
            if self._open is not None:
                yield PartEnded(self._open)
                self._open = None
            yield from self._next()

    def _next(self) -> Iterator[Delta]:
        """Let the next part pass, and those after it that have ended meanwhile."""
        while self._open is None and self._waiting:
            index = next(iter(self._waiting))
            deltas = self._waiting.pop(index)
            yield from deltas
            if not isinstance(deltas[-1], PartEnded):
                self._open = index
