"""One change of a key at a time: orders that reach a slow store together keep their order."""

import asyncio
from weakref import WeakValueDictionary


class KeyLock:
    """Locks by the id of a key, each kept only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def __call__(self, key_id: str) -> asyncio.Lock:
        """Return the lock of one key; first come, first served."""
        return self._locks.setdefault(key_id, asyncio.Lock())
