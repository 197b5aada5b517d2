"""The event loop's half of the admission queue: one timer, one future a waiting request."""

import asyncio
import math
from collections.abc import Callable

from apikeyrouter.domain.components.routing_engine import Grant
from apikeyrouter.domain.feed.event_feed import EventFeed
from apikeyrouter.domain.feed.events import RequestDequeued, RequestQueued
from apikeyrouter.domain.queueing.admission_queue import AdmissionQueue, Refusal
from apikeyrouter.domain.routing.pending_request import PendingRequest

#: Timers fire a little early against the clock; waking twice costs more than this.
_TIMER_SLACK_S = 0.001
_LOOK_AGAIN_S = 1.0
#: The clock wakes nobody sooner after it has woken somebody: a wake costs more than a decision,
#: and several can share it.
_WAKE_EVERY_S = 0.01


class WaitingRoom:
    """The event loop's half of the queue: one timer, one future a waiting request."""

    def __init__(self, queue: AdmissionQueue, clock: Callable[[], float], feed: EventFeed) -> None:
        self.queue = queue
        self._clock = clock
        self._feed = feed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        #: When the clock last woke somebody.
        self._woke_at = -math.inf
        self._is_nudged = False

    def nudge(self) -> None:
        """Look at the queue again within this turn of the loop."""
        if self.queue.waiting and not self._is_nudged and self._loop is not None:
            self._is_nudged = True
            self._loop.call_soon(self._pump)

    async def wait(
        self,
        request: PendingRequest,
        *,
        deadline: float,
        wakes_at: float,
    ) -> Grant | Refusal:
        """Wait in line until there is room, or until *deadline*.

        A waiter that is cancelled leaves the line, and returns what it was
        granted in the same instant.
        """
        self._enter()
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Grant | Refusal] = loop.create_future()
        ticket = self.queue.join(
            request,
            deadline=deadline,
            deliver=lambda told: self._deliver(outcome, told),
            now=self._clock(),
        )
        if isinstance(ticket, Refusal):
            return ticket
        began_at = self._clock()
        self._tell_queued(request, began_at)
        told = "cancelled"
        self._arm(min(wakes_at, deadline))
        # It may fit where those before it do not, or go before them.
        self.nudge()
        try:
            found = await outcome
            told = "granted" if isinstance(found, Grant) else "refused"
            return found
        except asyncio.CancelledError:
            self.queue.leave(ticket)
            # Whoever stood behind it may fit where it did not.
            self.nudge()
            if outcome.done() and not outcome.cancelled():
                self._return(outcome.result())
            raise
        finally:
            self._tell_dequeued(request, told, began_at)

    def _tell_queued(self, request: PendingRequest, now: float) -> None:
        demand = request.demand
        if self._feed.wants(RequestQueued):
            self._feed.emit(
                RequestQueued(
                    demand.request_id, demand.model, demand.client, self.queue.waiting, at=now
                )
            )

    def _tell_dequeued(self, request: PendingRequest, outcome: str, began_at: float) -> None:
        now = self._clock()
        if self._feed.wants(RequestDequeued):
            self._feed.emit(
                RequestDequeued(
                    request.demand.request_id, outcome, now - began_at, self.queue.waiting, at=now
                )
            )

    def _enter(self) -> None:
        """Follow the loop in use; a loop that is gone took its timers with it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._timer, self._is_nudged = loop, None, False
            self._wakes_at = math.inf

    def _deliver(self, outcome: asyncio.Future[Grant | Refusal], told: Grant | Refusal) -> None:
        """Tell a waiter; one that left in this very turn returns what it was granted."""
        if outcome.done():
            self._return(told)
        else:
            outcome.set_result(told)

    def _return(self, outcome: Grant | Refusal) -> None:
        if isinstance(outcome, Grant):
            outcome.return_unused(self._clock())
            self.nudge()

    def _pump_by_clock(self) -> None:
        self._woke_at = self._clock()
        self._pump()

    def _pump(self) -> None:
        self._is_nudged = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wakes_at = math.inf
        # Whatever goes wrong with one request, the others are looked at again.
        wakes_at = self._clock() + _LOOK_AGAIN_S
        try:
            wakes_at = self.queue.pump(self._clock())
        finally:
            self._arm(wakes_at)

    def _arm(self, wakes_at: float) -> None:
        if wakes_at >= self._wakes_at or self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = wakes_at
        delay_s = max(wakes_at, self._woke_at + _WAKE_EVERY_S) - self._clock()
        self._timer = self._loop.call_later(max(0.0, delay_s) + _TIMER_SLACK_S, self._pump_by_clock)
