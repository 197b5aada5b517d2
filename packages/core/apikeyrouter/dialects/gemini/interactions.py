"""Gemini's interactions: conversations that it keeps, and that later ones go on from.

Whole, or as events. They name their model as it is asked for, without a path.
"""

from typing import Any

import msgspec

from apikeyrouter.dialects.dialect import Tap, Verdict
from apikeyrouter.dialects.gemini.dialect import Gemini
from apikeyrouter.dialects.gemini.names import bare
from apikeyrouter.dialects.json_members import with_member
from apikeyrouter.dialects.json_values import decoded, object_in
from apikeyrouter.dialects.peeking import ABSENT, PeekReader, count_in, is_true
from apikeyrouter.dialects.streams.event_tap import EventTap, data_of_event, data_with, events_in
from apikeyrouter.domain.models.token_usage import Usage

ENDPOINT = "interactions"
_USAGE, _ERROR = b'"usage"', b'"error"'
#: Marks of events after which nothing need follow.
_LAST = (
    b'"interaction.completed"', b'"interaction.complete"', b'"interaction.cancelled"',
    b'"interaction.status_update"', b"[DONE]",
)  # fmt: skip


class InteractionPeek(msgspec.Struct):
    """What a decision needs of a request; an agent may stand in a model's place."""

    model: str = ""
    stream: msgspec.Raw = ABSENT
    generation_config: msgspec.Raw = ABSENT

    @property
    def is_stream(self) -> bool:
        """Whether the answer is wanted in pieces."""
        return is_true(self.stream)

    @property
    def output_cap(self) -> int | None:
        """The most output tokens that the caller allows."""
        cap = decoded(bytes(self.generation_config)).get("max_output_tokens")
        return count_in(msgspec.Raw(msgspec.json.encode(cap))) if cap is not None else None


_read = PeekReader(InteractionPeek, needs_model=False).read


class GeminiInteractions(Gemini):
    """Interactions, whole and streamed."""

    endpoint = ENDPOINT
    chunked = frozenset()
    json_endpoints = frozenset({ENDPOINT})
    rendering = None  # type: ignore[assignment] # kept by the provider, they are no other's

    def peek(self, body: bytes) -> InteractionPeek:  # type: ignore[override] # a body that names it
        """Read the model, whether it streams, and the caller's output cap."""
        seen = _read(body)
        seen.model = bare(seen.model)
        return seen

    def with_model(self, body: bytes, model: str) -> bytes:
        """Return *body* naming *model*, which it has to."""
        return with_member(body, "model", model)

    def read_body(self, body: bytes) -> tuple[Usage | None, bool]:
        """Return the usage that a whole interaction tells, and whether it looks like a success."""
        told = decoded(body)
        return _usage_of(told.get("usage")), bool(told) and not told.get("error")

    def tap(self, *, withhold_usage: bool = False) -> Tap:
        """Return what reads a stream."""
        del withhold_usage
        return InteractionTap()

    def judge(self, data: bytes) -> Verdict:
        """Tell whether an event is an error."""
        return Verdict.FAILED if _error_in(data) is not None else Verdict.CARRIES


class InteractionTap(EventTap):
    """Reads a stream of events as it passes."""

    __slots__ = ()

    def look_over(self, block: bytes) -> None:
        """Note what the events of *block* tell."""
        self._output_chunks += block.count(b'"step.delta"')
        self._complete = self._complete or any(mark in block for mark in _LAST)
        if _USAGE in block:
            told = (_usage_in(data) for data in data_with(_USAGE, block))
            self._usage = next(filter(None, told), self._usage)
        if self._error is None and _ERROR in block:
            errors = (_error_in(data_of_event(event)) for event in events_in(block))
            self._error = next(filter(None, errors), None)


def _usage_in(data: bytes) -> Usage | None:
    told = decoded(data)
    return _usage_of(object_in(told.get("interaction")).get("usage") or told.get("usage"))


def _usage_of(told: Any) -> Usage | None:
    """Add up what is counted apart: tools' results are input, thoughts are output."""
    counts = object_in(told)
    if not any(name.startswith("total_") for name in counts):
        return None
    thoughts = _whole(counts.get("total_thought_tokens"))
    return Usage(
        _whole(counts.get("total_input_tokens")) + _whole(counts.get("total_tool_use_tokens")),
        _whole(counts.get("total_output_tokens")) + thoughts,
        _whole(counts.get("total_cached_tokens")),
        reasoning_tokens=thoughts,
    )


def _error_in(data: bytes) -> bytes | None:
    told = decoded(data)
    if told.get("event_type") != "error" and set(told) != {"error"}:
        return None
    return msgspec.json.encode({"error": told.get("error")})


def _whole(count: Any) -> int:
    return int(count) if isinstance(count, int | float) and count > 0 else 0
