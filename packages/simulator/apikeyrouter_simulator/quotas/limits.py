"""The limits of one scope: every window together, all or nothing.

Law: a call is admitted by all windows or by none, and a refused call is told the longest wait of
the windows that refuse it. The moment is always an argument.

How many tokens a call is charged at admission differs between providers; `CHARGES` holds the
formulas by name. So does what becomes of that charge when the call ends; see `Settlement`.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from apikeyrouter_simulator.quotas.windows import (
    EPSILON,
    Charge,
    FixedWindow,
    RollingWindow,
    TokenBucket,
    Window,
)

Algorithm = Literal["token_bucket", "fixed", "rolling"]
Dimension = Literal["requests", "tokens", "input", "output"]
#: What becomes of a charge: corrected to the actual usage when the call ends, never corrected, or
#: made only then (a call is let in as long as anything is left).
Settlement = Literal["actual", "never", "done"]

MINUTE_S: Final = 60.0
HOUR_S: Final = 3_600.0
DAY_S: Final = 86_400.0
CONCURRENCY: Final = "concurrency"


@dataclass(frozen=True, slots=True)
class WindowKind:
    """What a limit's short name stands for."""

    name: str
    dimension: Dimension
    period_s: float
    label: str


KINDS: Final[Mapping[str, WindowKind]] = {
    kind.name: kind
    for kind in (
        WindowKind("rpm", "requests", MINUTE_S, "requests per min (RPM)"),
        WindowKind("rph", "requests", HOUR_S, "requests per hour (RPH)"),
        WindowKind("rpd", "requests", DAY_S, "requests per day (RPD)"),
        WindowKind("tpm", "tokens", MINUTE_S, "tokens per min (TPM)"),
        WindowKind("tph", "tokens", HOUR_S, "tokens per hour (TPH)"),
        WindowKind("tpd", "tokens", DAY_S, "tokens per day (TPD)"),
        WindowKind("itpm", "input", MINUTE_S, "input tokens per min (ITPM)"),
        WindowKind("otpm", "output", MINUTE_S, "output tokens per min (OTPM)"),
    )
}
LIMIT_NAMES: Final = (*KINDS, CONCURRENCY)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a provider knows of a call before serving it; `cap` is None when none was sent."""

    input_tokens: int
    cap: int | None
    reply_tokens: int


def _charge_openai(ask: Ask) -> int:
    return max(ask.input_tokens, ask.cap or 0)


def _charge_sum(ask: Ask) -> int:
    return ask.input_tokens + (ask.reply_tokens if ask.cap is None else ask.cap)


def _charge_input(ask: Ask) -> int:
    return ask.input_tokens


def _charge_actual(ask: Ask) -> int:
    return ask.input_tokens + ask.reply_tokens


CHARGES: Final[Mapping[str, Callable[[Ask], int]]] = {
    "openai": _charge_openai,
    "sum": _charge_sum,
    "groq": _charge_sum,
    "azure": _charge_sum,
    "input": _charge_input,
    "actual": _charge_actual,
}


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a call is refused: the limit with the longest wait; `math.inf` if it can never fit."""

    limit_name: str
    limit: float
    used: float
    requested: float
    wait_s: float

    @property
    def is_too_large(self) -> bool:
        """Whether no wait will ever help."""
        return self.wait_s == math.inf


@dataclass(frozen=True, slots=True)
class Reading:
    """One window as a provider would report it."""

    kind: WindowKind
    limit: float
    used: float
    remaining: float
    reset_s: float
    possible: float
    overdrawn: float
    taken: float


@dataclass(slots=True, eq=False)
class Admission:
    """A call under way, from when to when it should last; it must be settled exactly once."""

    charges: tuple[tuple[WindowKind, Window, Charge], ...]
    begun_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class Outside:
    """Another user of the scope: rates in units per minute, or a fraction of every limit.

    Attributes:
        dimension: What `per_second` is taken of.
    """

    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0
    fraction: float = 0.0
    dimension: Dimension = "requests"
    per_second: float = 0.0

    def rate_on(self, kind: WindowKind, limit: float) -> float:
        """Return what it wants of a window of this kind, in units per second."""
        per_minute = {
            "requests": self.requests_per_minute,
            "tokens": self.tokens_per_minute,
            "input": 0.0,
            "output": 0.0,
        }[kind.dimension]
        own = self.per_second if kind.dimension == self.dimension else 0.0
        return own + per_minute / MINUTE_S + self.fraction * limit / kind.period_s


