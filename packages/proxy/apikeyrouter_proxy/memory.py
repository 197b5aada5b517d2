"""How much memory this process may use: the machine's, or its container's if that is less."""

import os
from pathlib import Path

#: Assumed where nobody tells.
_UNTOLD_BYTES = 4 * 2**30
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def memory_bytes() -> int:
    """Return the bytes of memory that there are."""
    limits = [_machine_bytes(), *map(_container_bytes, _CONTAINER_LIMITS)]
    return min((limit for limit in limits if limit), default=_UNTOLD_BYTES)


def _machine_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _container_bytes(file: Path) -> int | None:
    try:
        told = file.read_text().strip()
    except OSError:
        return None
    return int(told) if told.isdigit() else None
