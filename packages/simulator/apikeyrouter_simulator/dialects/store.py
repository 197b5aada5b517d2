"""What clients created through their keys: files, batches, responses and the like.

Law: an object belongs to the scope of the key that made it; another scope does not see it. All of
it is in memory and bounded: the oldest goes first.
"""

from collections import OrderedDict
from dataclasses import dataclass

ScopeId = tuple[str, str]
_MOST_OBJECTS = 10_000
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Kept:
    """An object as it is shown, and bytes that belong to it."""

    data: dict[str, object]
    content: bytes = b""

    @property
    def id(self) -> str:
        """Its name."""
        return str(self.data.get("id", ""))


class Store:
    """Objects by scope, kind and id."""

    def __init__(self, *, most: int = _MOST_OBJECTS, most_bytes: int = _MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._objects: OrderedDict[tuple[ScopeId, str, str], Kept] = OrderedDict()

    def put(self, scope: ScopeId, kind: str, name: str, kept: Kept) -> None:
        """Keep an object; it is the newest, even if it was there before."""
        self.pop(scope, kind, name)
        self._objects[scope, kind, name] = kept
        self._bytes += len(kept.content)
        while len(self._objects) > self._most or self._bytes > self._most_bytes:
            _, oldest = self._objects.popitem(last=False)
            self._bytes -= len(oldest.content)

    def get(self, scope: ScopeId, kind: str, name: str) -> Kept | None:
        """Return an object of this scope."""
        return self._objects.get((scope, kind, name))

    def pop(self, scope: ScopeId, kind: str, name: str) -> Kept | None:
        """Forget an object; return it."""
        kept = self._objects.pop((scope, kind, name), None)
        if kept is not None:
            self._bytes -= len(kept.content)
        return kept

    def all(self, scope: ScopeId, kind: str) -> list[Kept]:
        """Return the objects of a kind, oldest first."""
        return [k for (s, of, _), k in self._objects.items() if s == scope and of == kind]

    def clear(self) -> None:
        """Forget everything."""
        self._objects.clear()
        self._bytes = 0
