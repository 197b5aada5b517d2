"""Raw bytes to whichever key has room, and its answer back."""

from collections.abc import Callable

from apikeyrouter.dialects.translation import Translations
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.interfaces.wire import WireRequest
from apikeyrouter.request.attempt_loop import AttemptLoop
from apikeyrouter.request.exchange import Answer, Sender, exchange


async def forward_by(
    attempts: AttemptLoop,
    request_for: Callable[[Attempt], WireRequest],
    withhold_usage: Callable[[Attempt], bool] | None,
    *,
    lenient: bool,
    send: Sender | None = None,
) -> Answer:
    """Make attempts until one is answered; else return the last provider's refusal.

    Args:
        request_for: Builds the outgoing request for the key and model of an attempt.
        withhold_usage: Tells whether the usage event was our own wish.
        lenient: Leave out what another dialect cannot carry, rather than refuse.
        send: Sends otherwise than by a request over HTTP.
    """
    deadline = attempts.loop_deadline()
    answer: Answer | None = None
    translations = Translations(lenient=lenient)
    try:
        async for attempt in attempts:
            answer = await exchange(
                attempt, request_for,
                deadline=deadline,
                withhold_usage=withhold_usage is not None and withhold_usage(attempt),
                translations=translations, send=send,
            )  # fmt: skip
            if answer is not None and (answer.failure is None or not attempt.tries_next):
                return answer
    finally:
        attempts.close()
    failure = attempts.final_failure()
    if answer is not None and answer.failure is failure and failure.kind.is_fault_of_request:
        # No other model could serve it: its provider's words are its answer.
        return answer
    return Answer(failure.status or 0, (), attempts.last, failure=failure)
