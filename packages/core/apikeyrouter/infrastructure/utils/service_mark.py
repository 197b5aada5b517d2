"""A mark beside a SQLite file: services run over it, and there they are.

The lock on it is the operating system's, so it ends with the process, however that ends. Services
share it; whoever writes to the file behind their backs has it alone, or not at all. Where there are
no such locks (Windows), and for stores that are no file, nothing is marked.
"""

import hashlib
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]  # tells that there is none

_SUFFIX = ".service"


def database_file_of(store_url: str) -> Path | None:
    """Return the file of a store, whatever links lead to it; `None` for one that is no file."""
    scheme, _, location = store_url.partition(":///")
    location = location.partition("?")[0]
    return Path(location).resolve() if scheme == "sqlite" and location else None


class ServiceMark:
    """One process's hold on the mark.

    Args:
        store_url: Of a store that is no file nothing is marked, and every hold on it is had.
    """

    def __init__(self, store_url: str) -> None:
        database = database_file_of(store_url)
        self._url = store_url if database is None else str(database)
        self._file: Path | None = None
        if database is not None and fcntl is not None:
            self._file = database.with_name(database.name + _SUFFIX)
        self._handle: int | None = None

    @property
    def is_seen(self) -> bool:
        """Whether others can see who holds it."""
        return self._file is not None

    def share(self) -> bool:
        """Say that a service runs; tell whether it may.

        Raises:
            OSError: The file cannot be written.
        """
        return self._take(is_shared=True)

    def take_alone(self) -> bool:
        """Keep services away until `release`; tell whether none runs.

        Raises:
            OSError: The file cannot be written.
        """
        if self._take(is_shared=False):
            self.tell("")
            return True
        return False

    def tell(self, url: str) -> None:
        """Say where the service is; only for whoever holds the mark."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, url.encode(), 0)

    def told(self) -> str:
        """Return where the service is, as far as it was told."""
        try:
            return self._file.read_text("utf-8").strip() if self._file is not None else ""
        except (OSError, UnicodeDecodeError):
            return ""

    def store_id(self) -> str:
        """Return what tells this store from others: the same for all who can see its mark."""
        try:
            found = self._file.stat() if self._file is not None else None
        except OSError:
            found = None
        facts = self._url if found is None else f"{found.st_dev}:{found.st_ino}"
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def release(self) -> None:
        """Give the hold back, if there is one."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _take(self, *, is_shared: bool) -> bool:
        if self._file is None:
            return True
        handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True
