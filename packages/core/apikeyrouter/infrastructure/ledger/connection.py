"""One connection over which scripts are called, several at once, in order.

The driver's pool gives each call a connection of its own; here calls follow each other on one
without waiting for answers, so that many cost little and what was sent first is carried out first.
"""

import asyncio
import math
import random
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from apikeyrouter.errors import ConfigurationError
from apikeyrouter.infrastructure.state_store.drivers import bare, driver

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
#: Redirections that one attempt to connect follows: on a cluster one node has all our names.
_MOST_MOVES = 3


class UnreachableError(Exception):
    """The server cannot be asked now; the message bears no password."""


class ScriptConnection:
    """Calls one script.

    Args:
        url: `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix://` for a socket.
        timeout_s: A call that takes longer has failed, and the connection with it.
    """

    def __init__(self, url: str, script: str, *, timeout_s: float) -> None:
        self.shown = bare(url)
        self._driver = driver("redis.asyncio", extra="redis")
        self._errors = driver("redis.exceptions", extra="redis")
        self._script = script
        self._digest = sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._timeout_s = timeout_s
        try:
            pool = self._driver.ConnectionPool.from_url(
                url, socket_connect_timeout=timeout_s * 4.0, socket_timeout=None
            )
        except ValueError as error:
            raise ConfigurationError(f"ledger: {self.shown}: {error}") from None
        self._pool = pool
        self._place: tuple[str, int] | None = None
        self._open: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._awaited: deque[asyncio.Future[bytes]] = deque()
        self._closing: set[asyncio.Task[None]] = set()
        self._pause_s, self._not_before = _FIRST_PAUSE_S, -math.inf
        self.trouble = ""

    async def call(self, names: Sequence[str], payload: bytes) -> bytes:
        """Call the script.

        Raises:
            UnreachableError: It could not be called, or nobody knows whether it was.
        """
        for _ in range(_MOST_MOVES):
            try:
                return await self._call("EVALSHA", self._digest, names, payload)
            except self._errors.NoScriptError:
                # A server that was started anew, or took over, has never seen it.
                return await self._call("EVAL", self._script, names, payload)
            except self._errors.MovedError as error:
                self._place = error.host, error.port
                self._drop("another node of the cluster has it")
        raise UnreachableError(f"{self.shown}: its cluster's nodes send to each other")

    async def connect(self) -> None:
        """Connect if that is not done yet, at most as often as the pauses allow.

        Raises:
            UnreachableError: It did not work, or must not be tried yet.
        """
        if self._open is not None:
            return
        loop = asyncio.get_running_loop()
        if self._opening is None or self._opening.get_loop() is not loop:
            if loop.time() < self._not_before:
                raise UnreachableError(self.trouble)
            self._opening = loop.create_task(self._reach())
        await asyncio.shield(self._opening)

    async def close(self) -> None:
        """Disconnect; the next call connects again."""
        self._drop("it was closed")
        await asyncio.gather(*self._closing, return_exceptions=True)
        self._not_before, self.trouble = -math.inf, ""

    async def _call(self, verb: str, script: str, names: Sequence[str], payload: bytes) -> bytes:
        await self.connect()
        connection = self._open
        if not connection.is_connected:
            # The driver would connect anew within the call, and read what the reader awaits.
            self._fail(connection, "it has closed the connection")
            raise UnreachableError(self.trouble)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        command = connection.pack_command(verb, script, len(names), *names, payload)
        self._awaited.append(answer)
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.send_packed_command(command, check_health=False)
                return await answer
        except TimeoutError:
            self._fail(connection, f"no answer within {self._timeout_s:g} s")
        except (self._errors.NoScriptError, self._errors.MovedError):
            raise
        except (self._errors.RedisError, OSError) as error:
            self._fail(connection, _reason(error))
        raise UnreachableError(self.trouble)

    async def _reach(self) -> None:
        try:
            await self._connect()
        except (self._errors.RedisError, OSError, TimeoutError) as error:
            self._place = None
            self._pause(_reason(error))
            raise UnreachableError(self.trouble) from None
        finally:
            self._opening = None
        self.trouble, self._pause_s = "", _FIRST_PAUSE_S

    async def _connect(self) -> None:
        connection = self._pool.make_connection()
        if self._place is not None:
            connection.host, connection.port = self._place
        try:
            async with asyncio.timeout(self._timeout_s * 8.0):
                await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        self._open = connection
        self._reader = asyncio.get_running_loop().create_task(self._read(connection))

    async def _read(self, connection: Any) -> None:
        try:
            while True:
                try:
                    answer: Any = await connection.read_response(
                        disable_decoding=True, timeout=math.inf
                    )
                except self._errors.ResponseError as error:
                    answer = error
                if self._awaited:
                    self._deliver(self._awaited.popleft(), answer)
        except (self._errors.RedisError, OSError) as error:
            self._fail(connection, _reason(error))

    def _deliver(self, waiting: "asyncio.Future[bytes]", answer: Any) -> None:
        if waiting.done():
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)

    def _fail(self, connection: Any, reason: str) -> None:
        """Give up a connection: which answer belongs to which call is not known any more."""
        if connection is self._open:
            self._drop(reason)
            self._pause(reason)

    def _pause(self, reason: str) -> None:
        """Connect again after a while, each process at another moment."""
        self.trouble = f"{self.shown}: {reason}"
        pause_s = self._pause_s * (0.5 + random.random())  # noqa: S311 - no secret
        self._not_before = asyncio.get_running_loop().time() + pause_s
        self._pause_s = min(_LONGEST_PAUSE_S, 2.0 * self._pause_s)

    def _drop(self, reason: str) -> None:
        connection, self._open = self._open, None
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.cancel()
        if connection is not None:
            closing = asyncio.get_running_loop().create_task(connection.disconnect(nowait=True))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        while self._awaited:
            waiting = self._awaited.popleft()
            if not waiting.done():
                waiting.set_exception(UnreachableError(f"{self.shown}: {reason}"))


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
