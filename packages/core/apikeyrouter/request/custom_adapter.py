"""One attempt through a user's own adapter: `ProviderAdapter` and nothing else.

Its methods may be coroutines or plain functions. Whatever it raises or returns,
the attempt ends once; a `SystemError` that is not retryable means exactly one call.
"""

import inspect
from typing import Any

from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.interfaces.provider_adapter import ProviderAdapter
from apikeyrouter.domain.models.request_intent import RequestIntent
from apikeyrouter.domain.models.system_error import ErrorCategory, SystemError
from apikeyrouter.domain.models.system_response import SystemResponse
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.infrastructure.adapters.http_adapter import system_error_of
from apikeyrouter.request.deadline import Deadline

_CLASS_OF: dict[ErrorCategory, FailureClass] = {
    ErrorCategory.AuthenticationError: FailureClass.KEY_INVALID,
    ErrorCategory.RateLimitError: FailureClass.RATE_LIMITED,
    ErrorCategory.QuotaExceededError: FailureClass.QUOTA_BILLING,
    ErrorCategory.ProviderError: FailureClass.SERVER_ERROR,
    ErrorCategory.TimeoutError: FailureClass.TIMEOUT,
    ErrorCategory.NetworkError: FailureClass.NETWORK,
    ErrorCategory.ValidationError: FailureClass.BAD_REQUEST,
    ErrorCategory.BudgetExceededError: FailureClass.BAD_REQUEST,
    ErrorCategory.UnknownError: FailureClass.SERVER_ERROR,
}


async def call_adapter(
    attempt: Attempt, adapter: ProviderAdapter, intent: RequestIntent, deadline: float
) -> SystemResponse | None:
    """Make one call; the attempt has ended.

    Args:
        deadline: The loop's time at which the call is given up.

    Returns:
        The answer, or `None` when another key may be tried.

    Raises:
        SystemError: The adapter says that nobody else is to be tried.
    """
    limit = Deadline(deadline)
    try:
        return await _call(attempt, adapter, intent, limit)
    except Exception as error:
        if limit.is_over:
            failure = attempt.out_of_time()
            attempt.fail(failure)
            raise system_error_of(failure) from error
        told = await _awaited(adapter.map_error(error))
        consequence = attempt.fail(_failure_from(told))
        if not told.retryable or not consequence.try_next:
            raise told from error
        return None
    finally:
        if attempt.is_open:
            attempt.cancel()


async def _call(
    attempt: Attempt, adapter: ProviderAdapter, intent: RequestIntent, limit: Deadline
) -> SystemResponse:
    with limit:
        raw = await _awaited(adapter.execute_request(intent, attempt.slot.record))
        response = raw
        if not isinstance(raw, SystemResponse):
            response = await _awaited(adapter.normalize_response(raw))
    if not isinstance(response, SystemResponse):
        name = type(adapter).__name__
        raise SystemError(
            ErrorCategory.ProviderError,
            f"{name}.normalize_response should return a SystemResponse, "
            f"not {type(response).__name__}",
        )
    usage = response.metadata.tokens_used
    if usage.total_tokens:
        attempt.settle(usage=Usage.of(usage))
    else:
        attempt.settle()
    return complete(response, attempt)


async def _awaited(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def _failure_from(error: SystemError) -> Failure:
    status = error.details.get("status")
    return Failure(
        kind=_CLASS_OF[error.category],
        message=error.message[:500],
        status=status if isinstance(status, int) else None,
        code=error.provider_code,
        retry_after_s=error.retry_after,
    )


def complete(response: SystemResponse, attempt: Attempt) -> SystemResponse:
    """Fill in what only the router knows."""
    metadata = response.metadata
    metadata.request_id = response.request_id = attempt.demand.request_id
    metadata.provider_id = metadata.provider_id or attempt.provider.id
    metadata.response_time_ms = (attempt.now() - attempt.record.arrived_at) * 1000.0
    response.key_used = attempt.slot.id
    return response
