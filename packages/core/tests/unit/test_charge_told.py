"""What was learned of a provider's charges is used at once, and can be read."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from apikeyrouter import Demand
from apikeyrouter.domain.attempt import Attempt
from apikeyrouter.domain.limits.observation import Dimension, ObservedLimit

pytestmark = pytest.mark.unit
_TPM = 1_000_000.0
_SIZES = ((400, 100), (1600, 40), (900, 400), (3000, 200))
LEARNED = "charged bytes / 4 + cap, learned from"


class Kept:
    """A provider that charges a quarter of the bytes and the cap, and keeps it."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.used = 0.0

    def begin(self, number: int) -> Attempt:
        """Begin one of several calls of different sizes."""
        body, cap = _SIZES[number % len(_SIZES)]
        demand = Demand(
            model="m", request_id=f"r{number}", input_tokens=body // 5, output_cap=cap,
            body_bytes=body, max_wait=0.0,
        )  # fmt: skip
        attempt: Attempt = asyncio.run(anext(aiter(self.bench.router.attempts(demand))))
        self.used += body / 4 + cap
        return attempt

    def answer(self, number: int) -> None:
        """Answer one call, and tell what remains."""
        attempt = self.begin(number)
        self.bench.now += 0.01
        self.used = max(0.0, self.used - 0.01 * _TPM / 60.0)
        told = ObservedLimit(
            Dimension.TOKENS, _TPM, remaining=float(int(_TPM - self.used)), period_s=60.0
        )
        attempt.answered((told,), is_whole=True)
        attempt.settle(_SIZES[number % len(_SIZES)][0] // 5, 20)


@pytest.mark.parametrize("limits", [{}, {"tpm": _TPM}], ids=["told", "declared"])
def test_charge_is_learned_of_told_and_of_declared_limits(
    bench_of: Callable[..., Any], limits: dict[str, float]
) -> None:
    kept = Kept(bench_of(keys=1, limits=limits))
    for number in range(40):
        kept.answer(number)
    attempt = kept.begin(3)
    asked = attempt.grant.hold.amounts[1]
    attempt.cancel()
    assert asked == 3000 / 4 + 200


def test_explanation_tells_how_a_call_was_charged(bench_of: Callable[..., Any]) -> None:
    kept = Kept(bench_of(keys=1))
    for number in range(40):
        kept.answer(number)
    router = kept.bench.router
    first, last = (router.routing_engine.explain_decision(f"r{n}") for n in (0, 39))
    assert "charged" not in first
    assert LEARNED in last
    trace = router.get_request_trace("r39")
    (attempt,) = trace["attempts"]
    assert attempt["charge"].startswith(LEARNED)
    trace.pop("explanation")
    assert len(json.dumps(trace)) <= 2048


def test_explanation_stays_as_it_was_when_more_is_learned(bench_of: Callable[..., Any]) -> None:
    kept = Kept(bench_of(keys=1))
    for number in range(60):
        kept.answer(number)
        if number == 20:
            before = kept.bench.router.routing_engine.explain_decision("r20")
    assert kept.bench.router.routing_engine.explain_decision("r20") == before


def test_quota_state_tells_how_tokens_are_charged(bench_of: Callable[..., Any]) -> None:
    kept = Kept(bench_of(keys=1))
    for number in range(40):
        kept.answer(number)
    state = asyncio.run(kept.bench.router.quota_awareness_engine.get_quota_state("k1"))
    (tokens,) = [window for window in state.windows if window.dimension == "tokens"]
    assert tokens.provenance == "header"
    assert tokens.charge.startswith(LEARNED)
