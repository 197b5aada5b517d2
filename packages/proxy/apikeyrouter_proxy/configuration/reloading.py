"""The configuration file is read again when it changes, and is taken up whole or not at all.

Whether it has changed is asked of the file system once a second: that sees files that are written
in place, replaced by another, or reached by links that move, as mounted configuration maps do.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from apikeyrouter import ApiKeyRouterError
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter_proxy.configuration.changes import Names, changes_between, refuse_fixed

_LOOK_EVERY_S = 1.0
_log = logging.getLogger("apikeyrouter")

Changes = Mapping[str, Names]


@dataclass(slots=True, frozen=True)
class ConfigSource:
    """Where the configuration comes from.

    Attributes:
        read: Reads and validates it; raises `ConfigurationError`.
    """

    path: Path
    read: Callable[[], RouterConfig]


class Reloader:
    """Takes up a changed file.

    Args:
        apply: Brings the service to a configuration, or raises and leaves it as it is.
        on_change: Told of what was changed.

    Attributes:
        trouble: Why the file is not what the service runs by; `None` if it is.
    """

    def __init__(
        self,
        source: ConfigSource,
        current: RouterConfig,
        *,
        apply: Callable[[RouterConfig], Awaitable[None]],
        on_change: Callable[[str, Changes], Awaitable[None]],
    ) -> None:
        self.trouble: str | None = None
        self._source = source
        self._current = current
        self._apply = apply
        self._on_change = on_change
        self._lock = asyncio.Lock()
        self._is_asked = False
        self._seen = self._taken = _signature(source.path)
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look after the file from now on."""
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Look after it no more."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def ask(self) -> None:
        """Have it read again within a second, changed or not; for signal handlers."""
        self._is_asked = True

    async def reload(self) -> Changes:
        """Read it again, and take up what has changed.

        Raises:
            ConfigurationError: It cannot be used, or not without a restart; nothing has changed.
            StateStoreError: The store does not take its keys; nothing has changed.
        """
        async with self._lock:
            try:
                # In a thread: files may be slow.
                config = await asyncio.to_thread(self._source.read)
                refuse_fixed(self._current, config)
                changes = changes_between(self._current, config)
                if changes:
                    await self._apply(config)
            except ApiKeyRouterError as error:
                self.trouble = str(error)
                _log.error("%s is not taken up: %s", self._source.path, error)
                raise
            self.trouble = None
            self._current = config
        if changes:
            _log.info("%s is taken up: %s", self._source.path, told(changes))
            await self._on_change(str(self._source.path), changes)
        return changes

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self._look()
            except ApiKeyRouterError:
                pass  # Told already.
            except Exception:  # noqa: BLE001 - whatever it is, the next change is looked at
                _log.exception("%s could not be taken up", self._source.path)

    async def _look(self) -> None:
        before, self._seen = self._seen, _signature(self._source.path)
        # Whoever writes may not be done: it has to stay as it is for one look.
        has_changed = self._seen != self._taken and self._seen == before
        if has_changed or self._is_asked:
            self._is_asked = False
            self._taken = self._seen
            await self.reload()


def told(changes: Changes) -> str:
    """Put changes into words, such as `keys: 1 added; clients: 2 removed`."""
    parts = []
    for kind, names in changes.items():
        counts = (("added", names.added), ("changed", names.changed), ("removed", names.removed))
        parts.append(f"{kind}: " + ", ".join(f"{len(n)} {how}" for how, n in counts if n))
    return "; ".join(parts) or "nothing has changed"


def _signature(path: Path) -> tuple[int, int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
