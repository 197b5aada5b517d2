"""The tokens one request really used."""

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
