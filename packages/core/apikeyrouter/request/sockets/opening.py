"""A WebSocket to whichever key can take one: its messages pass, and only their usage is read."""

import asyncio
from collections.abc import AsyncIterator, Callable

from apikeyrouter.dialects.openai_responses.events import read_told
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.interfaces.provider_adapter import WireAdapter
from apikeyrouter.domain.interfaces.wire import UpgradeRefusedError, WireRequest, WireSocket
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS
from apikeyrouter.request.acceptance import Answer
from apikeyrouter.request.attempt_loop import AttemptLoop

#: A provider that has not opened one within this opens none.
_PATIENCE_S = 10.0
#: Stands in messages that tell usage.
_TELLS_USAGE = b'"response.done"'


class MeteredSocket:
    """A WebSocket whose attempt is settled when it closes, at all that its answers have told."""

    def __init__(self, attempt: Attempt, socket: WireSocket) -> None:
        self.attempt = attempt
        self._socket = socket
        self._used = Usage(0, 0)

    async def send(self, message: str) -> None:
        """Send a message.

        Raises:
            ConnectionError: It is closed.
        """
        await self._socket.send(message)

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield what comes until it is closed."""
        while (data := await self._socket.receive()) is not None:
            if _TELLS_USAGE in data:
                self._add(data)
            yield data

    async def close(self) -> None:
        """Close it; closing twice is nothing."""
        if self.attempt.is_open:
            self.attempt.settle(usage=self._used)
        await self._socket.close()

    def _add(self, data: bytes) -> None:
        told = read_told(data)
        usage = told.tokens if told is not None and told.is_last else None
        if usage is not None:
            self._used = self._used.plus(usage)


async def connect_by(
    attempts: AttemptLoop, request_for: Callable[[Attempt], WireRequest]
) -> MeteredSocket | Answer:
    """Make attempts until a WebSocket is open, which the caller closes; else tell the last failure.

    Raises:
        NoEligibleKeysError: Nobody has room in time.
    """
    try:
        async for attempt in attempts:
            socket = await _connect(attempt, request_for(attempt))
            if socket is not None:
                attempt.answered()
                attempt.is_streaming = True
                return MeteredSocket(attempt, socket)
    finally:
        attempts.close()
    failure = attempts.final_failure()
    return Answer(failure.status or 0, (), attempts.last, failure=failure)


async def _connect(attempt: Attempt, request: WireRequest) -> WireSocket | None:
    adapter = attempt.provider.adapter
    with attempt:
        if not isinstance(adapter, WireAdapter):
            return None
        try:
            async with asyncio.timeout(_PATIENCE_S):
                socket = await adapter.connect(request, attempt.slot.secret)
        except UpgradeRefusedError as error:
            attempt.fail(adapter.classify(error.status, error.headers, b"", attempt.wall()))
            return None
        except TRANSPORT_ERRORS as error:
            attempt.fail(adapter.classify_exception(error))
            return None
        attempt.is_streaming = True
        return socket
