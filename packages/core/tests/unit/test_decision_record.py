"""Every request can be asked why, in sentences, from a record of constant size."""

import asyncio
import json
import math
from typing import Any

import pytest

from apikeyrouter import ApiKeyRouter, Demand, NoEligibleKeysError, ProviderAdapter
from apikeyrouter.domain.failures.failure import Failure, FailureClass
from apikeyrouter.domain.ledger.ledger import Shortfall
from apikeyrouter.domain.routing.decision_record import explain, reason_of

pytestmark = pytest.mark.unit
NOW = 1000.0
LIMITS = {"rpm": 600, "rpd": 100_000, "tpm": 1_000_000, "tpd": 10_000_000}
REFUSED = Failure(
    FailureClass.RATE_LIMITED, "Rate limit reached for model m " * 10, 429, retry_after_s=30.0
)


class Nobody(ProviderAdapter):
    """Is never called: nothing is sent here."""

    async def execute_request(self, intent: Any, key: Any) -> Any:
        raise AssertionError

    def normalize_response(self, raw: Any) -> Any:
        raise AssertionError


async def ask(keys: int, refusals: int, **limits: float) -> ApiKeyRouter:
    """Answer one request after some refusals; say what became of it."""
    router = ApiKeyRouter(config={"log_level": "CRITICAL"}, clock=lambda: NOW)
    await router.register_provider("lab", Nobody())
    for number in range(keys):
        await router.register_key(f"secret-{number}", "lab", {"limits": limits or LIMITS})
    left = refusals
    async for attempt in router.attempts(Demand(model="m", request_id="r-1", input_tokens=50)):
        left -= 1
        if left >= 0:
            attempt.fail(REFUSED)
        else:
            attempt.settle(50, 10)
    return router


@pytest.mark.parametrize("refusals", [0, 3, 20])
@pytest.mark.parametrize("keys", [30, 3000])
def test_record_is_small_however_many_keys_and_attempts_there_are(keys: int, refusals: int) -> None:
    trace = asyncio.run(ask(keys, refusals)).get_request_trace("r-1")
    text = trace.pop("explanation")
    assert len(json.dumps(trace)) <= 2048
    assert len(text) <= 2048
    assert len(trace["attempts"]) + trace["attempts_dropped"] == refusals + 1


def test_trace_tells_the_chosen_the_runners_up_and_the_limits_then() -> None:
    trace = asyncio.run(ask(5, 0)).get_request_trace("r-1")
    (attempt,) = trace["attempts"]
    assert attempt["outcome"] == "ok"
    assert (attempt["candidates"], len(attempt["runners_up"])) == (5, 3)
    assert 0.0 <= attempt["score"] <= 1.0
    assert [limit["window"] for limit in attempt["limits"]] == [
        "requests per minute", "requests per day", "tokens per minute", "tokens per day",
    ]  # fmt: skip
    assert (trace["input_tokens"], trace["output_tokens"]) == (50, 10)


def test_explanation_tells_every_attempt_and_what_was_out() -> None:
    router = asyncio.run(ask(2, 1))
    text = router.routing_engine.explain_decision("r-1")
    first, second = (note.key_id for note in router._records["r-1"].attempts)
    assert text.startswith(f"Request r-1 asked for m. Attempt 1 took key {first} of lab")
    assert "It failed after 0.00 s as rate_limited." in text
    assert f"Attempt 2 took key {second} of lab" in text
    assert f"out were lab/{first} (rate_limited: told to wait in 30.0 s)" in text
    assert "requests per minute 1 of 600 (declared)" in text
    assert text.endswith("It answered in 0.00 s.")


def test_explanation_counts_the_attempts_that_are_not_kept() -> None:
    text = explain(asyncio.run(ask(30, 9))._records["r-1"])
    assert "6 more attempts are not kept." in text
    assert "Attempt 10 took key" in text


def test_refusal_is_explained_by_what_was_asked_and_left() -> None:
    async def refused() -> ApiKeyRouter:
        router = await ask(1, 0, tpm=400)
        demand = Demand(model="m", request_id="r-2", input_tokens=390, output_cap=0, max_wait=0.5)
        with pytest.raises(NoEligibleKeysError) as caught:
            async for _ in router.attempts(demand):
                pass
        assert caught.value.request_id == "r-2"
        assert caught.value.retry_after > 0.5
        return router

    text = asyncio.run(refused()).routing_engine.explain_decision("r-2")
    assert "It was refused: no key for model 'm' can take it now; soonest in" in text
    assert "tokens per minute: 390 asked, 340 left, fits in" in text


def test_nothing_is_made_up_of_a_request_that_is_not_kept() -> None:
    router = asyncio.run(ask(1, 0))
    assert router.get_request_trace("other") is None
    assert "Nothing is kept" in router.routing_engine.explain_decision("other")


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (
            Shortfall(
                "tokens per minute", 1900.0, 1240.0, NOW + 12.4, provenance="header",
                told_at=NOW - 0.8,
            ),
            "tokens per minute: 1,900 asked, 1,240 left, fits in 12.4 s; "
            "learned from header 0.8 s ago",
        ),
        (
            Shortfall("tokens per minute", 1900.0, 1240.0, math.inf, provenance="declared"),
            "tokens per minute: 1,900 asked, 1,240 left, never fits; declared",
        ),
        (
            Shortfall("calls at once", 1.0, 0.0, math.inf, for_calls=True),
            "calls at once: 1 asked, 0 left; waits for a call to end",
        ),
        (
            Shortfall("rate_limited: told to wait", 0.0, 0.0, NOW + 2.0),
            "rate_limited: told to wait in 2.0 s",
        ),
    ],
)  # fmt: skip
def test_reasons_are_told_in_figures(why: Shortfall, text: str) -> None:
    assert reason_of(why, NOW) == text
