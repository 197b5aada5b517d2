"""The one error that adapters raise, with its categories."""

from enum import StrEnum
from typing import Any

from apikeyrouter.errors import ApiKeyRouterError


class ErrorCategory(StrEnum):
    """What kind of failure it was, in nine words."""

    AuthenticationError = "authentication_error"
    RateLimitError = "rate_limit_error"
    QuotaExceededError = "quota_exceeded_error"
    ProviderError = "provider_error"
    TimeoutError = "timeout_error"
    NetworkError = "network_error"
    ValidationError = "validation_error"
    BudgetExceededError = "budget_exceeded_error"
    UnknownError = "unknown_error"

    AUTHENTICATION_ERROR = "authentication_error"
    RATE_LIMIT_ERROR = "rate_limit_error"
    QUOTA_EXCEEDED_ERROR = "quota_exceeded_error"
    PROVIDER_ERROR = "provider_error"
    TIMEOUT_ERROR = "timeout_error"
    NETWORK_ERROR = "network_error"
    VALIDATION_ERROR = "validation_error"
    BUDGET_EXCEEDED_ERROR = "budget_exceeded_error"
    UNKNOWN_ERROR = "unknown_error"


class SystemError(ApiKeyRouterError):
    """A request failed at a provider.

    Attributes:
        category: The kind of failure.
        message: What happened, without secrets.
        provider_code: The provider's own code or type.
        retryable: `False` from a user's adapter means exactly one call.
        details: Anything else worth knowing; `status` when there was one.
        retry_after: Seconds the provider told to wait.
    """

    def __init__(
        self,
        category: ErrorCategory,
        message: str,
        provider_code: str | None = None,
        retryable: bool = False,
        details: dict[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.category = category
        self.message = message
        self.provider_code = provider_code
        self.retryable = retryable
        self.details = details or {}
        self.retry_after = retry_after
