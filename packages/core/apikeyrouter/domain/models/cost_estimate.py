"""What a request costs, as far as anyone knows."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field


class CostEstimate(BaseModel):
    """Money in one currency. An unknown cost is no estimate at all, never zero."""

    model_config = ConfigDict(frozen=True)

    amount: Decimal = Field(ge=0)
    currency: str = "USD"
    confidence: float = Field(default=1.0, ge=0, le=1)
    estimation_method: str = "provider"
    input_tokens_estimate: int = 0
    output_tokens_estimate: int = 0
