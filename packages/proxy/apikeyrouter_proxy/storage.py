"""Where the service keeps its state, and the key that seals its secrets there."""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from apikeyrouter import ConfigurationError, RouterSettings
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import (
    EncryptionError,
    KeptObjectRegister,
    MemoryObjectRegister,
    ObjectRegister,
    ServiceMark,
    StateStore,
    key_file_of,
    key_in,
    make_key_in,
    store_at,
)

_log = logging.getLogger("apikeyrouter")
DEFAULT_STORE = "sqlite:///apikeyrouter.db"
_VARIABLES = ("DATABASE_URL", "MONGODB_URL", "REDIS_URL")
#: So long a service that starts waits for a command that writes to its store.
_PATIENCE_S, _LOOK_EVERY_S = 10.0, 0.05


def with_store(config: RouterConfig, env: Mapping[str, str]) -> RouterConfig:
    """Return *config* with its store: its own, else the environment's, else a file here."""
    if "store" in config.model_fields_set:
        return config
    named = next((url for name in _VARIABLES if (url := env.get(name, "").strip())), DEFAULT_STORE)
    return config.model_copy(update={"store": named})


def store_of(config: RouterConfig, settings: RouterSettings) -> StateStore:
    """Make the store; it is opened when the service starts.

    Raises:
        ConfigurationError: Its address cannot be, or a driver is missing.
    """
    return store_at(
        config.store,
        mongodb_database=settings.mongodb_database,
        max_decisions=settings.max_decisions,
        max_transitions=settings.max_transitions,
    )


async def hold(mark: ServiceMark) -> None:
    """Say by *mark* that a service runs; a command that works on the store may end first.

    Raises:
        ConfigurationError: It does not end.
    """
    deadline = time.monotonic() + _PATIENCE_S
    try:
        while not mark.share():
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    "store: an `apikeyrouter` command is at work on it: let that end, or stop it"
                )
            await asyncio.sleep(_LOOK_EVERY_S)
    except OSError:
        # What is wrong with the folder the store itself tells.
        return


def object_register_for(config: RouterConfig, store: StateStore) -> ObjectRegister:
    """Return what knows whose objects are; after a restart too if the store outlives it."""
    if not store.keeps_documents or config.store.startswith("memory:"):
        return MemoryObjectRegister()
    return KeptObjectRegister(store, on_error=_log_unkept)


def _log_unkept(error: Exception) -> None:
    _log.error("whose objects are could not be kept: %s", error)


def check_storage(config: RouterConfig, settings: RouterSettings) -> None:
    """Raise what would keep the service from starting, without touching the store or a file.

    Raises:
        ConfigurationError: An address that cannot be, a missing driver or encryption key.
    """
    store_of(config, settings)
    _key_of(config, settings)


def with_encryption_key(config: RouterConfig, settings: RouterSettings) -> RouterSettings:
    """Return settings with a key that outlives the process, if the state does.

    Without one in the settings it is read from a file beside a SQLite database, and made there
    first if need be.

    Raises:
        ConfigurationError: There is none, and none may be made.
    """
    file, key = _key_of(config, settings)
    if file is not None and key is None:
        try:
            key = make_key_in(file)
        except EncryptionError as error:
            raise ConfigurationError(str(error)) from error
        _log.warning(
            "made an encryption key in %s: keep it, and apart from the database; "
            "APIKEYROUTER_ENCRYPTION_KEY goes before it", file,
        )  # fmt: skip
    return settings.model_copy(update={"encryption_key": SecretStr(key)}) if key else settings


def _key_of(config: RouterConfig, settings: RouterSettings) -> tuple[Path | None, str | None]:
    """Return the file that holds the key, or may, and the key in it; neither if none is needed."""
    if settings.encryption_key is not None or config.store.startswith("memory:"):
        return None, None
    file = key_file_of(config.store)
    if file is None:
        raise ConfigurationError(f"{_MISSING}, so that stored secrets open after a restart")
    try:
        key = key_in(file)
    except EncryptionError as error:
        raise ConfigurationError(str(error)) from error
    if key is None and settings.environment.strip().lower() == "production":
        raise ConfigurationError(f"{_MISSING}; in production none is made for you")
    return file, key


_MISSING = (
    "APIKEYROUTER_ENCRYPTION_KEY is missing: set it to what `python -c 'from "
    "cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'` prints"
)
