"""What is kept of each request's choices, and the sentences made of it.

A record is small and of bounded size however many keys and attempts there are:
of the first and the latest attempts who was chosen and what became of it, and
of the last one three runners-up, three excluded and the limits then. As JSON it
is below 2 KB. It is written in microseconds; text is made when somebody reads it.
Stores outside of memory keep its fields in their order: new ones come last and have
defaults; any other change is a new layout of theirs.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from apikeyrouter.domain.accounts.charge_learning import Belief
from apikeyrouter.domain.ledger.ledger import Shortfall
from apikeyrouter.domain.ledger.window import Window
from apikeyrouter.domain.models.routing_decision import (
    AlternativeRoute,
    RoutingDecision,
    RoutingObjective,
    instant,
)
from apikeyrouter.domain.models.token_usage import Usage

RUNNERS_UP_KEPT = 3
EXCLUDED_KEPT = 3
FIGURES_KEPT = 4
ATTEMPTS_KEPT = 4
_WORDS_KEPT = 160


class AttemptNote(msgspec.Struct, eq=False, array_like=True):
    """One attempt as it is remembered.

    Attributes:
        runners_up: Key ids and scores in turn of those that stood next at the same provider.
        excluded: QuotaScope id and the reason of those that were out.
        candidates: Scopes that serve the model.
        figures: In turn a window (its name and provenance, once it was kept), and what was
            used of which capacity when it was chosen.
        charge: How its tokens were reckoned; `None` while no limit of tokens was told.
        outcome: `ok`, `cancelled`, a failure class, or empty while it runs.
        answered_at: When the provider let it in.
    """

    key_id: str
    provider_id: str
    model: str
    score: float
    at: float
    waited_s: float
    candidates: int
    runners_up: tuple[Any, ...] = ()
    excluded: tuple[tuple[str, Shortfall], ...] = ()
    figures: tuple[Any, ...] = ()
    charge: Belief | None = None
    outcome: str = ""
    message: str = ""
    answered_at: float | None = None
    ended_at: float | None = None

    def end(self, outcome: str, message: str, now: float) -> None:
        """Note what became of it."""
        self.outcome, self.message, self.ended_at = outcome, message[:_WORDS_KEPT], now

    def shorten(self) -> None:
        """Keep the choice and its outcome alone: another attempt has followed."""
        self.runners_up = self.excluded = self.figures = ()
        self.charge = None
        self.message = ""

    def next_best(self) -> list[tuple[str, float]]:
        """Return key id and score of those that stood next."""
        return list(zip(self.runners_up[::2], self.runners_up[1::2], strict=True))

    def limits(self) -> list[tuple[str, str, float, float]]:
        """Return its windows: name, provenance, and what was used of which capacity."""
        flat = self.figures
        return [
            (*_title_of(window), used, capacity)
            for window, used, capacity in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
        ]


class DecisionRecord(msgspec.Struct, eq=False, array_like=True):
    """Everything kept of one request's way through the router.

    Attributes:
        waited_s: Seconds that it has stood in the queue so far.
        outcome: What became of it, as `RequestEnded` tells it; empty while it is under way.
        usage: What its last attempt used, as far as that is known.
    """

    request_id: str
    model: str
    client: str
    objective: RoutingObjective
    arrived_at: float
    tokens: float = 0.0
    attempts: list[AttemptNote] = msgspec.field(default_factory=list)
    dropped: int = 0
    refusal: str = ""
    excluded: tuple[tuple[str, Shortfall], ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    waited_s: float = 0.0
    outcome: str = ""
    ended_at: float | None = None
    endpoint: str = ""
    usage: Usage | None = None

    @property
    def decision_id(self) -> str:
        """What the decision on its last attempt is called."""
        return f"{self.request_id}-{self.attempt_count}"

    @property
    def decided_at(self) -> float:
        """When the last attempt was chosen; when it arrived, if none was."""
        return self.attempts[-1].at if self.attempts else self.arrived_at

    @property
    def attempt_count(self) -> int:
        """How many attempts were made."""
        return len(self.attempts) + self.dropped

    def end(self, outcome: str, now: float) -> None:
        """Note what became of the request."""
        self.outcome, self.ended_at = outcome, now

    def add(self, note: AttemptNote) -> None:
        """Remember an attempt; of many the first and the latest stay."""
        attempts = self.attempts
        if attempts:
            attempts[-1].shorten()
            if len(attempts) >= ATTEMPTS_KEPT:
                del attempts[1]
                self.dropped += 1
        attempts.append(note)

    def decision(self) -> RoutingDecision:
        """Make the readable record of the last choice."""
        last = self.attempts[-1] if self.attempts else None
        alternatives = [
            AlternativeRoute(
                key_id=key_id,
                provider_id=last.provider_id,
                score=score,
                reason_not_selected=f"score {score:.3f} against {last.score:.3f}",
            )
            for key_id, score in (last.next_best() if last else ())
        ] if last else []  # fmt: skip
        return RoutingDecision(
            id=self.decision_id,
            request_id=self.request_id,
            selected_key_id=last.key_id if last else "",
            selected_provider_id=last.provider_id if last else "",
            decision_timestamp=instant(self.decided_at),
            objective=self.objective,
            eligible_keys=[last.key_id, *(a.key_id for a in alternatives)] if last else [],
            evaluation_results=self.trace(),
            explanation=explain(self),
            confidence=1.0 if last else 0.0,
            alternatives_considered=alternatives,
        )

    def trace(self) -> dict[str, Any]:
        """Return the record as plain data for JSON."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "client": self.client,
            "endpoint": self.endpoint,
            "objective": self.objective.primary.value,
            "arrived_at": self.arrived_at,
            "ended_at": self.ended_at,
            "outcome": self.outcome,
            "queued_s": round(self.waited_s, 3),
            "tokens_asked": self.tokens,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "usage": self.usage.parts() if self.usage is not None else {},
            "refusal": self.refusal,
            "attempts_dropped": self.dropped,
            "attempts": [_attempt_data(note) for note in self.attempts],
            "excluded": [
                {"scope": scope, "reason": reason_of(why, self.arrived_at)}
                for scope, why in self.excluded
            ],
        }


