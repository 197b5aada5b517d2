"""What an admission is charged in tokens, learned from how what remains falls.

Between two reports `remaining` falls by what the provider has charged, less what has refilled.
Providers charge by a handful of rules: each is a hypothesis that predicts the fall from what is
known of the calls in between, and is scored by how far off it is. The rule of the provider's
catalogue row is believed until another one predicts clearly better; what one account has shown is
believed of its siblings until they show otherwise.

Whether a report is as old as its request or as its answer, and whether what that call did not
use has been given back by then, is not told either: every rule is scored for each way. Once a rule
has proved itself two calls of twenty are looked at, and no more than twenty a second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter
from typing import NamedTuple

from apikeyrouter.domain.interfaces.provider_adapter import Admission
from apikeyrouter.domain.ledger.algorithms import FixedWindow
from apikeyrouter.domain.ledger.ledger import LedgerAccount
from apikeyrouter.domain.ledger.remaining_bucket import RemainingBucket
from apikeyrouter.domain.ledger.token_bucket import TokenBucket
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.limits.observation import Dimension, ObservedLimit

#: Scores are averages over about so many comparisons.
_MEMORY = 24
#: Comparisons before another rule may be believed, and how much better it must predict.
_LEAST_COMPARED, _CLEARLY = 6, 0.7
_LEAST_GAIN = 0.03
#: After so many comparisons only two calls in a row of so many are looked at. Over long stretches
#: others have always used something, and every rule is off.
_ENOUGH, _LOOK_EVERY = 12, 20
#: And none sooner after the last ones than this: to look costs more than to choose a key.
_LOOK_PAUSE_S = 0.1
#: Both hold too after so many calls of which nothing could be compared.
_MANY_CALLS = 200
#: From then on so many calls of a row are followed at all: to count each costs too.
_FOLLOWED, _ROW = 40, 400
#: Tokens that no rule is expected to predict.
_TOLERANCE = 4.0

#: Sums of what is known of calls: of all that were admitted, then of all that are done.
_BYTES, _INPUT, _CAP, _LARGER = range(4)
_DONE_BYTES, _DONE_INPUT, _DONE_CAP, _DONE_LARGER, _USED_INPUT, _USED_OUTPUT = range(4, 10)
_SUMS = 10
#: Ways in which a report may be taken.
_WAYS = 3


class Sizes(NamedTuple):
    """What is known of one call when it is sent, in tokens, in the order of the sums.

    Attributes:
        by_bytes: A quarter of its body's bytes.
        input: Our estimate.
        cap: Its output cap; without one, what answers usually take.
        larger: The larger of input and the caller's own cap.
    """

    by_bytes: float
    input: float
    cap: float
    larger: float


@dataclass(slots=True, frozen=True)
class Rule:
    """One way to charge: an admission, and those sums with their weights that predict it."""

    admission: Admission
    weights: tuple[tuple[int, float], ...]


def _rule(admission: Admission, *charged: int) -> Rule:
    """Build the rule that charges the sums *charged*, and gives back as *admission* says."""
    weights = [0.0] * _SUMS
    for place in charged:
        weights[place] += 1.0
        if admission.settles:
            weights[place + 4] -= 1.0
    if admission.settles:
        weights[_USED_INPUT] = 1.0
        weights[_USED_OUTPUT] = 0.0 if admission.input_only else 1.0
    return Rule(admission, tuple([pair for pair in enumerate(weights) if pair[1]]))


RULES: tuple[Rule, ...] = (
    _rule(Admission(), _INPUT, _CAP),
    _rule(Admission(settles=False), _INPUT, _CAP),
    _rule(Admission(by_bytes=True), _BYTES, _CAP),
    _rule(Admission(by_bytes=True, settles=False), _BYTES, _CAP),
    _rule(Admission(larger_of=True), _LARGER),
    _rule(Admission(larger_of=True, settles=False), _LARGER),
    _rule(Admission(input_only=True), _INPUT),
    _rule(Admission(input_only=True, by_bytes=True, settles=False), _BYTES),
    _rule(Admission(counts_cap=False)),
)


@dataclass(slots=True, frozen=True)
class Belief:
    """The rule that is believed of an account.

    Attributes:
        answers: Comparisons that speak for it; 0 while it is the catalogue's word.
    """

    admission: Admission
    answers: int = 0
    confidence: float = 0.0

    def tell(self) -> str:
        """Put it into words, such as `charged bytes / 4 + cap, learned from 31 answers`."""
        admission = self.admission
        given = "bytes / 4" if admission.by_bytes else "input"
        text = f"charged {given}"
        if admission.larger_of:
            text = "charged the larger of input and cap"
        elif not admission.counts_cap:
            text = "charged when done"
        elif not admission.input_only:
            text += " + cap"
        if admission.settles and admission.counts_cap:
            text += ", given back to the actual usage"
        return f"{text}, learned from {self.answers} answers" if self.answers else text


class Mark(NamedTuple):
    """The sums at the moment at which one call was sent, that call included."""

    number: int
    at: float
    sums: tuple[float, ...]


@dataclass(slots=True)
class _Report:
    """What one report told, when, and the sums at that moment.

    Attributes:
        era: Reports of different eras are not comparable: a window ended, or its limit changed.
    """

    number: int
    at: float
    sums: Sequence[float]
    remaining: float
    used: float
    rounding: float
    era: tuple[float, ...]


@dataclass(slots=True)
class _Score:
    """How far a rule is off, on average: 0 is exact, 1 tells nothing.

    Averages the square roots of the errors: while others use the account too, the right rule is
    exact now and then and far off at other times, and a wrong one is never exact.
    """

    error: float = 0.0
    compared: int = 0

    def note(self, error: float) -> None:
        """Fold in one comparison."""
        self.compared += 1
        self.error += (error - self.error) / min(self.compared, _MEMORY)


@dataclass(slots=True, eq=False)
class ChargeLearner:
    """Learns by which rule one account is charged.

    Attributes:
        prior: The catalogue's rule.
        belief: The rule in force.
        is_fresh: Reports were found to be as old as their answers, not as their requests.
    """

    prior: Admission
    belief: Belief = field(init=False)
    is_fresh: bool = False
    _sums: list[float] = field(default_factory=lambda: [0.0] * _SUMS)
    _sent: int = 0
    _is_sure: bool = False
    _looked_at: float = -math.inf
    _is_looking: bool = False
    _place: int = 0
    #: The last reports by the way they are taken: as old as their requests, as old as their
    #: answers, and with what their own call gave back.
    _last: list[_Report | None] = field(default_factory=lambda: [None] * _WAYS)
    _scores: list[tuple[_Score, ...]] = field(
        default_factory=lambda: [tuple(_Score() for _ in range(_WAYS)) for _ in RULES]
    )

    def __post_init__(self) -> None:
        self.belief = Belief(self.prior)

    def follows_next(self) -> bool:
        """Tell whether the next call is to be counted: all at first, later a part of them."""
        if not self._knows_enough:
            return True
        self._place = (self._place + 1) % _ROW
        if self._place == 0:
            # Reports from before tell of calls that were not counted.
            self._last = [None] * _WAYS
        return self._place < _FOLLOWED

    def sent(self, sizes: Sizes, now: float) -> Mark | None:
        """Count a call that is being sent; return a mark if its report is wanted."""
        self._sent += 1
        sums = self._sums
        sums[_BYTES] += sizes.by_bytes
        sums[_INPUT] += sizes.input
        sums[_CAP] += sizes.cap
        sums[_LARGER] += sizes.larger
        if self._knows_enough and not self._looks_at(self._sent % _LOOK_EVERY, now):
            return None
        return Mark(self._sent, now, tuple(sums))

    @property
    def _knows_enough(self) -> bool:
        """Whether a part of the calls is enough: a rule is sure, or nothing can be compared."""
        return self._is_sure or self._sent > _MANY_CALLS

    def _looks_at(self, place: int, now: float) -> bool:
        """Tell whether the call at *place* in its row is looked at."""
        if place == 0:
            self._is_looking = now - self._looked_at >= _LOOK_PAUSE_S
            if self._is_looking:
                self._looked_at = now
        return place <= 1 and self._is_looking

    def done(self, sizes: Sizes, input_tokens: float, output_tokens: float) -> None:
        """Count a call that was answered, at what was used."""
        sums = self._sums
        sums[_DONE_BYTES] += sizes.by_bytes
        sums[_DONE_INPUT] += sizes.input
        sums[_DONE_CAP] += sizes.cap
        sums[_DONE_LARGER] += sizes.larger
        sums[_USED_INPUT] += input_tokens
        sums[_USED_OUTPUT] += output_tokens

    def returned(self, sizes: Sizes) -> None:
        """Take a call back that the provider refused."""
        for place, part in enumerate(sizes):
            self._sums[place] -= part

    def reported(
        self,
        mark: Mark,
        window: Window,
        told: ObservedLimit,
        now: float,
        part: Sequence[float],
    ) -> bool:
        """Compare the rules with a report of *window*; tell whether another one is believed.

        Args:
            told: With what remains.
            part: Of the sums, what the reporting call has given back; nothing while it goes on.
        """
        remaining = told.remaining or 0.0
        figures = remaining, window.capacity - remaining, told.rounding, _era_of(window)
        settled = tuple(self._sums)
        own = part or (0.0,) * (_SUMS - 4)
        unsettled = (*settled[:4], *(x - y for x, y in zip(settled[4:], own, strict=True)))
        reports = (
            _Report(mark.number, mark.at, mark.sums, *figures),
            _Report(self._sent, now, unsettled, *figures),
            _Report(self._sent, now, settled, *figures),
        )
        for way, report in enumerate(reports):
            before = self._last[way]
            # Answers overtake each other; of two requests the later one tells.
            if before is None or report.number >= before.number:
                self._compare(before, report, window, way)
                self._last[way] = report
        self._is_sure = self._compared() >= _ENOUGH
        return self._judge()

    def adopt(self, belief: Belief) -> None:
        """Believe what a sibling has shown, unless this account has shown that it is otherwise.

        Calls that never overlap show what is given back, not what was charged until then.
        """
        own, theirs = self._error_of(self.belief.admission), self._error_of(belief.admission)
        if theirs - own < _LEAST_GAIN:
            self.belief = replace(belief, answers=0, confidence=belief.confidence / 2.0)

    def _error_of(self, admission: Admission) -> float:
        """Return how far off the rule that charges like *admission* is; 1 if there is none."""
        alike = (i for i, rule in enumerate(RULES) if is_same(rule.admission, admission))
        return next((min(score.error for score in self._scores[i]) for i in alike), 1.0)

    def _compare(self, before: _Report | None, after: _Report, window: Window, way: int) -> None:
        if before is None or before.era != after.era:
            return
        if self._is_sure and after.number - before.number > _LOOK_EVERY // 2:
            return
        elapsed_s = after.at - before.at
        refilled = window.rate * elapsed_s if isinstance(window, TokenBucket) else 0.0
        charged = before.remaining - after.remaining + refilled
        # What refills a bucket that is full already is lost: then nothing can be said.
        if refilled > before.used and refilled > 0.05 * charged:
            return
        tolerance = max(_TOLERANCE, after.rounding)
        # What calls that begin are charged and what others give back may come to nearly nothing.
        passed = [b - a for a, b in zip(before.sums, after.sums, strict=True)]
        if after.sums[_DONE_INPUT] > 0.0:
            # How far our estimates are off is known from the calls that are done.
            correction = after.sums[_USED_INPUT] / after.sums[_DONE_INPUT]
            passed[_INPUT] *= correction
            passed[_DONE_INPUT] *= correction
        turned = passed[_INPUT] + passed[_CAP] + passed[_DONE_INPUT] + passed[_DONE_CAP]
        least_size = max(1.0, 0.5 * turned)
        for rule, scores in zip(RULES, self._scores, strict=True):
            predicted = sum([passed[place] * weight for place, weight in rule.weights])
            off = max(0.0, abs(predicted - charged) - tolerance)
            size = max(abs(charged), abs(predicted), least_size)
            scores[way].note(math.sqrt(min(1.0, off / size)))

    def _judge(self) -> bool:
        errors = [min(score.error for score in scores) for scores in self._scores]
        if (compared := self._compared()) < _LEAST_COMPARED:
            return False
        by_way = [min(scores[way].error for scores in self._scores) for way in range(_WAYS)]
        self.is_fresh = min(by_way[1:]) < _CLEARLY * by_way[0]
        best = min(range(len(RULES)), key=errors.__getitem__)
        believed = self.belief.admission
        now = next((i for i, r in enumerate(RULES) if is_same(r.admission, believed)), None)
        old = 1.0 if now is None else errors[now]
        if errors[best] > _CLEARLY * old or old - errors[best] < _LEAST_GAIN:
            best = now if now is not None else best
        has_changed = best != now
        if has_changed:
            found = replace(RULES[best].admission, counts_cached=self.prior.counts_cached)
            believed = self.prior if is_same(found, self.prior) else found
        confidence = (1.0 - errors[best] ** 2) * compared / (compared + 3)
        self.belief = Belief(believed, compared, confidence)
        return has_changed

    def _compared(self) -> int:
        return max(score.compared for score in self._scores[0])


class CallCharge:
    """One call as the learner of its account sees it, from its sending to its end."""

    __slots__ = ("_learner", "_part", "_sizes", "mark")

    def __init__(self, learner: ChargeLearner, sizes: Sizes, now: float) -> None:
        self._learner = learner
        self._sizes = sizes
        self._part: tuple[float, ...] = ()
        self.mark = learner.sent(sizes, now)

    def reported(
        self, account: LedgerAccount, limits: tuple[ObservedLimit, ...], now: float
    ) -> bool:
        """Compare the rules with what the answer told; tell whether another one is believed."""
        if self.mark is None:
            return False
        for told in limits:
            if told.dimension is not Dimension.TOKENS or told.label or told.remaining is None:
                continue
            window = account.window(Dimension.TOKENS, told.period_s)
            return window is not None and self._learner.reported(
                self.mark, window, told, now, self._part
            )
        return False

    def done(self, input_tokens: float, output_tokens: float) -> None:
        """Note that it was answered, at what was used."""
        self._learner.done(self._sizes, input_tokens, output_tokens)
        if self.mark is not None:
            self._part = (*self._sizes, input_tokens, output_tokens)

    def returned(self) -> None:
        """Note that the provider refused it."""
        self._learner.returned(self._sizes)


#: What tells rules apart: all but how cached input counts.
_manner_of = attrgetter(*[f.name for f in fields(Admission) if f.name != "counts_cached"])


def _era_of(window: Window) -> tuple[float, ...]:
    if isinstance(window, RemainingBucket):
        # Its capacity is no more than the largest remainder seen.
        return ()
    return window.capacity, window.epoch if isinstance(window, FixedWindow) else 0


def is_same(one: Admission, other: Admission) -> bool:
    """Tell whether two rules charge alike, cached input apart."""
    return bool(_manner_of(one) == _manner_of(other))
