"""What one process of a service learns, or is ordered by its operators, is known to the others.

Of what was ordered the others are told that it has changed, and read it from the store that all
share; a store in memory is no such store.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Protocol

from apikeyrouter import ApiKeyRouter
from apikeyrouter.service import (
    CATALOGUE,
    ObjectRegister,
    Spreading,
    UnreadableRecordError,
    make_adapter,
    missing_address,
    share_learning,
)

_log = logging.getLogger("apikeyrouter")


class Kept(Protocol):
    """Things of one kind that operators change, kept in the store.

    Attributes:
        kind: Of their documents.
        on_change: Told of the name of one that was changed here.
    """

    kind: str
    on_change: Callable[[str], None]

    async def reread(self, name: str) -> None:
        """Take up what another process has made of one."""

    async def reread_all(self) -> None:
        """Take up what other processes have made of all."""


def spreading_of(
    router: ApiKeyRouter,
    url: str,
    *,
    kept: Iterable[Kept],
    objects: ObjectRegister,
    changing: asyncio.Lock,
) -> Spreading:
    """Return what is to be started once *router* is what its configuration says.

    Args:
        kept: What operators change beside keys.
        changing: Held by whoever changes something.
    """
    spreading = share_learning(
        router, url, on_error=_tell, ensure_provider=partial(_ensure_provider, router)
    )
    spreading.add_objects(objects)
    for things in kept:
        things.on_change = spreading.add_documents(
            things.kind,
            read=partial(_read, changing, things.reread),
            read_all=partial(_read, changing, things.reread_all),
        )
    return spreading


async def _read(changing: asyncio.Lock, read: Callable[..., Awaitable[None]], *names: str) -> None:
    """Read while nobody changes anything; what cannot be read stays as it is here."""
    async with changing:
        try:
            await read(*names)
        except UnreadableRecordError as error:
            _tell(error)


async def _ensure_provider(router: ApiKeyRouter, name: str) -> bool:
    """Let a provider of the catalogue be used, as the process has that was given a key of it."""
    row = CATALOGUE.get(name)
    if row is None or missing_address(row):
        return False
    await router.register_provider(name, make_adapter(name))
    return True


def _tell(error: Exception) -> None:
    _log.warning("between processes: %s", error)
