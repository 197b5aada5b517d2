"""The `usage` of OpenAI's dialects, with what other providers write in its place.

Chats count prompt and completion, responses input and output, transcriptions tokens or
seconds. Parts of the input (read from a cache, written to one, audio) and of the output
(reasoning, audio) stand in details, or beside the counts; a cost stands there where a provider
tells it. What makes no sense counts as not told.
"""

from typing import Any

import msgspec

from apikeyrouter.dialects.conversation import Counts
from apikeyrouter.domain.models.token_usage import Usage

Count = int | float | None
#: xAI's unit of money, of a dollar.
_TICK_USD = 1e-10
_ABSURD = 10**15


class Parts(msgspec.Struct):
    """What the input or the output is made of."""

    cached_tokens: Count = None
    cache_write_tokens: Any = None
    reasoning_tokens: Any = None
    audio_tokens: Any = None


class ToldUsage(msgspec.Struct):
    """A `usage` as it is written; what it leaves out is `None`."""

    prompt_tokens: Count = None
    completion_tokens: Count = None
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Any = None
    prompt_tokens_details: Parts | None = None
    completion_tokens_details: Parts | None = None
    input_tokens_details: Parts | None = None
    output_tokens_details: Parts | None = None
    #: So they are called in realtime sessions and transcriptions.
    input_token_details: Parts | None = None
    output_token_details: Parts | None = None
    cached_tokens: Count = None
    prompt_cache_hit_tokens: Count = None
    prompt_cache_miss_tokens: Any = None
    reasoning_tokens: Any = None
    cost: Any = None
    cost_in_usd_ticks: Any = None
    type: Any = None
    seconds: Any = None

    def counted(self, tier: Any = None) -> Usage | None:
        """Return what is counted; `None` if nothing is.

        Args:
            tier: The service tier that the answer names beside its usage.
        """
        given, made = self.prompt_tokens, self.completion_tokens
        if given is None:
            given = self.input_tokens
        if made is None:
            made = self.output_tokens
        if given is None and self.prompt_cache_miss_tokens is not None:
            given = whole(self.prompt_cache_hit_tokens) + whole(self.prompt_cache_miss_tokens)
        if given is None and made is None:
            return self._by_time(tier)
        into = self.prompt_tokens_details or self.input_tokens_details or self.input_token_details
        out_of = (
            self.completion_tokens_details or self.output_tokens_details
            or self.output_token_details
        )  # fmt: skip
        cached = self.cached_tokens or self.prompt_cache_hit_tokens
        reasoning, written, heard, spoken = self.reasoning_tokens, None, None, None
        if into is not None:
            cached = into.cached_tokens or cached
            written, heard = into.cache_write_tokens, into.audio_tokens
        if out_of is not None:
            reasoning, spoken = out_of.reasoning_tokens or reasoning, out_of.audio_tokens
        told = self.cost is not None or self.cost_in_usd_ticks is not None
        # Most of this is nothing most of the time, and every answer passes here.
        usage = Usage(
            whole(given) if given else 0,
            whole(made) if made else 0,
            whole(cached) if cached else 0,
            whole(written) if written else 0,
            0,
            whole(reasoning) if reasoning else 0,
            whole(heard) if heard else 0,
            whole(spoken) if spoken else 0,
            tier if isinstance(tier, str) else "",
            self._cost_usd() if told else None,
        )
        if self.total_tokens is None or given is None or made is None:
            return usage
        return usage if self.total_tokens == given + made else self._with_reasoning(usage)

    def _with_reasoning(self, usage: Usage) -> Usage:
        """Add what some count beside the output, in the total alone: xAI, Gemini."""
        beside = whole(self.total_tokens) - usage.input_tokens - usage.output_tokens
        if beside <= 0 or usage.reasoning_tokens not in (0, beside):
            return usage
        output = usage.output_tokens + beside
        return msgspec.structs.replace(usage, output_tokens=output, reasoning_tokens=beside)

    def _by_time(self, tier: Any) -> Usage | None:
        """Return the usage of what is counted in seconds of audio: it has no tokens."""
        if self.type != "duration" or self.seconds is None:
            return None
        return Usage(
            0, 0,
            tier=tier if isinstance(tier, str) else "",
            cost_usd=self._cost_usd(),
            audio_seconds=_amount(self.seconds) or 0.0,
        )  # fmt: skip

    def _cost_usd(self) -> float | None:
        cost = self.cost
        if cost is None:
            ticks = _amount(self.cost_in_usd_ticks)
            return None if ticks is None else ticks * _TICK_USD
        return _amount(cost.get("total_cost") if isinstance(cost, dict) else cost)


def counts_in(usage: dict[str, Any]) -> Counts | None:
    """Return the tokens that a decoded usage tells; `None` if it tells none."""
    try:
        told = msgspec.convert(usage, ToldUsage).counted() if usage else None
    except msgspec.ValidationError:
        return None
    if told is None:
        return None
    return Counts(
        told.input_tokens,
        told.output_tokens,
        told.cached_tokens,
        told.cache_written_tokens,
        0,
        told.reasoning_tokens,
        told.audio_input_tokens,
        told.audio_output_tokens,
    )


def whole(count: Any) -> int:
    """Return a count as a whole number of tokens; what is none, below zero or absurd is 0."""
    if type(count) is int:
        return count if 0 < count < _ABSURD else 0
    return int(count) if type(count) is float and 0.0 < count < _ABSURD else 0


def _amount(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and 0 <= value < _ABSURD else None
