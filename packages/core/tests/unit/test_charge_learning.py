"""How a provider charges tokens is found out from how what remains falls."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apikeyrouter.domain.accounts.charge_learning import Belief, CallCharge, ChargeLearner, Sizes
from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.ledger.algorithms import make_window
from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import (
    MINUTE_S,
    Algorithm,
    Dimension,
    ObservedLimit,
    Provenance,
)

pytestmark = pytest.mark.unit
_USUAL_OUTPUT = 60.0
_LIMIT = 600_000.0


@dataclass(frozen=True)
class Call:
    """One request as it is: what was sent, and what came of it."""

    body_bytes: float
    input: float
    cap: float | None
    output: float

    def told(self, bias: float) -> Sizes:
        """Return what is known of it beforehand, the estimate off by *bias*."""
        estimate = self.input * bias
        expected = _USUAL_OUTPUT if self.cap is None else self.cap
        return Sizes(self.body_bytes / 4, estimate, expected, max(estimate, self.cap or 0.0))


@dataclass(frozen=True)
class Manner:
    """How a provider charges: at first, and in the end; `None` leaves it as it was."""

    first: Callable[[Call], float]
    last: Callable[[Call], float] | None = None


def _actual(call: Call) -> float:
    return call.input + call.output


def _cap(call: Call) -> float:
    # Providers take their own idea of it where the caller names none.
    return 80.0 if call.cap is None else call.cap


MANNERS = {
    "bytes and cap, kept": Manner(lambda c: c.body_bytes / 4 + _cap(c)),
    "bytes and cap, given back": Manner(lambda c: c.body_bytes / 4 + _cap(c), _actual),
    "input and cap, kept": Manner(lambda c: c.input + _cap(c)),
    "input and cap, given back": Manner(lambda c: c.input + _cap(c), _actual),
    "larger of both, kept": Manner(lambda c: max(c.input, c.cap or 0.0)),
    "larger of both, given back": Manner(lambda c: max(c.input, c.cap or 0.0), _actual),
    "input only": Manner(lambda c: c.input),
    "when done": Manner(lambda _: 0.0, _actual),
}
RULES = {
    "bytes and cap, kept": Admission(by_bytes=True, settles=False),
    "bytes and cap, given back": Admission(by_bytes=True),
    "input and cap, kept": Admission(settles=False),
    "input and cap, given back": Admission(),
    "larger of both, kept": Admission(larger_of=True, settles=False),
    "larger of both, given back": Admission(larger_of=True),
    "input only": Admission(input_only=True),
    "when done": Admission(counts_cap=False),
}


@dataclass
class Provider:
    """Charges by one manner, tells what remains, and how old that is."""

    manner: Manner
    report: str = "answer"
    algorithm: Algorithm = Algorithm.TOKEN_BUCKET
    window: Window = field(init=False)

    def __post_init__(self) -> None:
        self.window = self.new_window()
        self.window.take(0.5 * self.window.capacity, 0.0)

    def new_window(self) -> Window:
        """Return an empty window of this provider's kind."""
        return make_window(self.algorithm, Dimension.TOKENS, _LIMIT, MINUTE_S, 0.0)

    def remaining(self, now: float) -> float:
        """Return what is left, in whole units."""
        return math.floor(max(0.0, self.window.room(now)))


