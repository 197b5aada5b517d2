"""What a provider can do, as flags."""

from pydantic import BaseModel, ConfigDict


class ProviderCapabilities(BaseModel):
    """Flags and the models a provider is known to serve (empty: unknown)."""

    model_config = ConfigDict(frozen=True)

    supports_streaming: bool = True
    supports_tools: bool = True
    supports_images: bool = True
    supports_embeddings: bool = True
    models: tuple[str, ...] = ()
