"""A classified failure: what went wrong, before anyone decides what follows.

Adapters turn statuses, bodies and exceptions into a `Failure`; the failure
table (domain/failures/table.py) maps its class to a consequence. Nothing here acts.
"""

from dataclasses import dataclass
from enum import StrEnum

from apikeyrouter.domain.limits.observation import ObservedLimit


class FailureClass(StrEnum):
    """Failure classes; each has consequences of its own."""

    RATE_LIMITED = "rate_limited"
    RATE_LIMITED_DAY = "rate_limited_day"
    TOO_BIG_FOR_LIMIT = "request_too_big_for_limit"
    SLOW_DOWN = "slow_down"
    ZERO_ALLOWANCE = "zero_allowance"
    QUOTA_BILLING = "quota_billing"
    IN_FLIGHT_BUDGET = "in_flight_budget"
    KEY_BUDGET = "key_budget"
    KEY_INVALID = "key_invalid"
    ACCOUNT_DISABLED = "account_disabled"
    MODEL_UNAVAILABLE = "model_unavailable"
    #: The model cannot do what this request asks of it; another model may.
    UNFIT_MODEL = "unfit_model"
    #: The provider speaks another dialect, which cannot carry what is asked; nothing was sent.
    UNTRANSLATABLE = "untranslatable"
    #: A 402, 403 or 404 without a reason: the request's size or content, the model, the account.
    UNEXPLAINED = "unexplained"
    REGION_BLOCKED = "region_blocked"
    IP_NOT_AUTHORIZED = "ip_not_authorized"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    UNREACHABLE = "unreachable"
    NETWORK = "network"
    TIMEOUT = "timeout"
    #: The caller's own time was over, and the provider had not had long enough to be blamed.
    OUT_OF_TIME = "out_of_time"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    BAD_REQUEST = "bad_request"
    CONFLICT = "conflict"
    #: There is no such object, or no such endpoint, where it was asked; elsewhere there may be.
    NOT_FOUND = "not_found"
    MID_STREAM = "mid_stream"

    @property
    def is_passing(self) -> bool:
        """Whether waiting helps, as for all limits that refill by themselves."""
        return self in _PASSING

    @property
    def is_fault_of_request(self) -> bool:
        """Whether the request alone is to blame, so that its provider's words are its answer."""
        return self in _OF_THE_REQUEST


_OF_THE_REQUEST = frozenset(
    {
        FailureClass.CONTEXT_LENGTH,
        FailureClass.CONTENT_FILTER,
        FailureClass.BAD_REQUEST,
        FailureClass.UNFIT_MODEL,
        FailureClass.UNTRANSLATABLE,
        FailureClass.NOT_FOUND,
    }
)
_PASSING = frozenset(
    {
        FailureClass.RATE_LIMITED,
        FailureClass.RATE_LIMITED_DAY,
        FailureClass.SLOW_DOWN,
        FailureClass.IN_FLIGHT_BUDGET,
    }
)
#: What is said of a model that an account may not have.
MODEL_REFUSED = frozenset({FailureClass.MODEL_UNAVAILABLE, FailureClass.UNEXPLAINED})
#: Everything else is a refusal, or never reached the provider.
_MAY_BE_SERVED = frozenset(
    {
        FailureClass.NETWORK,
        FailureClass.TIMEOUT,
        FailureClass.OUT_OF_TIME,
        FailureClass.MID_STREAM,
    }
)


@dataclass(slots=True, frozen=True)
class Failure:
    """One failed attempt, as far as its answer tells.

    Attributes:
        kind: The class.
        message: The provider's own words, shortened to 500 characters; never a secret.
        status: HTTP status, or `None` when no answer came.
        code: The provider's error code or type.
        retry_after_s: The wait the provider told, in seconds; `None` untold.
        opens_in_s: Seconds until an instant that the provider told, such as the
            first of next month; `None` untold, never below 0.
        limits: Every limit that the refusal's headers and body reveal.
        account: Organisation, project or team that the answer names; empty if none.
    """

    kind: FailureClass
    message: str
    status: int | None = None
    code: str | None = None
    retry_after_s: float | None = None
    opens_in_s: float | None = None
    limits: tuple[ObservedLimit, ...] = ()
    account: str = ""

    @property
    def may_be_served(self) -> bool:
        """Whether the provider may have served the call, and charges it.

        An answer that refuses it shows that it did not.
        """
        return self.status is None and self.kind in _MAY_BE_SERVED
