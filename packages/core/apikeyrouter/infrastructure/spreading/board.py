"""The board on Redis or Valkey: a bounded stream of notices, and the latest of each name.

The latest stand on two shelves: what clients can name has one of its own, so that no client can
push off it what is known of keys and accounts.

Every notice has a number one higher than the one before: a reader that misses one, since it was
away for longer than the stream is or since the server has lost some, reads the latest of all
names instead. All names bear one hash tag, so that a cluster keeps them together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from apikeyrouter.errors import StateStoreError
from apikeyrouter.infrastructure.state_store.drivers import bare, driver

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PUBLISH = files(__package__).joinpath("publish.lua").read_text("utf-8")
#: So many notices are kept for whoever is behind, and for how long.
NOTICES_KEPT, _KEPT_S = 10_000, 40 * 86_400
_PATIENCE_S, _BLOCK_MS, _AT_ONCE = 10.0, 2_000, 256
_BEGINNING = "0-0"


class Shelf(IntEnum):
    """Where the latest notice of a name stands."""

    #: Nobody who comes later needs it.
    NONE = 0
    #: What operators name: keys, accounts.
    OURS = 1
    #: What clients name: models.
    ASKED = 2


#: The latest notices of so many names are kept on each shelf.
NAMES_KEPT = {Shelf.OURS: 40_000, Shelf.ASKED: 4_000}


class Entry(NamedTuple):
    """A notice to be published."""

    shelf: Shelf
    name: str
    age_s: float
    data: bytes


class Posted(NamedTuple):
    """A notice as it stands on the board, observed at an instant by the server's clock."""

    at: float
    data: bytes


@dataclass(slots=True)
class Position:
    """How far a reader has come: the stream's own id, and the number of the last notice."""

    id: str = _BEGINNING
    number: int = 0


@dataclass(slots=True)
class Batch:
    """What a reader is given.

    Attributes:
        is_whole: Nothing is missing between the last batch and this one.
        is_renumbered: The server has forgotten notices that there were before.
    """

    posted: list[Posted] = field(default_factory=list)
    is_whole: bool = True
    is_renumbered: bool = False


class NoticeBoard:
    """Notices of all processes that share a server.

    Args:
        url: As of `RedisStateStore`.
        prefix: What all names begin with, so that several routers share a server.

    Raises:
        StateStoreError: The driver is missing, or the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "apikeyrouter",
        most_names: Mapping[Shelf, int] = NAMES_KEPT,
        most_notices: int = NOTICES_KEPT,
    ) -> None:
        self._shown = bare(url)
        client = driver("redis.asyncio", extra="redis").Redis
        #: What the server raises: whoever calls waits and tries again.
        self.errors: tuple[type[Exception], ...] = (
            driver("redis.exceptions", extra="redis").RedisError, OSError,
        )  # fmt: skip
        try:
            self._redis: Redis = client.from_url(
                url, socket_connect_timeout=_PATIENCE_S, socket_timeout=_PATIENCE_S
            )
        except ValueError as error:
            raise StateStoreError(f"{self._shown}: {error}") from None
        tag = f"{{{prefix}:notices}}:"
        self._stream, self._count = tag + "stream", tag + "count"
        self._shelves = [
            (f"{tag}latest:{shelf.name.lower()}", f"{tag}observed:{shelf.name.lower()}")
            for shelf in most_names
        ]
        self._keys = [self._stream, self._count, *chain.from_iterable(self._shelves)]
        self._bounds = (most_notices, _KEPT_S, *most_names.values())

    def __repr__(self) -> str:
        return f"NoticeBoard({self._shown!r})"

    @property
    def address(self) -> str:
        """Where it is, without a password."""
        return self._shown

    async def close(self) -> None:
        """Disconnect; the next call connects again."""
        await self._redis.aclose()

    async def now(self) -> float:
        """Return the server's time, in seconds since the epoch."""
        told: Any = await self._redis.time()
        return float(told[0]) + float(told[1]) / 1e6

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Put notices on the board, all or none of them."""
        values: list[Any] = list(self._bounds)
        for entry in entries:
            values += [entry.shelf.value, entry.name, f"{entry.age_s:.6f}", entry.data]
        await _result(self._redis.eval(_PUBLISH, len(self._keys), *self._keys, *values))

    async def last_number(self) -> int:
        """Return the number of the last notice; 0 if there is none."""
        return int(await _result(self._redis.get(self._count)) or 0)

    async def snapshot(self, position: Position) -> list[Posted]:
        """Return the latest notice of each name, and bring *position* to the end."""
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.get(self._count)
            pipe.xrevrange(self._stream, count=1)
            for latest, observed in self._shelves:
                pipe.hgetall(latest)
                pipe.zrange(observed, 0, -1, withscores=True)
            count, last, *told = await pipe.execute()
        position.number = int(count or 0)
        position.id = last[0][0].decode() if last else _BEGINNING
        return [
            Posted(at, latest[name])
            for latest, observed in zip(told[::2], told[1::2], strict=True)
            for name, at in observed
            if name in latest
        ]

    async def read(self, position: Position) -> Batch:
        """Return what was published after *position*, and go on; wait a while for the first."""
        told: Any = await _result(
            self._redis.xread({self._stream: position.id}, count=_AT_ONCE, block=_BLOCK_MS)
        )
        batch = Batch()
        for name, fields in told[0][1] if told else ():
            number = _number(fields.get(b"n"))
            batch.is_whole = batch.is_whole and number == position.number + 1
            batch.is_renumbered = batch.is_renumbered or number <= position.number
            position.id, position.number = name.decode(), number
            batch.posted.append(Posted(_instant(fields.get(b"a")), fields.get(b"d") or b""))
        return batch


async def _result(answer: Any) -> Any:
    """Await what the driver declares as an answer or a promise of one."""
    return await answer


def _number(told: bytes | None) -> int:
    return int(told) if told is not None and told.isdigit() and len(told) < 20 else -1


def _instant(told: bytes | None) -> float:
    try:
        return float(told or b"nan")
    except ValueError:
        return float("nan")