@dataclass
class Traffic:
    """Calls under way at once, before one provider whose rule is learned."""

    provider: Provider
    learner: ChargeLearner
    seed: int = 0
    at_once: int = 6
    bias: float = 1.0
    noise: float = 0.05
    without_cap: float = 0.0
    refused: float = 0.0
    others: float = 0.0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.account = LedgerAccount("a", [self.provider.new_window()])
        self.beliefs: list[Admission] = []

    def new_call(self) -> Call:
        chance = self.chance
        body = min(24_000.0, 150 + 400 * math.exp(chance.gauss(0.5, 1.0)))
        cap = None if chance.random() < self.without_cap else float(chance.choice((40, 120, 400)))
        output = min(cap or 1000.0, _USUAL_OUTPUT * math.exp(chance.gauss(-0.2, 0.6)))
        return Call(body, body / 4 * chance.uniform(0.6, 0.9), cap, output)

    def run(self, answers: int) -> None:
        """Be answered so many times."""
        begun = sorted((self.now + 0.1 * i, i) for i in range(self.at_once))
        busy: list[tuple[float, int, Call, CallCharge, float, float]] = []
        left, number = answers, self.at_once
        idle = [at for at, _ in begun]
        while left > 0:
            if idle and (not busy or idle[0] <= busy[0][0]):
                self.now = heapq.heappop(idle)
                number += 1
                heapq.heappush(busy, self._begin(number))
                continue
            at, _, call, charge, first, remaining = heapq.heappop(busy)
            self.now = at
            self._end(call, charge, first, remaining)
            left -= 1
            heapq.heappush(idle, self.now + 0.02)

    def _begin(self, number: int) -> tuple[float, int, Call, CallCharge, float, float]:
        call, provider = self.new_call(), self.provider
        noise = math.exp(self.chance.gauss(0.0, self.noise))
        charge = CallCharge(self.learner, call.told(self.bias * noise), self.now)
        first = provider.manner.first(call)
        if self.chance.random() < self.refused:
            charge.returned()
            first = 0.0
        provider.window.take(first, self.now)
        if self.chance.random() < self.others:
            other = self.new_call()
            provider.window.take((provider.manner.last or provider.manner.first)(other), self.now)
        lasts_s = 0.3 * math.exp(self.chance.gauss(0.0, 0.6))
        return self.now + lasts_s, number, call, charge, first, provider.remaining(self.now)

    def _end(self, call: Call, charge: CallCharge, first: float, remaining: float) -> None:
        provider = self.provider
        if not first and provider.manner is not MANNERS["when done"]:
            return
        if provider.report == "answer":
            remaining = provider.remaining(self.now)
        if provider.manner.last is not None:
            change = provider.manner.last(call) - first
            provider.window.used = max(0.0, provider.window.used + change)
        if provider.report == "own end":
            remaining = provider.remaining(self.now)
        charge.done(call.input, call.output)
        told = ObservedLimit(Dimension.TOKENS, limit=_LIMIT, remaining=remaining)
        for window in self.account.windows:
            window.room(self.now)
        charge.reported(self.account, (told,), self.now)
        self.beliefs.append(self.learner.belief.admission)


def charged(rule: Admission, call: Call, sizes: Sizes) -> tuple[float, float]:
    """Return what *rule* expects *call* to be charged, at first and in the end."""
    given = sizes.by_bytes if rule.by_bytes else sizes.input
    first = given + sizes.cap
    if rule.larger_of:
        first = sizes.larger
    elif rule.input_only:
        first = given
    elif not rule.counts_cap:
        first = 0.0
    last = first
    if rule.settles:
        last = call.input + (0.0 if rule.input_only else call.output)
    return first, last


def off(traffic: Traffic) -> float:
    """Return by how much the believed rule misses what 300 further calls are charged in all."""
    rule, manner = traffic.learner.belief.admission, traffic.provider.manner
    calls = [traffic.new_call() for _ in range(300)]
    true = sum((manner.last or manner.first)(call) for call in calls)
    believed = sum(charged(rule, call, call.told(traffic.bias))[1] for call in calls)
    return abs(believed - true) / true


PRIORS = {
    "larger of both": Admission(larger_of=True),
    "input and cap": Admission(),
    "when done": Admission(counts_cap=False),
}


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("at_once", [1, 6, 20])
@pytest.mark.parametrize("report", ["request", "answer", "own end"])
@pytest.mark.parametrize("manner", MANNERS)
def test_charge_is_known_after_few_answers(
    manner: str, report: str, at_once: int, prior: str
) -> None:
    traffic = Traffic(
        Provider(MANNERS[manner], report), ChargeLearner(PRIORS[prior]), at_once=at_once
    )
    traffic.run(60)
    assert off(traffic) <= 0.05, traffic.learner.belief.tell()


@pytest.mark.parametrize("algorithm", [Algorithm.TOKEN_BUCKET, Algorithm.FIXED])
@pytest.mark.parametrize("manner", MANNERS)
def test_charge_stays_known_however_long_it_goes_on(manner: str, algorithm: Algorithm) -> None:
    traffic = Traffic(Provider(MANNERS[manner], "answer", algorithm), ChargeLearner(Admission()))
    for _ in range(5):
        traffic.run(200)
        assert off(traffic) <= 0.05, traffic.learner.belief.tell()


@pytest.mark.parametrize("bias", [0.75, 1.25])
@pytest.mark.parametrize("manner", ["bytes and cap, kept", "input and cap, given back"])
def test_charge_is_known_though_estimates_are_off(manner: str, bias: float) -> None:
    traffic = Traffic(Provider(MANNERS[manner]), ChargeLearner(PRIORS["larger of both"]), bias=bias)
    traffic.run(60)
    assert off(traffic) <= 0.05, traffic.learner.belief.tell()


@pytest.mark.parametrize("manner", ["bytes and cap, kept", "bytes and cap, given back"])
def test_charge_is_known_though_some_calls_name_no_cap_or_are_refused(manner: str) -> None:
    traffic = Traffic(
        Provider(MANNERS[manner]), ChargeLearner(Admission(larger_of=True)),
        without_cap=0.2, refused=0.1,
    )  # fmt: skip
    traffic.run(80)
    assert off(traffic) <= 0.1, traffic.learner.belief.tell()


