"""What a provider's failure is told as, and when to come back."""

import json

import pytest

from apikeyrouter.domain.models.failure import Failure, FailureClass
from apikeyrouter_proxy.dataplane.errors import for_failure

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
    assert answer.status == status
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
    assert json.loads(for_failure(failure, "lab").body)["error"]["message"] == told
