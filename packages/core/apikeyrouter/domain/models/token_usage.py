"""The tokens one request really used: as people read them, and as they travel inside."""

import msgspec
from pydantic import BaseModel, ConfigDict, Field


class TokenUsage(BaseModel):
    """Tokens as the provider counted them.

    `input_tokens` includes what came from a cache or was written to one: `cached_tokens` and
    `cache_written_tokens` say how much of it did (`cache_written_1h_tokens` is the part of the
    latter that is kept for an hour). `output_tokens` includes `reasoning_tokens`. Audio tokens
    are parts of input and output. `tier` is the service tier that served it, empty if that was
    not told. `exact` is false when the figures are our own estimate.
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
    exact: bool = True

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class Usage(msgspec.Struct, frozen=True):
    """What a provider counted, on the hot path: `TokenUsage` without validation."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    cache_written_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    tier: str = ""

    def told(self) -> TokenUsage:
        """Return it as callers know it."""
        return TokenUsage(**msgspec.structs.asdict(self))