@pytest.mark.parametrize("manner", MANNERS)
def test_charge_is_known_though_somebody_else_uses_a_third(manner: str) -> None:
    """Others come in lumps: a belief may be wrong now and then, but hardly ever is."""
    wrong = 0
    for seed in range(20):
        traffic = Traffic(
            Provider(MANNERS[manner]), ChargeLearner(Admission()), seed=seed, others=0.5
        )
        traffic.run(150)
        wrong += off(traffic) > 0.35
    assert wrong <= 4


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    name=st.sampled_from(sorted(RULES)),
    at_once=st.integers(1, 20),
    report=st.sampled_from(["request", "answer", "own end"]),
)
def test_right_catalogue_row_outlasts_noise(
    seed: int, name: str, at_once: int, report: str
) -> None:
    traffic = Traffic(
        Provider(MANNERS[name], report), ChargeLearner(RULES[name]), seed=seed, at_once=at_once,
        noise=0.04,
    )  # fmt: skip
    traffic.run(120)
    assert traffic.learner.belief.admission == RULES[name]
    assert traffic.beliefs.count(RULES[name]) >= 0.8 * len(traffic.beliefs)


def test_catalogue_row_is_believed_until_enough_has_been_seen() -> None:
    prior = Admission(larger_of=True)
    traffic = Traffic(Provider(MANNERS["bytes and cap, kept"]), ChargeLearner(prior), at_once=1)
    traffic.run(5)
    assert traffic.learner.belief == Belief(prior)
    assert traffic.learner.belief.tell() == (
        "charged the larger of input and cap, given back to the actual usage"
    )
    traffic.run(25)
    assert traffic.learner.belief.tell().startswith("charged bytes / 4 + cap, learned from ")


def test_answers_counted_by_steps_of_a_thousand_prove_nothing() -> None:
    prior = Admission(larger_of=True)
    learner = ChargeLearner(prior)
    account = LedgerAccount("a", [Provider(MANNERS["input only"]).new_window()])
    for number in range(40):
        now = 0.1 * number
        call = CallCharge(learner, Sizes(60.0, 50.0, 40.0, 50.0), now)
        call.done(50.0, 20.0)
        account.windows[0].room(now)
        told = ObservedLimit(Dimension.TOKENS, _LIMIT, remaining=500_000.0, rounding=1000.0)
        call.reported(account, (told,), now)
    assert learner.belief.admission == prior


def test_sibling_believes_it_with_less_confidence_until_it_sees_otherwise() -> None:
    prior = Admission(larger_of=True)
    first = Traffic(Provider(MANNERS["bytes and cap, kept"]), ChargeLearner(prior))
    first.run(40)
    sibling = ChargeLearner(prior)
    sibling.adopt(first.learner.belief)
    assert sibling.belief.admission == RULES["bytes and cap, kept"]
    assert 0.0 < sibling.belief.confidence < first.learner.belief.confidence
    other = Traffic(Provider(MANNERS["when done"]), sibling)
    other.run(40)
    assert sibling.belief.admission == RULES["when done"]
    sibling.adopt(first.learner.belief)
    assert sibling.belief.admission == RULES["when done"]


def test_account_whose_calls_never_overlap_believes_its_sibling() -> None:
    """What is given back by the next report hides what was charged until then."""
    prior = Admission(larger_of=True)
    manner = MANNERS["bytes and cap, given back"]
    lone = Traffic(Provider(manner, "own end"), ChargeLearner(prior), at_once=1)
    lone.run(40)
    assert lone.learner.belief.admission == prior
    busy = Traffic(Provider(manner, "own end"), ChargeLearner(prior))
    busy.run(40)
    lone.learner.adopt(busy.learner.belief)
    assert lone.learner.belief.admission == RULES["bytes and cap, given back"]
    lone.run(40)
    assert lone.learner.belief.admission == RULES["bytes and cap, given back"]
    busy.learner.adopt(Belief(prior, 20, 0.8))
    assert busy.learner.belief.admission == RULES["bytes and cap, given back"]


def test_limit_that_changes_is_not_taken_for_a_charge() -> None:
    prior = RULES["input and cap, kept"]
    traffic = Traffic(Provider(MANNERS["input and cap, kept"]), ChargeLearner(prior))
    for factor in (2.0, 0.5, 2.0, 0.5):
        traffic.run(15)
        for window in (traffic.provider.window, traffic.account.windows[0]):
            window.resize(window.capacity * factor, Provenance.HEADER)
    assert set(traffic.beliefs) == {prior}
    assert traffic.learner.belief.confidence > 0.7


def test_few_calls_are_looked_at_for_good_when_reports_tell_nothing() -> None:
    learner, sizes = ChargeLearner(Admission()), Sizes(60.0, 50.0, 100.0, 100.0)
    looked_at = [CallCharge(learner, sizes, float(n)).mark is not None for n in range(400)]
    assert sum(looked_at[-100:]) == 10
