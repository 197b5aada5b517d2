"""A stream that settles its attempt when it closes.

Bytes pass as they come. What usage the stream tells settles the hold at its
true end; a stream that is cut, stalls, or ends without saying that it is
complete raises after its last byte, so that whoever reads it can tell the
client. Closing early cancels the provider's call.

A provider is blamed for its silence only while it is awaited: a reader that
pauses may be what makes it break off.
"""

import asyncio
import math
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

#: A reader that pauses for longer holds the provider back.
_PAUSE_S = 1.0
#: So long a provider may make up its mind to break off because of that.
_PAUSE_COUNTS_S = 60.0


class MeteredStream:
    """An answer on its way: iterate it to the end, or close it.

    Raises:
        SystemError: While iterating: the stream broke off.
    """

    __slots__ = (
        "_attempt", "_awaited_since", "_chunks", "_deadline", "_first", "_passed_at", "_paused_at",
        "_response", "_stall_s", "_tap", "_time", "_timer", "_why",
    )  # fmt: skip

    def __init__(
        self,
        attempt: Attempt,
        response: WireResponse,
        *,
        first: bytes,
        tap: StreamTap | BlindTap,
        deadline: float | None,
        stall_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._attempt = attempt
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.chunks
        self._first: bytes | None = first
        self._tap = tap
        self._time = loop.time
        self._stall_s = stall_s
        self._deadline = deadline if deadline is not None else math.inf
        #: The loop's time since when the provider is awaited; endless while the reader is.
        self._awaited_since = math.inf
        self._passed_at = now = loop.time()
        #: When the reader came back from a pause.
        self._paused_at = -math.inf
        #: What the clock has ended it for.
        self._why = ""
        self._timer: asyncio.TimerHandle | None = None
        self._look_at(now + stall_s)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._first is not None:
                chunk, self._first = self._first, None
            else:
                if not self._attempt.is_open:
                    if self._why:
                        raise self._broke(self._why)
                    raise StopAsyncIteration
                self._awaited_since = now = self._time()
                if now - self._passed_at > _PAUSE_S:
                    self._paused_at = now
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
            self._passed_at, self._awaited_since = self._time(), math.inf
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
            if self._time() - self._paused_at < _PAUSE_COUNTS_S:
                self._settle_as_cancelled()
            else:
                self._attempt.fail(Failure(FailureClass.MID_STREAM, message), self._tap.usage)
        return SystemError(ErrorCategory.ProviderError, message, details={"class": "mid_stream"})

    def _reason(self, error: Exception) -> str:
        if self._why:
            return self._why
        return "the connection was cut" if not isinstance(error, TimeoutError) else "it stalled"

    def _look_at(self, at: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(min(at, self._deadline), self._look)

    def _look(self) -> None:
        """End it though nobody may be reading: what it holds is not held beyond its time."""
        now = self._time()
        silent_s = max(0.0, now - self._awaited_since)
        if now >= self._deadline:
            failure = self._attempt.out_of_time(silent_s)
            self._expire("it took longer than a request may", failure)
        elif silent_s >= self._stall_s:
            why = f"it stalled for {silent_s:.1f} s"
            self._expire(why, Failure(FailureClass.MID_STREAM, why))
        else:
            self._look_at(min(now, self._awaited_since) + self._stall_s)

    def _expire(self, why: str, failure: Failure) -> None:
        self._why = why
        self._response.close()
        if not self._attempt.is_open:
            return
        if self._awaited_since == math.inf:
            # The reader is what took so long.
            self._settle_as_cancelled()
        else:
            self._attempt.fail(failure, self._tap.usage)

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
