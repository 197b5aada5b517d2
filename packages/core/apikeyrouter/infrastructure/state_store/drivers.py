"""Drivers of stores: optional, imported when a store is made, named by their extra when missing."""

from importlib import import_module
from typing import Any

from apikeyrouter.errors import StateStoreError


def driver(*modules: str, extra: str) -> Any:
    """Import *modules* and return the first.

    Raises:
        StateStoreError: One is not installed; the message names the extra to install.
    """
    try:
        found = [import_module(module) for module in modules]
    except ImportError as error:
        raise StateStoreError(
            f"this store needs a driver that is not here ({error.name}): "
            f"pip install 'apikeyrouter-core[{extra}]'"
        ) from error
    return found[0]


def bare(url: str) -> str:
    """Return *url* without user, password and options, as errors may show it."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}{separator}{place.rpartition('@')[2]}{slash}{path}"
