"""The tokens one request really used: as people read them, and as they travel inside."""

from typing import Any, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field


class TokenUsage(BaseModel):
    """Tokens as the provider counted them.

    `input_tokens` includes what came from a cache or was written to one: `cached_tokens` and
    `cache_written_tokens` say how much of it did (`cache_written_1h_tokens` is the part of the
    latter that is kept for an hour). `output_tokens` includes `reasoning_tokens`. Audio tokens
    are parts of input and output. `tier` is the service tier that served it, empty if that was
    not told. `cost_usd` is what the provider says that it cost, `None` if it does not say.
    `audio_seconds` is told of transcriptions that are counted by time, not in tokens. `exact`
    is false when the figures are our own estimate, or were told before the answer had ended.
    """

    model_config = ConfigDict(frozen=True)

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    cache_written_tokens: int = Field(default=0, ge=0)
    cache_written_1h_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)
    audio_input_tokens: int = Field(default=0, ge=0)
    audio_output_tokens: int = Field(default=0, ge=0)
    tier: str = ""
    cost_usd: float | None = Field(default=None, ge=0)
    audio_seconds: float = Field(default=0.0, ge=0)
    exact: bool = True

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """What a provider counted, on the hot path: `TokenUsage` without validation.

    It is kept in decision records: new fields come last.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    cache_written_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    tier: str = ""
    cost_usd: float | None = None
    audio_seconds: float = 0.0
    exact: bool = True

    @classmethod
    def of(cls, told: TokenUsage) -> Self:
        """Make it of what a caller knows."""
        return cls(**told.model_dump())

    def plus(self, other: "Usage") -> "Usage":
        """Return both together; the tier is the later one, the cost what is known of it."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMMED}
        costs = [cost for cost in (self.cost_usd, other.cost_usd) if cost is not None]
        return Usage(
            **sums,
            tier=other.tier or self.tier,
            cost_usd=sum(costs) if costs else None,
            exact=self.exact and other.exact,
        )

    def parts(self) -> dict[str, Any]:
        """Return what is told beside input and output, by name; what is nothing is left out."""
        return {
            field.name: value
            for field in msgspec.structs.fields(self)[2:]
            if (value := getattr(self, field.name)) != field.default
        }

    def told(self) -> TokenUsage:
        """Return it as callers know it."""
        return TokenUsage(**msgspec.structs.asdict(self))


_SUMMED = (
    "input_tokens", "output_tokens", "cached_tokens", "cache_written_tokens",
    "cache_written_1h_tokens", "reasoning_tokens", "audio_input_tokens", "audio_output_tokens",
    "audio_seconds",
)  # fmt: skip
