"""A stream that settles its attempt when it closes.

Bytes pass as they come; stars stand for our credential where a piece repeats
it. What usage the stream tells settles the hold at its true end; a stream that
is cut, stalls, or ends without saying that it is complete raises after its last
byte, so that whoever reads it can tell the client. Closing early cancels the
provider's call.

A provider is blamed for its silence only while it is awaited, and for breaking
off only where its reader has not held it back.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Self

from msgspec.structs import replace

from apikeyrouter.dialects.dialect import Tap
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.wire import WireResponse
from apikeyrouter.domain.key_material import masked_in
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.infrastructure.adapters.transport import HELD_BACK_BYTES, TRANSPORT_ERRORS

_NOT_AWAITED = math.inf
#: So long after it was held back a provider may still break off because of that.
_HOLDING_COUNTS_S = 60.0


class _Nothing(AsyncIterator[bytes]):
    """What comes of a stream that was ended here."""

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration


class MeteredStream:
    """An answer on its way: iterate it to the end, or close it.

    Raises:
        SystemError: While iterating: the stream broke off.
    """

    __slots__ = (
        "_attempt", "_awaited_since", "_chunks", "_deadline", "_first", "_held_back_at",
        "_longest_gap_s", "_response", "_secret", "_stall_s", "_tap", "_time", "_timer", "_why",
    )  # fmt: skip

    def __init__(
        self,
        attempt: Attempt,
        response: WireResponse,
        *,
        first: bytes,
        tap: Tap,
        deadline: float | None,
        stall_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._attempt = attempt
        self._response = response
        self._chunks: AsyncIterator[bytes] = response.chunks
        self._first: bytes | None = first
        self._tap = tap
        self._secret = attempt.slot.secret.encode()
        self._time = loop.time
        self._stall_s = stall_s
        self._longest_gap_s = 0.0
        self._deadline = deadline if deadline is not None else math.inf
        #: The loop's time since when the provider is awaited.
        self._awaited_since = _NOT_AWAITED
        #: When its reader last let the provider wait.
        self._held_back_at = -math.inf
        #: What the clock has ended it for.
        self._why = ""
        self._timer: asyncio.TimerHandle | None = None
        self._look_at(loop.time() + stall_s)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._first is not None:
                chunk, self._first = self._first, None
            else:
                self._awaited_since = self._time()
                try:
                    chunk = await self._chunks.__anext__()
                except StopAsyncIteration:
                    if rest := self._finish():
                        return rest
                    raise
                except TRANSPORT_ERRORS as error:
                    if not self._tap.complete:
                        raise self._broke(self._reason(error)) from None
                    # Everything was there: how the connection ended does not matter.
                    if rest := self._finish():
                        return rest
                    raise StopAsyncIteration from None
                self._note_gap()
            if len(chunk) > HELD_BACK_BYTES:
                self._held_back_at = self._time()
            passed = self._tap.feed(chunk)
            if passed:
                return masked_in(passed, self._secret)

    async def aclose(self) -> None:
        """Stop here: the call to the provider is cancelled, the hold settled."""
        self.close()

    def close(self) -> None:
        """Stop here. Closing twice, or after the end, is nothing."""
        self._stop_timer()
        self._hang_up()
        if self._attempt.is_open:
            self._settle_as_cancelled()

    def reject(self, failure: Failure) -> None:
        """Take it for *failure*: nobody has a use for it."""
        self._stop_timer()
        self._hang_up()
        self._attempt.fail(failure)

    @property
    def stall_timeout_s(self) -> float:
        """How long it may be silent, in seconds."""
        return self._stall_s

    @property
    def error(self) -> bytes | None:
        """The error that the provider put into the stream, as JSON; `None` so far."""
        return self._tap.error

    def _note_gap(self) -> None:
        gap_s = self._time() - self._awaited_since
        if gap_s > self._longest_gap_s:
            self._longest_gap_s = gap_s
        self._awaited_since = _NOT_AWAITED

    def _finish(self) -> bytes:
        if not self._attempt.is_open:
            if self._why:
                raise self._broke(self._why)
            return b""
        rest = self._tap.finish()
        self._stop_timer()
        self._response.close()
        if self._tap.error is not None:
            # The client reads it in the stream itself; nobody has to add anything.
            failure = Failure(FailureClass.MID_STREAM, "the provider sent an error")
            self._fail(failure)
        elif self._tap.complete:
            self._attempt.grant.candidate.health.note_stream(self._longest_gap_s)
            self._attempt.settle(usage=self._tap.usage, counted=self._counted())
        else:
            raise self._broke("the stream ended without a finish reason")
        return rest

    def _settle_as_cancelled(self) -> None:
        usage = self._told_so_far()
        if usage is not None:
            self._attempt.settle(usage=usage)
        else:
            self._attempt.cancel(counted=self._counted())

    def _fail(self, failure: Failure) -> None:
        self._attempt.fail(failure, self._told_so_far(), counted=self._counted())

    def _told_so_far(self) -> Usage | None:
        """Return what was told; of an answer that has not ended at least the output that came."""
        told = self._tap.usage
        if told is None or self._tap.complete:
            return told
        output = max(told.output_tokens, self._tap.output_chunks)
        return replace(told, output_tokens=output, exact=False)

    def _counted(self) -> Usage | None:
        """Return an estimate of what was used, if nothing is told: its input and what came."""
        if self._tap.usage is not None:
            return None
        return Usage(self._attempt.demand.input_tokens, self._tap.output_chunks, exact=False)

    def _broke(self, why: str) -> SystemError:
        self._stop_timer()
        self._response.close()
        message = f"provider {self._attempt.provider.id} broke off its answer: {why}"
        if self._attempt.is_open:
            if self._time() - self._held_back_at < _HOLDING_COUNTS_S:
                self._settle_as_cancelled()
            else:
                self._fail(Failure(FailureClass.MID_STREAM, message))
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
            self._attempt.grant.candidate.health.note_stream(silent_s)
            self._expire(why, Failure(FailureClass.MID_STREAM, why))
        else:
            self._look_at(min(now, self._awaited_since) + self._stall_s)

    def _expire(self, why: str, failure: Failure) -> None:
        self._why = why
        self._hang_up()
        if not self._attempt.is_open:
            return
        if self._awaited_since == _NOT_AWAITED:
            # The reader is what took so long.
            self._settle_as_cancelled()
        else:
            self._fail(failure)

    def _hang_up(self) -> None:
        """Cancel the provider's call; what it has sent already is not read any more."""
        self._response.close()
        self._chunks = _Nothing()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def settle_at(attempt: Attempt, usage: Usage | None) -> None:
    """End *attempt* well at what the answer told; at the estimate when it told nothing."""
    attempt.settle(usage=usage)
