"""Who answers a command: the named service, else the one that holds the store, else the store.

Where a service runs over a store nobody else writes to it: what the service knows would be wrong.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from apikeyrouter.infrastructure.config.environment import merge_dotenv
from apikeyrouter.infrastructure.config.model import RouterConfig
from apikeyrouter.service import ServiceMark, bare, database_file_of
from apikeyrouter_proxy.cli.reach.credentials import management_key
from apikeyrouter_proxy.cli.reach.management import CommandError, Management, UnreachableError
from apikeyrouter_proxy.cli.reach.service import RunningService
from apikeyrouter_proxy.composition import read_config
from apikeyrouter_proxy.settings import ProxySettings

#: So long a command waits for a service that starts or ends, or for another command.
_PATIENCE_S, _LOOK_EVERY_S = 10.0, 0.1
_NEAR = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(slots=True, frozen=True)
class Place:
    """Where the options say that a command works.

    Attributes:
        offline: Nobody else works on the store; so says whoever gives the command.
        may_create: The command may begin a store.
    """

    config: Path | None = None
    url: str | None = None
    key_file: Path | None = None
    offline: bool = False
    may_create: bool = False


@asynccontextmanager
async def reached(place: Place) -> AsyncIterator[Management]:
    """Give a command whoever answers it, for as long as the block lasts.

    Raises:
        CommandError: Nobody does; the message says who might, and how.
        ConfigurationError: The configuration cannot be read.
    """
    url = place.url or merge_dotenv(os.environ).get("APIKEYROUTER_URL")
    if url:
        async with RunningService(url, management_key(place.key_file)) as service:
            yield service
        return
    config = read_config(place.config, os.environ)
    mark = ServiceMark(bare(config.store))
    try:
        found = await _Search(place, config, mark).url()
        if found is not None:
            async with RunningService(found, management_key(place.key_file)) as service:
                yield service
            return
        from apikeyrouter_proxy.cli.reach.store import opened_store, refuse_without_key

        name = shown(config)
        if is_there(config):
            refuse_without_key(config, name)
        async with opened_store(config, name) as store:
            yield store
    finally:
        mark.release()


class _Search:
    """Finds out whether a service holds the store, and where it is."""

    def __init__(self, place: Place, config: RouterConfig, mark: ServiceMark) -> None:
        self._place = place
        self._config = config
        self._mark = mark
        self._name = shown(config)

    async def url(self) -> str | None:
        """Return where the service is; `None` if the store is this process's alone now."""
        if not self._mark.is_seen:
            return None if self._place.offline else await self._url_of_unseen()
        if not is_there(self._config):
            await self._refuse_to_begin()
        deadline = time.monotonic() + _PATIENCE_S
        while not self._take():
            told = self._mark.told()
            url = None if self._place.offline else await self._holding(told)
            if url is not None:
                return url
            if time.monotonic() > deadline or (told and self._place.offline):
                raise UnreachableError(await self._holder(told))
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    async def _holding(self, told: str) -> str | None:
        """Return where the service is that holds the store."""
        # Whoever runs it otherwise than by `serve` does not tell where it is: what is told is of
        # one that was there before.
        for url in dict.fromkeys(filter(None, (told, self._configured_url()))):
            if await _store_at(url) == self._mark.store_id():
                return url
        return None

    def _take(self) -> bool:
        try:
            return self._mark.take_alone()
        except OSError as error:
            raise UnreachableError(
                f"the store {self._name} cannot be used: {error.strerror}"
            ) from error

    async def _url_of_unseen(self) -> str | None:
        """Return where the service of a store is that shows nobody who holds it."""
        url = self._configured_url()
        theirs = await _store_at(url)
        if theirs == self._mark.store_id():
            return url
        if theirs is not None:
            raise CommandError(self._other_store(url))
        if self._config.store.startswith("memory:"):
            raise UnreachableError(
                f"no service answers at {url}, and {self._name} keeps nothing without one: start "
                "it, or name it by --url"
            )
        raise UnreachableError(
            f"no service answers at {url}, but one elsewhere may work on the store {self._name}: "
            "name it by --url, or say --offline if none runs"
        )

    async def _refuse_to_begin(self) -> None:
        """Refuse a store that is not there, but for commands that may begin one."""
        if self._place.offline and self._place.may_create:
            return
        url = self._configured_url()
        if await _store_at(url) is not None:
            raise CommandError(self._other_store(url))
        if not self._place.may_create:
            raise UnreachableError(
                f"there is no store {self._name}, and no service answers at {url}: run this where "
                "the service runs, or name its configuration by --config or its address by --url"
            )

    def _configured_url(self) -> str:
        """Return where a service of this configuration would be."""
        server = self._config.server
        host = _NEAR.get(server.host.strip("[]"), server.host.strip("[]"))
        port = ProxySettings().port or server.port
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def _holder(self, url: str) -> str:
        """Tell who keeps the store, as far as that can be seen."""
        if self._place.offline:
            return (
                f"the store {self._name} is in use: stop the service that runs, or leave --offline"
            )
        if not url:
            return (
                f"the store {self._name} is in use, by another command or by a service that does "
                "not tell its address: try again, or name the service by --url"
            )
        theirs = await _store_at(url)
        what = "nothing of the kind answers" if theirs is None else "one of another store answers"
        return (
            f"a service holds the store {self._name} and was at {url}, where {what}: name its "
            "address by --url"
        )

    def _other_store(self, url: str) -> str:
        return (
            f"the service at {url} works on another store than {self._name}: name its own "
            "configuration by --config or its address by --url; say --offline to work on "
            f"{self._name} all the same"
        )


def shown(config: RouterConfig) -> str:
    """Return the store of *config* as it may be shown."""
    file = database_file_of(bare(config.store))
    return bare(config.store) if file is None else str(file)


def is_there(config: RouterConfig) -> bool:
    """Tell whether the file of a store is there; of a store that is none nobody knows."""
    file = database_file_of(bare(config.store))
    return file is None or file.exists()


async def _store_at(url: str) -> str | None:
    if url.endswith(":0"):
        # A port that is chosen at the start.
        return None
    async with RunningService(url, None) as service:
        return await service.store_id()
