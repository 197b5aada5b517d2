"""`httpx` and its fork `httpx2`: the same classes by two names, both optional.

A transport learns from the request itself whose classes its answer is made of.
"""

from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from apikeyrouter.errors import ConfigurationError

#: In the order in which they are looked for; each is the name of its extra, too.
LIBRARIES = ("httpx2", "httpx")


def library_named(name: str | None) -> Any:
    """Import a library; the first that is installed if *name* is `None`.

    Raises:
        ConfigurationError: It is not installed; the message names the extra to install.
    """
    names = LIBRARIES if name is None else (name,)
    for candidate in names:
        if candidate not in LIBRARIES:
            raise ConfigurationError(f"library '{candidate}' is none of {', '.join(LIBRARIES)}")
        try:
            return import_module(candidate)
        except ImportError:
            continue
    wanted = " or ".join(f"pip install 'apikeyrouter-core[{known}]'" for known in names)
    raise ConfigurationError(f"no HTTP client for this is installed: {wanted}")


def library_of(request: object) -> Any:
    """Return the library that a request belongs to."""
    return import_module(type(request).__module__.partition(".")[0])


@lru_cache
def stream_class(kind: type, library: ModuleType, base: str) -> Any:
    """Return *kind* as a stream of *library*, whose clients take no other."""
    return type(kind.__name__, (kind, getattr(library, base)), {})
