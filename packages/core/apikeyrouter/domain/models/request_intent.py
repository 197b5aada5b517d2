"""What a caller of the library asks for.

Content is the caller's own: it is carried verbatim, never stripped, scanned
or rewritten. Only the shape is checked.
"""

from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Message(BaseModel):
    """One message of a conversation.

    Fields that this class does not name (`tool_calls`, `tool_call_id`,
    `refusal`, …) are kept and sent as they are.
    """

    model_config = ConfigDict(extra="allow")

    role: str = Field(min_length=1)
    content: Any = None


class RequestIntent(BaseModel):
    """One request: a model, its messages, and the provider's own parameters.

    Attributes:
        model: Model name, an alias, or `provider/model`.
        messages: The conversation, oldest first; at least one.
        parameters: Anything else for the provider's body, such as
            `temperature`, `max_tokens` or `tools`.
        provider_id: Serve it by this provider only; without it every provider
            that serves the model is a candidate. May also stand in
            `parameters`; it never reaches the provider's body.
        request_id: Yours, for tracing; made up when absent.
        tags: Labels for policies and reports; never sent.
        max_wait: Longest wait for capacity in seconds; the router's setting if `None`.
    """

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    parameters: dict[str, Any] = Field(default_factory=dict)
    provider_id: str | None = None
    request_id: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    priority: int = 0
    max_wait: float | None = Field(default=None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _lift_provider(cls, data: Any) -> Any:
        """Take `provider_id` out of the parameters, so that no provider sees it."""
        if isinstance(data, dict) and isinstance(data.get("parameters"), dict):
            parameters = dict(data["parameters"])
            provider_id = parameters.pop("provider_id", None)
            data = {**data, "parameters": parameters}
            if provider_id is not None and not data.get("provider_id"):
                data["provider_id"] = provider_id
        return data

    def encoded(self) -> bytes:
        """Return the OpenAI-shaped request body as JSON."""
        return msgspec.json.encode(self.body())

    def body(self) -> dict[str, Any]:
        """Build the OpenAI-shaped request body."""
        messages = [message.model_dump(exclude_unset=True) for message in self.messages]
        return {"model": self.model, "messages": messages, **self.parameters}
