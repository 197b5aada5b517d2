"""What a provider's failure is told as, and when to come back."""

import pytest

from apikeyrouter import NoEligibleKeysError, UnknownModelError
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter_proxy.dataplane.errors import for_failure, for_no_key

pytestmark = pytest.mark.unit
_F = FailureClass
NO_RETRY = {"x-should-retry": "false"}


def wait(seconds: str, ms: str) -> dict[str, str]:
    return {"retry-after": seconds, "retry-after-ms": ms}


@pytest.mark.parametrize(
    ("failure", "status", "hints"),
    [
        (Failure(_F.OVERLOADED, "busy", 529), 503, NO_RETRY | wait("2", "2000")),
        (Failure(_F.OVERLOADED, "busy", 529, retry_after_s=0.4), 503, wait("1", "400")),
        (Failure(_F.OVERLOADED, "busy", 503, retry_after_s=7), 503, wait("7", "7000")),
        (
            Failure(_F.OVERLOADED, "busy", 503, retry_after_s=300),
            503,
            NO_RETRY | {"retry-after": "300"},
        ),
        (Failure(_F.SERVER_ERROR, "oh", 503), 503, NO_RETRY | wait("2", "2000")),
        (Failure(_F.SERVER_ERROR, "oh", 500), 502, NO_RETRY),
        (Failure(_F.SERVER_ERROR, "oh", 500, retry_after_s=3), 502, wait("3", "3000")),
        (Failure(_F.TIMEOUT, "late"), 504, NO_RETRY),
        (Failure(_F.KEY_INVALID, "no", 401), 503, NO_RETRY),
        (Failure(_F.RATE_LIMITED, "slow", 429, retry_after_s=3), 429, wait("3", "3000")),
        (Failure(_F.SLOW_DOWN, "slow", 503, retry_after_s=3), 429, wait("3", "3000")),
        (Failure(_F.BAD_REQUEST, "", 415), 415, NO_RETRY),
        (Failure(_F.BAD_REQUEST, "", 401), 503, NO_RETRY),
    ],
)
def test_client_is_told_when_to_come_back(
    failure: Failure, status: int, hints: dict[str, str]
) -> None:
    answer = for_failure(failure, "lab")
    assert answer.told.status == status
    assert {name.decode(): value.decode() for name, value in answer.headers} == hints


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (
            Failure(_F.UNREACHABLE, "ClientConnectorError: Cannot connect to host 10.0.0.5:443"),
            "provider 'lab' cannot be reached",
        ),
        (
            Failure(_F.NETWORK, "ClientOSError: [Errno 104] Connection reset by peer"),
            "provider 'lab' closed the connection before its answer was complete",
        ),
        (Failure(_F.TIMEOUT, "TimeoutError"), "provider 'lab' did not answer in time"),
        (Failure(_F.SERVER_ERROR, "oh {0} no", 500), "oh {0} no"),
        (Failure(_F.BAD_REQUEST, "", 400), "provider 'lab' refused the request without a reason"),
    ],
)
def test_what_no_provider_said_is_told_in_our_words(failure: Failure, told: str) -> None:
    assert for_failure(failure, "lab").told.message == told


@pytest.mark.parametrize(
    ("cause", "retry_after", "status", "code", "hints"),
    [
        ("", 2.5, 429, "rate_limit_exceeded", wait("3", "2500")),
        ("", None, 429, "rate_limit_exceeded", wait("1", "1000")),
        ("", 300.0, 429, "rate_limit_exceeded", NO_RETRY | {"retry-after": "300"}),
        ("key rests", 2.5, 429, "rate_limit_exceeded", wait("3", "2500")),
        ("rate_limited", 2.5, 429, "rate_limit_exceeded", wait("3", "2500")),
        ("model_unavailable", 3600.0, 404, "model_not_found", NO_RETRY),
        ("key_invalid", None, 503, "upstream_unavailable", NO_RETRY),
        ("quota_billing", 900.0, 429, "insufficient_quota", NO_RETRY),
        ("overloaded", 0.5, 503, "upstream_unavailable", wait("1", "500")),
        ("unreachable", 5.0, 503, "upstream_unavailable", wait("5", "5000")),
    ],
)
def test_client_is_told_what_keeps_every_key_from_its_request(
    cause: str, retry_after: float | None, status: int, code: str, hints: dict[str, str]
) -> None:
    answer = for_no_key(NoEligibleKeysError("no key", retry_after=retry_after, cause=cause))
    assert answer.told.status == status
    assert answer.told.code == code
    assert {name.decode(): value.decode() for name, value in answer.headers} == hints


def test_unknown_model_is_not_found() -> None:
    assert for_no_key(UnknownModelError("gtp", ("gpt",))).told.status == 404
