"""Who served a session last: a provider's prompt cache is there, as long as it is warm.

It only settles who is chosen among equals. Sessions are named by clients, so that their number is
bounded: the one that was quiet for longest leaves.
"""

from collections import OrderedDict
from typing import Generic, TypeVar

_T = TypeVar("_T")
#: Shorter prompts are kept by no provider's cache.
SHORTEST_CACHED_TOKENS = 1024
_MOST = 10_000
#: Caches are cold after minutes of quiet.
_MEMORY_S = 600.0


class AffinityTable(Generic[_T]):
    """Sessions and who served them last.

    Args:
        most: Sessions that are kept.
        memory_s: Seconds of quiet after which one is forgotten.
    """

    def __init__(self, most: int = _MOST, memory_s: float = _MEMORY_S) -> None:
        self._most = most
        self._memory_s = memory_s
        #: Who and when, by a hash of the session's name; the quietest first.
        self._served: OrderedDict[int, tuple[_T, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._served)

    def kept(self, session: int, now: float) -> _T | None:
        """Return who served *session* last; `None` if nobody did lately."""
        found = self._served.get(session)
        if found is None:
            return None
        if now - found[1] > self._memory_s:
            del self._served[session]
            return None
        return found[0]

    def note(self, session: int, who: _T, now: float) -> None:
        """Note that *who* serves *session*."""
        self._served[session] = who, now
        self._served.move_to_end(session)
        if len(self._served) > self._most:
            self._served.popitem(last=False)