def build_window(
    kind: WindowKind, limit: float, algorithm: Algorithm, start: float, first_reset_s: float = 0.0
) -> Window:
    """Make an empty window.

    Args:
        first_reset_s: When a fixed window ends first, in seconds after *start*. A fixed day ends
            at midnight UTC.
    """
    if algorithm == "token_bucket":
        return TokenBucket(limit, kind.period_s, start)
    if algorithm == "rolling":
        return RollingWindow(limit, kind.period_s, start)
    anchor = 0.0 if kind.period_s == DAY_S else start + first_reset_s
    return FixedWindow(limit, kind.period_s, start, anchor)


class ScopeLimits:
    """The windows and the concurrency of one scope.

    Args:
        limits: Limit by name (see `LIMIT_NAMES`); a name that is absent is not limited.
        algorithm: How all windows of the scope count that are not named in *algorithms*.
        algorithms: How a window counts, by limit name.
        used: What is taken already at the start, by limit name.
        start: Seconds since the epoch (UTC days are counted from it).
        settlement: What becomes of a charge when a call ends.
        charges_refused: Whether a refused call still counts as a request.
        first_reset_s: When fixed windows end first, in seconds after *start*.

    Attributes:
        admitted: How many calls were let in.
        lasting_s: How long they last in all.
        slot_s: How long slots were there in all, busy or idle.
    """

    def __init__(
        self,
        limits: Mapping[str, float],
        *,
        algorithm: Algorithm = "token_bucket",
        algorithms: Mapping[str, Algorithm] | None = None,
        used: Mapping[str, float] | None = None,
        start: float = 0.0,
        settlement: Settlement = "actual",
        charges_refused: bool = False,
        first_reset_s: float = 0.0,
    ) -> None:
        self._algorithm = algorithm
        self._algorithms = algorithms or {}
        self._settlement = settlement
        self._charges_refused = charges_refused
        self._first_reset_s = first_reset_s
        self._outside: tuple[Outside, ...] = ()
        self._at = start
        self.concurrency = math.inf
        self.admitted = 0
        self.lasting_s = 0.0
        self.slot_s = 0.0
        self._open: set[Admission] = set()
        self._taken: dict[str, float] = {}
        self._windows: list[tuple[WindowKind, Window]] = []
        self.change(limits, start)
        for kind, window in self._windows:
            if used and kind.name in used:
                window.begin_with(used[kind.name])

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""
        return len(self._open)

    @property
    def overtime_s(self) -> float:
        """How much longer the calls under way should last, in all."""
        return sum(max(0.0, admission.ends_at - self._at) for admission in self._open)

    def admit(
        self, tokens: float, input_tokens: float, now: float, *, lasts_s: float = 0.0
    ) -> Admission | Shortfall:
        """Charge one request, *tokens* and *input_tokens* on every window, or nothing at all."""
        self.advance(now)
        if self._settlement == "done":
            tokens = input_tokens = 1.0
        amounts = {"requests": 1.0, "tokens": tokens, "input": input_tokens, "output": 1.0}
        shortfall = self._shortfall(amounts)
        if shortfall is not None:
            if self._charges_refused:
                self._charge_requests()
            return shortfall
        if self._settlement == "done":
            amounts["tokens"] = amounts["input"] = 0.0
        charges = [(k, w, self._charge(k, w, amounts[k.dimension])) for k, w in self._windows]
        admission = Admission(tuple(charges), self._at, self._at + lasts_s)
        self._open.add(admission)
        self.admitted += 1
        self.lasting_s += lasts_s
        return admission

    def settle(
        self, admission: Admission, *, input_tokens: float, output_tokens: float, now: float
    ) -> None:
        """End a call: free its slot and correct its charges to what was really used."""
        self.advance(now)
        self._open.remove(admission)
        self.lasting_s -= max(0.0, admission.ends_at - self._at)
        actual = {
            "tokens": input_tokens + output_tokens,
            "input": input_tokens,
            "output": output_tokens,
        }
        for kind, window, charge in admission.charges:
            if kind.dimension == "requests":
                continue
            used = actual[kind.dimension]
            if self._settlement == "done" and kind.dimension != "output":
                self._charge(kind, window, used)
            elif self._settlement == "actual" or kind.dimension == "output":
                self._taken[kind.name] += window.settle(charge, used)

    def advance(self, now: float) -> None:
        """Bring every window to *now*."""
        if now > self._at:
            if self.concurrency < math.inf:
                # Calls stay that were let in before a limit was lowered.
                slots = max(self.concurrency, self.in_flight)
                self.slot_s += slots * (now - self._at)
            self._at = now
        for _, window in self._windows:
            window.advance(now)

    def change(self, limits: Mapping[str, float], now: float) -> None:
        """Have exactly these limits from *now* on; what is used of a window stays used."""
        self.advance(now)
        self.concurrency = limits.get(CONCURRENCY, math.inf)
        known = {kind.name: window for kind, window in self._windows}
        self._windows = []
        for name, limit in limits.items():
            if name == CONCURRENCY:
                continue
            kind, algorithm = KINDS[name], self._algorithms.get(name, self._algorithm)
            window = known.get(name) or build_window(
                kind, limit, algorithm, self._at, self._first_reset_s
            )
            window.change(limit)
            self._windows.append((kind, window))
        self._drain_by_outside()

    def take_outside(self, dimension: Dimension, amount: float, now: float) -> None:
        """Let an outside user take *amount* at once, or what is there of it."""
        self.advance(now)
        for kind, window in self._windows:
            if kind.dimension == dimension:
                window.take_outside(amount)

    def share_with(self, outside: tuple[Outside, ...], now: float) -> None:
        """Let exactly these outside users drain the scope from *now* on."""
        self.advance(now)
        self._outside = outside
        self._drain_by_outside()

    def turns_at(self) -> float:
        """Return when a window next gives much at once; `math.inf` if all give steadily."""
        return min((window.turns_at() for _, window in self._windows), default=math.inf)

    def readings(self) -> Iterator[Reading]:
        """Yield every window as of the last moment given."""
        for kind, window in self._windows:
            yield Reading(
                kind,
                window.limit,
                window.used,
                window.remaining,
                window.reset_s(),
                window.possible,
                window.overdrawn,
                self._taken.get(kind.name, 0.0),
            )

    @property
    def outside_taken(self) -> dict[str, float]:
        """How much outside users took of each window, by limit name."""
        return {kind.name: window.outside for kind, window in self._windows}

    def _drain_by_outside(self) -> None:
        for kind, window in self._windows:
            window.outside_per_s = sum(o.rate_on(kind, window.limit) for o in self._outside)

    def _charge(self, kind: WindowKind, window: Window, amount: float) -> Charge:
        self._taken[kind.name] = self._taken.get(kind.name, 0.0) + amount
        return window.take(amount)

    def _charge_requests(self) -> None:
        for kind, window in self._windows:
            if kind.dimension == "requests":
                window.take(1.0)

    def _shortfall(self, amounts: Mapping[str, float]) -> Shortfall | None:
        worst: Shortfall | None = None
        for kind, window in self._windows:
            amount = amounts[kind.dimension]
            wait_s = window.wait_s(amount)
            if wait_s > 0 and (worst is None or wait_s > worst.wait_s):
                worst = Shortfall(kind.name, window.limit, window.used, amount, wait_s)
        if worst is None and self.in_flight + 1 > self.concurrency + EPSILON:
            # When a slot comes free is not known; providers suggest a short wait.
            return Shortfall(CONCURRENCY, self.concurrency, self.in_flight, 1.0, 1.0)
        return worst
