"""From an address to a store: the only table of them."""

from collections.abc import Callable, Mapping
from typing import Any

from apikeyrouter.domain.interfaces.state_store import StateStore
from apikeyrouter.errors import ConfigurationError, StateStoreError
from apikeyrouter.infrastructure.state_store.drivers import bare
from apikeyrouter.infrastructure.state_store.memory_store import InMemoryStateStore
from apikeyrouter.infrastructure.state_store.mongo_store import MongoStateStore
from apikeyrouter.infrastructure.state_store.redis_store import RedisStateStore
from apikeyrouter.infrastructure.state_store.sql.sql_store import SqlStateStore


def _memory(_: str, **bounds: int) -> InMemoryStateStore:
    return InMemoryStateStore(**bounds)


#: Scheme -> store, and how else users spell some of them.
STORES: Mapping[str, Callable[..., StateStore]] = {
    "memory": _memory,
    "sqlite": SqlStateStore,
    "postgresql": SqlStateStore,
    "mongodb": MongoStateStore,
    "redis": RedisStateStore,
}
_SPELLINGS = {"postgres": "postgresql", "mongodb+srv": "mongodb", "rediss": "redis"}


def scheme_of(url: str) -> str | None:
    """Return the scheme in `STORES` that *url* begins with; `None` if there is none."""
    scheme, separator, _ = url.partition("://")
    scheme = _SPELLINGS.get(scheme, scheme)
    return scheme if separator and scheme in STORES and url.isprintable() else None


def store_at(
    url: str,
    *,
    mongodb_database: str = "apikeyrouter",
    max_decisions: int = 10_000,
    max_transitions: int = 10_000,
) -> StateStore:
    """Make the store that *url* names; it is not opened yet.

    Args:
        mongodb_database: For a MongoDB address that names none.

    Raises:
        ConfigurationError: No such scheme, an address that cannot be, or a driver that is missing.
    """
    scheme = scheme_of(url)
    if scheme is None:
        known = ", ".join(f"{name}://" for name in STORES)
        raise ConfigurationError(f"store {bare(url)}: should start with one of {known}")
    options: dict[str, Any] = {"max_decisions": max_decisions, "max_transitions": max_transitions}
    if scheme == "mongodb":
        options["database"] = mongodb_database
    try:
        return STORES[scheme](url, **options)
    except StateStoreError as error:
        raise ConfigurationError(f"store: {error}") from error
