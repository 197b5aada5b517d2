"""What a caller of the library gets back."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from apikeyrouter.domain.models.api_key import utc_now
from apikeyrouter.domain.models.cost_estimate import CostEstimate
from apikeyrouter.domain.models.token_usage import TokenUsage

__all__ = ["ResponseChunk", "ResponseMetadata", "SystemResponse", "TokenUsage"]


class ResponseMetadata(BaseModel):
    """The circumstances of an answer."""

    model_used: str
    tokens_used: TokenUsage = Field(default_factory=lambda: TokenUsage(exact=False))
    response_time_ms: float = 0.0
    provider_id: str = ""
    timestamp: datetime = Field(default_factory=utc_now)
    finish_reason: str | None = None
    request_id: str = ""
    correlation_id: str | None = None
    additional_metadata: dict[str, Any] = Field(default_factory=dict)


class SystemResponse(BaseModel):
    """One complete answer.

    Attributes:
        content: The text; empty when the model answered with tool calls only.
        cost: `None` while no price is known.
        key_used: Id of the key that served it.
        raw: The provider's body, decoded.
        tool_calls: As the provider wrote them.
    """

    content: Any = ""
    metadata: ResponseMetadata
    cost: CostEstimate | None = None
    key_used: str = ""
    request_id: str = ""
    raw: Any = None
    tool_calls: list[Any] = Field(default_factory=list)


class ResponseChunk(BaseModel):
    """One piece of a streamed answer.

    Attributes:
        content: Text that came with this piece, often empty.
        finish_reason: Set on the last piece of a choice.
        usage: Set once, when the provider told it.
        raw: The provider's event, decoded.
    """

    content: str = ""
    finish_reason: str | None = None
    usage: TokenUsage | None = None
    tool_calls: list[Any] = Field(default_factory=list)
    raw: Any = None
