"""The tokens one request really used: as people read them, and as they travel inside."""

import msgspec
from pydantic import BaseModel, ConfigDict, Field


class TokenUsage(BaseModel):
    """Tokens as the provider counted them.

    `input_tokens` includes what came from a cache; `cached_tokens` says how
    many of them did. `exact` is false when the figures are our own estimate.
    """

    model_config = ConfigDict(frozen=True)

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
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

    def told(self) -> TokenUsage:
        """Return it as callers know it."""
        return TokenUsage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_tokens=self.cached_tokens,
        )
