"""Settings of the service alone; everything else is in the configuration file."""

from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ProxySettings(BaseSettings):
    """Settings by environment variable of the same name, or by `.env`.

    Attributes:
        port: Port to listen on, in place of the file's; `None` leaves it there.
        shutdown_timeout_seconds: How long running requests may finish after SIGTERM.
    """

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    port: int | None = Field(default=None, ge=0, le=65535)
    shutdown_timeout_seconds: float = Field(default=30.0, ge=0, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