def _title_of(window: Window | Sequence[str]) -> tuple[str, str]:
    if isinstance(window, Window):
        return window.name, window.provenance.value
    name, provenance = window
    return name, provenance


def explain(record: DecisionRecord) -> str:
    """Tell in sentences why the request went where it went."""
    sentences = [f"Request {record.request_id} asked for {record.model}."]
    for number, note in enumerate(record.attempts, 1):
        later = record.dropped if number > 1 else 0
        if later and number == 2:
            sentences.append(f"{later} more attempts are not kept.")
        sentences.append(_tell_attempt(number + later, note))
    if record.refusal:
        sentences.append(f"It was refused: {record.refusal}.")
        sentences += [
            f"{scope} was out: {reason_of(why, record.arrived_at)}."
            for scope, why in record.excluded
        ]
    return " ".join(sentences)


def reason_of(why: Shortfall, now: float) -> str:
    """Put one shortfall into words: what was asked, what is left, when it fits."""
    if why.asked <= 0:
        return why.what + _when(why.fits_at, now)
    text = f"{why.what}: {why.asked:,.0f} asked, {max(0.0, why.left):,.0f} left"
    if why.for_calls:
        return f"{text}; waits for a call to end"
    text += f", fits{_when(why.fits_at, now)}" if why.fits_at < math.inf else ", never fits"
    return text + _source(why, now)


def _when(fits_at: float, now: float) -> str:
    return f" in {max(0.0, fits_at - now):.1f} s" if fits_at < math.inf else ""


def _source(why: Shortfall, now: float) -> str:
    if not why.provenance:
        return ""
    if why.told_at is None:
        return f"; {why.provenance}"
    return f"; learned from {why.provenance} {max(0.0, now - why.told_at):.1f} s ago"


def _tell_attempt(number: int, note: AttemptNote) -> str:
    text = f"Attempt {number} took key {note.key_id} of {note.provider_id}"
    if note.waited_s >= 0.001:
        text += f" after waiting {note.waited_s:.2f} s"
    text += f", the best of {note.candidates} by score {note.score:.3f}"
    if note.runners_up:
        text += "; next were " + ", ".join(f"{k} ({s:.3f})" for k, s in note.next_best())
    if note.excluded:
        out = "; ".join(f"{scope} ({reason_of(why, note.at)})" for scope, why in note.excluded)
        text += f"; out were {out}"
    if note.figures:
        text += "; limits then: " + ", ".join(
            f"{name} {used:,.0f} of {capacity:,.0f} ({provenance})"
            for name, provenance, used, capacity in note.limits()
        )
    if note.charge is not None:
        text += f"; tokens are {note.charge.tell()}"
    return f"{text}. {_tell_outcome(note)}"


def _tell_outcome(note: AttemptNote) -> str:
    if note.ended_at is None:
        return "It is running."
    seconds = note.ended_at - note.at
    if note.outcome == "ok":
        return f"It answered in {seconds:.2f} s."
    if note.outcome == "cancelled":
        return f"The client left after {seconds:.2f} s."
    said = f': "{note.message}"' if note.message else ""
    return f"It failed after {seconds:.2f} s as {note.outcome}{said}."


def _attempt_data(note: AttemptNote) -> dict[str, Any]:
    data: dict[str, Any] = {
        "key_id": note.key_id,
        "provider_id": note.provider_id,
        "model": note.model,
        "score": round(note.score, 4),
        "at": round(note.at, 3),
        "waited_s": round(note.waited_s, 3),
        "candidates": note.candidates,
        "outcome": note.outcome,
        "answered_at": round(note.answered_at, 6) if note.answered_at is not None else None,
        "ended_at": round(note.ended_at, 3) if note.ended_at is not None else None,
    }
    if note.message:
        data["message"] = note.message
    if note.charge is not None:
        data["charge"] = note.charge.tell()
    lists: dict[str, list[dict[str, Any]]] = {
        "runners_up": [
            {"key_id": key, "score": round(score, 4)} for key, score in note.next_best()
        ],
        "excluded": [
            {"scope": scope, "reason": reason_of(why, note.at)} for scope, why in note.excluded
        ],
        "limits": [
            {
                "window": name, "used": round(used, 1), "capacity": capacity,
                "provenance": provenance,
            }
            for name, provenance, used, capacity in note.limits()
        ],
    }  # fmt: skip
    return data | {name: found for name, found in lists.items() if found}
