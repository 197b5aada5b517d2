"""What follows from a failure: one row a class.

A failure is blamed on what failed: the key, the scope whose limit it was, the
model within it, the provider, or the request itself. The row says what is
cooled and for how long, whether another candidate is tried, and whether that
spends a retry. A wait that a provider told is kept, up to a day; jitter is
not added here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.limits.observation import DAY_S, HOUR_S
from apikeyrouter.domain.models.api_key import KeyState

#: From here on every wait has reached its cap.
_MOST_DOUBLINGS = 32
#: A told wait is believed no longer than this; then a call finds out.
LONGEST_TOLD_S = DAY_S


class Blame(StrEnum):
    """What a failure is blamed on."""

    KEY = "key"
    SCOPE = "scope"
    MODEL_IN_SCOPE = "model in this scope"
    KEY_MODEL = "model for this key"
    #: Counted by the circuit of provider and model.
    PROVIDER = "provider"
    REQUEST = "request"
    NOBODY = "nobody"


@dataclass(slots=True, frozen=True)
class Consequence:
    """What follows.

    Attributes:
        key_state: Where the key moves, if it may.
        cool_s: First wait in seconds when the provider told none; 0 where a
            circuit says how long, or nothing rests.
        longest_s: The untold wait grows no longer than this.
        growth: With each further refusal in a row the untold wait is this much longer.
        try_next: Another candidate is tried.
        same_key_retry: The same key may serve this request later.
        whole_account: What refused it holds for all keys of the account.
        other_model: Only another model, or another provider, may serve this request.
        spends_retry: It counts against the retries of this request.
        probe: A call that costs nothing confirms it, and tells when it is over.
    """

    blame: Blame
    key_state: KeyState | None = None
    cool_s: float = 0.0
    longest_s: float = 0.0
    growth: float = 2.0
    try_next: bool = True
    same_key_retry: bool = True
    whole_account: bool = False
    other_model: bool = False
    spends_retry: bool = False
    probe: bool = False


_F, _B, _K = FailureClass, Blame, KeyState
_MINUTES_S = 60.0
_FINAL = Consequence(_B.REQUEST, try_next=False, same_key_retry=False)
#: The request's own fault, which another model may not mind.
UNFIT = Consequence(_B.REQUEST, same_key_retry=False, other_model=True)
_PROVIDER = Consequence(_B.PROVIDER, spends_retry=True)
_OUT_OF_USE = Consequence(
    _B.KEY, _K.INVALID, cool_s=math.inf, longest_s=math.inf, same_key_retry=False, probe=True
)

CONSEQUENCES: Mapping[FailureClass, Consequence] = {
    # An untold wait is short and grows, but is never taken for a day.
    _F.RATE_LIMITED: Consequence(_B.SCOPE, _K.THROTTLED, cool_s=1.0, longest_s=60.0),
    _F.RATE_LIMITED_DAY: Consequence(
        _B.SCOPE, _K.EXHAUSTED, cool_s=5 * _MINUTES_S, longest_s=HOUR_S
    ),
    _F.TOO_BIG_FOR_LIMIT: Consequence(_B.NOBODY, same_key_retry=False, whole_account=True),
    _F.SLOW_DOWN: Consequence(_B.SCOPE, _K.THROTTLED, cool_s=2.0, longest_s=120.0),
    _F.ZERO_ALLOWANCE: Consequence(
        _B.MODEL_IN_SCOPE,
        cool_s=_MINUTES_S,
        longest_s=DAY_S,
        growth=8.0,
        same_key_retry=False,
        whole_account=True,
    ),
    _F.QUOTA_BILLING: Consequence(
        _B.SCOPE, _K.EXHAUSTED, cool_s=15 * _MINUTES_S, longest_s=DAY_S, same_key_retry=False
    ),
    _F.IN_FLIGHT_BUDGET: Consequence(_B.SCOPE, _K.THROTTLED, cool_s=2.0, longest_s=60.0),
    _F.KEY_BUDGET: Consequence(
        _B.KEY, _K.EXHAUSTED, cool_s=15 * _MINUTES_S, longest_s=DAY_S, same_key_retry=False
    ),
    _F.KEY_INVALID: _OUT_OF_USE,
    _F.ACCOUNT_DISABLED: _OUT_OF_USE,
    # Any client can bring it about, so the first rests are short.
    _F.MODEL_UNAVAILABLE: Consequence(
        _B.KEY_MODEL, cool_s=5.0, longest_s=HOUR_S, growth=4.0, same_key_retry=False
    ),
    _F.UNEXPLAINED: Consequence(
        _B.MODEL_IN_SCOPE,
        cool_s=5.0,
        longest_s=5 * _MINUTES_S,
        growth=4.0,
        same_key_retry=False,
        whole_account=True,
    ),
    # Where we call from is refused, not who calls: no key is worse than another.
    _F.REGION_BLOCKED: Consequence(_B.PROVIDER, same_key_retry=False),
    _F.IP_NOT_AUTHORIZED: Consequence(
        _B.SCOPE, _K.EXHAUSTED, cool_s=15 * _MINUTES_S, longest_s=HOUR_S, same_key_retry=False
    ),
    _F.OVERLOADED: _PROVIDER,
    _F.SERVER_ERROR: _PROVIDER,
    # Nothing was sent: it costs no retry, and the circuit opens at once.
    _F.UNREACHABLE: Consequence(_B.PROVIDER),
    _F.NETWORK: _PROVIDER,
    _F.TIMEOUT: _PROVIDER,
    _F.OUT_OF_TIME: Consequence(_B.NOBODY, try_next=False, same_key_retry=False),
    _F.CONTEXT_LENGTH: UNFIT,
    _F.UNFIT_MODEL: UNFIT,
    _F.UNTRANSLATABLE: UNFIT,
    _F.CONTENT_FILTER: _FINAL,
    _F.BAD_REQUEST: _FINAL,
    _F.NOT_FOUND: Consequence(_B.NOBODY, same_key_retry=False, whole_account=True),
    _F.CONFLICT: Consequence(_B.NOBODY, spends_retry=True),
    # The client has seen a beginning: nobody can take over.
    _F.MID_STREAM: Consequence(_B.PROVIDER, try_next=False, same_key_retry=False),
}


def wait_for(
    failure: Failure,
    consequence: Consequence,
    streak: int,
    first_s: float | None = None,
) -> float:
    """Return the seconds that what is blamed must rest.

    Args:
        streak: Refusals in a row, 1 for the first.
        first_s: First untold wait in place of the row's own, such as an
            operator's setting.

    Returns:
        The told wait, and the longer one if an instant is told too, but a day
        at most; else a growing one. A told wait of 0 tells nothing.
    """
    told_s = max(failure.retry_after_s or 0.0, failure.opens_in_s or 0.0)
    if told_s > 0.0:
        return min(told_s, LONGEST_TOLD_S)
    first = first_s if first_s is not None else consequence.cool_s
    refusals_before = min(max(streak - 1, 0), _MOST_DOUBLINGS)
    return min(max(first, consequence.longest_s), first * consequence.growth**refusals_before)
