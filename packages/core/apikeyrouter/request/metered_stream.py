"""A stream that settles its attempt when it closes.

Bytes pass as they come. What usage the stream tells settles the hold at its
true end; a stream that is cut, stalls past its deadline, or ends without
saying that it is complete raises after its last byte, so that whoever reads it
can tell the client. Closing early cancels the provider's call.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Self

from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.domain.models.wire import WireResponse
from apikeyrouter.infrastructure.adapters.content_coding import BlindTap
from apikeyrouter.infrastructure.adapters.transport import TRANSPORT_ERRORS
from apikeyrouter.infrastructure.adapters.usage_tap import StreamTap


class MeteredStream:
    """An answer on its way: iterate it to the end, or close it.

    Raises:
        SystemError: While iterating: the stream broke off.
    """

    __slots__ = ("_attempt", "_chunks", "_first", "_response", "_tap", "_timed_out", "_timer")

    def __init__(
        self,
        attempt: Attempt,
        response: WireResponse,
        *,
        first: bytes,
        tap: StreamTap | BlindTap,
        deadline: float | None,
    ) -> None:
        self._attempt = attempt
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.chunks
        self._first: bytes | None = first
        self._tap = tap
        self._timed_out = False
        self._timer: asyncio.TimerHandle | None = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._first is not None:
                chunk, self._first = self._first, None
            else:
                if not self._attempt.is_open:
                    if self._timed_out:
                        raise self._broke(self._reason(TimeoutError()))
                    raise StopAsyncIteration
                try:
                    chunk = await self._chunks.__anext__()
                except StopAsyncIteration:
                    if rest := self._finish():
                        return rest
                    raise
                except TRANSPORT_ERRORS as error:
                    if not self._tap.complete:
                        raise self._broke(self._reason(error)) from None
                    # Everything was there: how the connection ended is nobody's concern.
                    if rest := self._finish():
                        return rest
                    raise StopAsyncIteration from None
            passed = self._tap.feed(chunk)
            if passed:
                return passed

    async def aclose(self) -> None:
        """Stop here: the call to the provider is cancelled, the hold settled."""
        self.close()

    def close(self) -> None:
        """Stop here. Closing twice, or after the end, is nothing."""
        self._stop_timer()
        self._response.close()
        if self._attempt.is_open:
            self._settle_as_cancelled()

    @property
    def error(self) -> bytes | None:
        """The error that the provider put into the stream, as JSON; `None` so far."""
        return self._tap.error

    def _finish(self) -> bytes:
        rest = self._tap.finish()
        self._stop_timer()
        self._response.close()
        if self._tap.error is not None:
            # The client reads it in the stream itself; nobody has to add anything.
            failure = Failure(FailureClass.MID_STREAM, "the provider sent an error")
            self._attempt.fail(failure, self._tap.usage)
        elif self._tap.complete:
            settle_at(self._attempt, self._tap.usage)
        else:
            raise self._broke("the stream ended without a finish reason")
        return rest

    def _settle_as_cancelled(self) -> None:
        usage = self._tap.usage
        if usage is not None:
            settle_at(self._attempt, usage)
        else:
            self._attempt.cancel()

    def _broke(self, why: str) -> SystemError:
        self._stop_timer()
        self._response.close()
        message = f"provider {self._attempt.provider.id} broke off its answer: {why}"
        if self._attempt.is_open:
            self._attempt.fail(Failure(FailureClass.MID_STREAM, message), self._tap.usage)
        return SystemError(ErrorCategory.ProviderError, message, details={"class": "mid_stream"})

    def _reason(self, error: Exception) -> str:
        if self._timed_out:
            return "it took longer than a request may"
        return "the connection was cut" if not isinstance(error, TimeoutError) else "it stalled"

    def _expire(self) -> None:
        """End it though nobody may be reading: what it holds is not held beyond its time."""
        self._timed_out = True
        self._response.close()
        if self._attempt.is_open:
            self._attempt.fail(self._attempt.out_of_time(), self._tap.usage)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def settle_at(attempt: Attempt, usage: Usage | None) -> None:
    """End *attempt* well at what the answer told; at the estimate when it told nothing."""
    if usage is None:
        attempt.settle()
    else:
        attempt.settle(usage.input_tokens, usage.output_tokens, usage.cached_tokens)
