"""What was sent is charged; only what was refused or never arrived is given back."""

import asyncio

import pytest

from apikeyrouter import ApiKeyRouter, Demand
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.models.token_usage import Usage
from apikeyrouter.infrastructure.adapters.openai_adapter import OpenAIAdapter

pytestmark = pytest.mark.unit
F = FailureClass
#: The provider charges the larger of input and output cap when it lets a request in.
ESTIMATE, CAP = 300, 200


async def _attempt(router: ApiKeyRouter) -> Attempt:
    await router.register_provider("p", OpenAIAdapter("http://127.0.0.1:1/v1"))
    limits = {"rpm": 100, "tpm": 10_000}
    await router.register_key("sk-1", "p", {"id": "k", "limits": limits})
    demand = Demand(model="m", request_id="r", input_tokens=ESTIMATE, output_cap=CAP, max_wait=0.0)
    return await anext(aiter(router.attempts(demand)))


def used_after(failure: Failure, usage: Usage | None = None) -> tuple[float, float]:
    """Return the requests and tokens that stay charged after one call that failed."""
    router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: 1000.0)
    attempt = asyncio.run(_attempt(router))
    attempt.fail(failure, usage)
    windows = attempt.grant.hold.account.windows
    used = {window.dimension.value: window.used for window in windows}
    return used["requests"], used["tokens"]


@pytest.mark.parametrize(
    "failure",
    [
        Failure(F.NETWORK, "reset"),
        Failure(F.TIMEOUT, "no answer"),
        Failure(F.OUT_OF_TIME, "the caller's time was over"),
        Failure(F.MID_STREAM, "cut"),
    ],
    ids=lambda failure: failure.kind.value,
)
def test_call_that_may_have_been_served_stays_charged_at_the_estimate(failure: Failure) -> None:
    assert used_after(failure) == (1.0, ESTIMATE)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(F.UNREACHABLE, "connection refused"),
        Failure(F.RATE_LIMITED, "slow down", 429),
    ],
    ids=lambda failure: failure.kind.value,
)
def test_call_that_was_never_let_in_is_given_back_whole(failure: Failure) -> None:
    assert used_after(failure) == (0.0, 0.0)


@pytest.mark.parametrize(
    "failure",
    [
        Failure(F.SERVER_ERROR, "oops", 500),
        Failure(F.TIMEOUT, "late", 504),
        Failure(F.BAD_REQUEST, "no", 400),
    ],
    ids=lambda failure: str(failure.status),
)
def test_refused_call_is_charged_as_a_request_without_tokens(failure: Failure) -> None:
    assert used_after(failure) == (1.0, 0.0)


def test_call_that_broke_off_is_charged_what_it_told() -> None:
    assert used_after(Failure(F.MID_STREAM, "cut"), Usage(40, 2, 0)) == (1.0, 42.0)
